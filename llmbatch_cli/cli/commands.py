"""The names of the commands."""

from typing import Final

COMMANDS: Final = {
    "batch": "batch",
    "race": "race",
    "preview": "preview",
    "errors": "errors_command",
    "providers": "providers_command",
    "models": "models_command",
    "pull": "pull",
    "cache": "cache_command",
    "config": "config_command",
    "keys": "keys_command",
}
"""The commands in their order, and the module of each: a run imports its own only."""

WITHOUT_OPTIONS: Final = frozenset(("providers", "cache", "config", "keys"))
"""Commands that the settings have no table for."""
