"""What `llmbatch config show` says: each setting, its value without secrets, where it is from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any, Final

from llmbatch_cli.cli.configured import MODEL_VARIABLE
from llmbatch_cli.cli.providers_command import without_password
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.option import option_of
from llmbatch_cli.core.options import ModelOptions
from llmbatch_cli.core.privacy import KEY_SHAPES
from llmbatch_cli.providers.access import first_named
from llmbatch_cli.providers.registry import DEFAULT_MODEL, PROVIDERS
from llmbatch_cli.settings.read import UserSettings
from llmbatch_cli.settings.source import Keys, dotted, names_in

HIDDEN: Final = "***"
DEFAULT: Final = "default"

_SECRET: Final = re.compile(
    r"((?:extra_headers|key|token|secret|password|authorization)=).*",
    re.IGNORECASE | re.DOTALL,
)


@frozen
class Row:
    """One setting."""

    name: str
    value: Any
    source: str


def rows_of(
    settings: UserSettings,
    options: Mapping[str, Mapping[str, Field[Any]]],
    environ: Mapping[str, str],
) -> list[Row]:
    """What is set in the file or the environment; and the defaults of these options."""
    found = {
        keys: Row(dotted(keys), _shown(keys, value), settings.source.place(keys))
        for keys, value in _leaves(settings.source.values)
    }
    for keys, variable, value in _in_environment(settings, environ):
        over = f", over {found[keys].source}" if keys in found else ""
        found[keys] = Row(dotted(keys), _shown(keys, value), f"{variable}{over}")
    found.setdefault(("model",), Row("model", DEFAULT_MODEL, DEFAULT))
    for command, declared in options.items():
        for flag, option in declared.items():
            named = {(command, flag), (command, flag.replace("-", "_"))}
            if not named & found.keys() and option not in fields(ModelOptions)[:1]:
                found[command, flag] = _default(command, flag, option)
    return sorted(found.values(), key=lambda row: ("." in row.name, row.name.partition(".")[0]))


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    for keys in names_in(values):
        value: Any = values
        for key in keys:
            value = value[key]
        if not isinstance(value, dict):
            yield keys, value


def _in_environment(
    settings: UserSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Keys, str, str]]:
    """What the environment sets: the setting's name, the variable, the value."""
    if model := environ.get(MODEL_VARIABLE):
        yield ("model",), MODEL_VARIABLE, model
        for command in ("batch", "preview"):
            if "models" in settings.options.get(command, {}):
                yield (command, "model"), MODEL_VARIABLE, model
    for table, entries in (("providers", PROVIDERS), ("hosts", settings.hosts)):
        for name, entry in entries.items():
            variable, url = first_named(environ, entry.url_variables)
            if variable is not None and url is not None:
                yield (table, name, "base_url"), variable, url


def _default(command: str, flag: str, option: Field[Any]) -> Row:
    value = None if option.default == () else option.default
    shown = option_of(option.metadata).shown
    return Row(f"{command}.{flag}", value, f"{DEFAULT}: {shown}" if shown else DEFAULT)


def _shown(keys: Keys, value: Any) -> Any:
    """The value without what may be secret in it."""
    if "headers" in keys:
        return HIDDEN
    if isinstance(value, list):
        return [_shown(keys, one) for one in value]
    if not isinstance(value, str):
        return value
    if keys[-1].replace("-", "_") == "base_url" and "://" in value:
        value = without_password(value)
    return KEY_SHAPES.sub(HIDDEN, _SECRET.sub(rf"\1{HIDDEN}", value))
