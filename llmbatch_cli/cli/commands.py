"""The names of the commands."""

from typing import Final

COMMANDS: Final = {
    "batch": "batch",
    "race": "race",
    "preview": "preview",
    "estimate": "estimate",
    "errors": "errors_command",
    "report": "report_command",
    "compare": "compare_command",
    "jobs": "jobs_command",
    "cluster": "cluster_command",
    "providers": "providers_command",
    "models": "models_command",
    "prices": "prices_command",
    "pull": "pull",
    "cache": "cache_command",
    "config": "config_command",
    "keys": "keys_command",
}
"""The commands in their order, and the module of each: a run imports its own only."""

WITHOUT_OPTIONS: Final = frozenset(
    ("report", "compare", "providers", "prices", "cache", "config", "keys")
)
"""Commands that the settings have no table for."""
