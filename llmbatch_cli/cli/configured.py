"""What a command takes of the user's settings, where its command line does not say it."""

import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from llmbatch_cli.core.errors import LlmbatchError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import is_option, option_of
from llmbatch_cli.core.options import Limits, ModelOptions
from llmbatch_cli.providers.access import Setup

MODEL_VARIABLE: Final = "LLMBATCH_MODEL"
"""The environment variable that stands in for -m."""

RIVALS: Final = (
    frozenset(("first", "all", "wins")),
    frozenset(("template", "messages_template", "prompt_field")),
    frozenset(("schema", "choices", "extract")),
    frozenset(("resume", "overwrite")),
)
"""Options that exclude each other: one on the command line takes the place of another's setting."""


@frozen
class Defaults:
    """Values of options that the command line leaves out, by the names of their fields."""

    setup: Setup
    values: Mapping[str, Any]


def defaults_for(command: str, options: Mapping[str, Field[Any]]) -> Defaults:
    """What settings and keys there are, for this command. Costs two stats where there is nothing.

    Raises UsageError for settings that are wrong.
    """
    from llmbatch_cli.core.folders import config_folder

    folder = config_folder(os.environ)
    named = os.environ.get("LLMBATCH_CONFIG")
    has_settings = named or _exists(folder / "config.toml")
    has_keys = _exists(folder / "keys.json")
    if not (has_settings or has_keys):
        return Defaults(Setup(environ=os.environ), {})
    from llmbatch_cli.settings.setup import setup_of
    from llmbatch_cli.settings.stored_keys import StoredKeys, file_of_keys

    settings = _settings(command, options) if has_settings else None
    stored = StoredKeys(file_of_keys(os.environ)) if has_keys else None
    values = dict(settings.options.get(command, {})) if settings is not None else {}
    if options.get("model") in fields(ModelOptions):
        if os.environ.get(MODEL_VARIABLE):
            values.pop("models", None)
        elif settings is not None and settings.model is not None:
            values.setdefault("models", (settings.model,))
    return Defaults(setup_of(settings, stored, os.environ), values)


def setup_for_completion() -> Setup:
    """The user's own names, as far as the settings can be read: a shell shows no errors."""
    try:
        return defaults_for("", {}).setup
    except LlmbatchError:
        return Setup()


def replaced(given: Set[str]) -> Set[str]:
    """These options, and those that none of them goes with."""
    return frozenset(given).union(*(rivals for rivals in RIVALS if rivals & given))


def without_limits(setup: Setup, given: Set[str]) -> Setup:
    """The setup without the limits that the command line sets for all providers."""
    left_out = given & {one.name for one in fields(Limits)}
    if not left_out or not setup.limits:
        return setup
    nothing: dict[str, Any] = dict.fromkeys(left_out)
    limits = {name: replace(one, **nothing) for name, one in setup.limits.items()}
    return replace(setup, limits=limits)


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - a broken name is no file


def _settings(command: str, options: Mapping[str, Field[Any]]) -> Any:
    from llmbatch_cli.cli.commands import COMMANDS, WITHOUT_OPTIONS
    from llmbatch_cli.settings.read import read
    from llmbatch_cli.settings.source import path_of, read_source

    source = read_source(path_of(os.environ), os.environ)
    if source is None:
        return None
    known: dict[str, Any] = dict.fromkeys(name for name in COMMANDS if name not in WITHOUT_OPTIONS)
    return read(source, {**known, command: options} if command in known else known)


def options_of(function: Any, parameters: Set[str] | None = None) -> dict[str, Field[Any]]:
    """The options of a command that its groups declare, by flag without the dashes.

    `parameters` are those that the command has of them; None is all.
    """
    hints = get_type_hints(function)
    return {
        flag: one
        for hint in hints.values()
        for flag, one in _declared(hint)
        if parameters is None or one.name in parameters
    }


def _declared(kind: Any) -> Iterator[tuple[str, Field[Any]]]:
    kind = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    if not is_dataclass(kind) or kind is Setup:
        return
    for one in fields(kind):
        if is_option(one):
            described = option_of(one.metadata)
            if not described.positional:
                yield (described.name or one.name).replace("_", "-"), one
        else:
            yield from _declared(one.type)
