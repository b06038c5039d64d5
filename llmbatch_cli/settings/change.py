"""Changes one setting in the text of the file, whose comments and order stay."""

import os
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.settings.atomic import write_atomically
from llmbatch_cli.settings.source import Keys, Source, dotted, names_in, path_of, read_source

Check = Callable[[Source], object]
"""Raises UsageError for settings that are wrong."""

_NAMED_FREELY: Final = ("aliases", "prices")
"""Tables whose names may have dots in them, as models' names do."""


def keys_of(name: str) -> Keys:
    """`batch.concurrency`, or `prices.gpt-4.1`, as its tables and its name. Raises UsageError."""
    table, _, rest = name.partition(".")
    if table in _NAMED_FREELY and rest:
        quoted = len(rest) > 1 and rest[0] == rest[-1] == '"'
        return table, rest[1:-1] if quoted else rest
    try:
        (*_, keys) = names_in(tomllib.loads(f"{name} = 0"))
    except (tomllib.TOMLDecodeError, ValueError):
        raise UsageError(
            f"{name[:80]!r} is not the name of a setting",
            hint='as in model, batch.concurrency, or providers.groq."a name with a dot"',
        ) from None
    return keys


def set_value(name: str, text: str, environ: Mapping[str, str], check: Check) -> None:
    """Set it to a value, as TOML writes it or as a plain text, whichever fits."""
    import tomlkit

    keys, before = keys_of(name), _before(environ)
    refused: UsageError | None = None
    for value in _meanings(text):
        document = tomlkit.parse(before.text)
        table: Any = document
        for key in keys[:-1]:
            if key not in table:
                inline = isinstance(table, tomlkit.items.InlineTable)
                is_super = key != keys[-2]
                table[key] = tomlkit.inline_table() if inline else tomlkit.table(is_super)
            table = table[key]
            if not isinstance(table, dict):
                raise before.error(keys, f"{dotted(keys[:-1])} is no table")
        table[keys[-1]] = value
        after = Source(before.path, tomlkit.dumps(document))
        try:
            check(after)
        except UsageError as error:
            is_new = error.message.startswith(f"{after.place(keys)}: ") or _is_right(before, check)
            refused = refused or (_of_new(error, after) if is_new else error)
        else:
            write_atomically(before.path, after.text.encode())
            return
    raise refused or UsageError("no value")


def unset(name: str, environ: Mapping[str, str], check: Check) -> None:
    """Remove it. Raises UsageError where the file does not have it."""
    import tomlkit

    keys, before = keys_of(name), _before(environ)
    known = {dotted(one) for one in names_in(before.values)}
    if dotted(keys) not in known:
        near = near_names(dotted(keys), known)
        hint = did_you_mean(near) if near else "llmbatch config show lists what is set"
        raise UsageError(f"{dotted(keys)} is not set in {before.path}", hint=hint)
    document = tomlkit.parse(before.text)
    tables: list[Any] = [document]
    for key in keys[:-1]:
        tables.append(tables[-1][key])
    del tables[-1][keys[-1]]
    for place in range(len(keys) - 2, -1, -1):  # a table that holds nothing, not even a comment
        if not tables[place + 1] and tables[place + 1].as_string().strip() in ("", "{}"):
            del tables[place][keys[place]]
    after = Source(before.path, tomlkit.dumps(document))
    check(after)
    write_atomically(before.path, after.text.encode())


def _before(environ: Mapping[str, str]) -> Source:
    """The file as it is; an empty one where there is none."""
    path = path_of(environ)
    if not os.path.exists(path):  # noqa: PTH110 - takes any name
        return Source(path, "")
    return read_source(path, environ) or Source(path, "")


def _meanings(text: str) -> list[Any]:
    """What a word of the command line may mean: a value of TOML, and a text."""
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        with suppress(tomllib.TOMLDecodeError):  # 0.15,0.60 as in --price
            return [text, tomllib.loads(f"value = [{text}]")["value"]]
        return [text]
    return [found["value"], text] if len(found) == 1 else [text]


def _is_right(source: Source, check: Check) -> bool:
    try:
        check(source)
    except UsageError:
        return False
    return True


def _of_new(error: UsageError, after: Source) -> UsageError:
    """The error of the value that was not written, without the line that it would have had."""
    place, message = str(after.path), error.message
    if message.startswith(f"{place}:"):
        message = message.removeprefix(f"{place}:").lstrip("0123456789").removeprefix(": ")
    hint = None if error.hint is None or "config edit" in error.hint else error.hint
    return UsageError(f"{message}; nothing was changed", hint=hint)
