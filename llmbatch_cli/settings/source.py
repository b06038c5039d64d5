"""The file of settings as a text: read, and where each name of it stands."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.folders import config_folder

VARIABLE: Final = "LLMBATCH_CONFIG"
"""The environment variable that names another file."""

MOST_BYTES: Final = 200_000

Keys = tuple[str, ...]
"""A name in its tables: `("batch", "concurrency")`."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def path_of(environ: Mapping[str, str]) -> Path:
    """Where the settings are: LLMBATCH_CONFIG, else `config.toml` in the user's folder."""
    named = environ.get(VARIABLE)
    return Path(named) if named else config_folder(environ) / "config.toml"


def dotted(keys: Sequence[str]) -> str:
    """The name as TOML writes it: `batch.concurrency`, `prices."gpt-4.1"`."""
    return ".".join(key if _BARE.fullmatch(key) else f'"{key}"' for key in keys)


class Source:
    """One text of settings. Raises UsageError, with file, line and column, where it is no TOML."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self._broken(str(error)) from None
        except RecursionError:
            raise UsageError(f"{path}: nested too deep", hint=_EDIT) from None

    def error(self, keys: Sequence[str], message: str, hint: str | None = None) -> UsageError:
        """What is wrong with the value of this name, and where."""
        return UsageError(f"{self.place(keys)}: {message}", hint=hint or _EDIT)

    def place(self, keys: Sequence[str]) -> str:
        """`config.toml:3`: the line of this name, or of the nearest table around it."""
        for end in range(len(keys), 0, -1):
            if (line := self._lines.get(tuple(keys[:end]))) is not None:
                return f"{self.path}:{line}"
        return str(self.path)

    @cached_property
    def _lines(self) -> Mapping[Keys, int]:
        """The line of each name: the first one of the statement that brings it."""
        found: dict[Keys, int] = {}
        table: Keys = ()
        lines, begin = [f"{line}\n" for line in self.text.split("\n")], 0
        for end in range(1, len(lines) + 1):
            statement = "".join(lines[begin:end])
            try:
                values = tomllib.loads(statement)
            except tomllib.TOMLDecodeError:  # in the middle of a value of several lines
                continue
            is_table = statement.lstrip().startswith("[")
            names = list(names_in(values, () if is_table else table))
            for keys in names:
                found.setdefault(keys, begin + 1)
            table = names[-1] if is_table else table
            begin = end
        return found

    def _broken(self, said: str) -> UsageError:
        place = _PLACE.search(said)
        lines = self.text.rstrip("\n").split("\n")
        line, column = len(lines), len(lines[-1]) + 1
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        message = _PLACE.sub("", said)
        message = message[:1].lower() + message[1:]
        return UsageError(
            f"{self.path}:{line}:{column}: no valid TOML: {message}", hint=_hint(message)
        )


_EDIT: Final = "llmbatch config edit opens it"


def _hint(message: str) -> str:
    if "invalid value" in message:
        return f'a text stands in quotes, as in model = "gpt-4o-mini"; {_EDIT}'
    if "overwrite" in message or "twice" in message:
        return f"each name, and each [table], stands once; {_EDIT}"
    if "expected '='" in message:
        return f"a line is NAME = VALUE, or [TABLE]; a name with a dot stands in quotes; {_EDIT}"
    return _EDIT


def names_in(values: Mapping[str, Any], before: Keys = ()) -> Iterator[Keys]:
    """Every name, tables before what they hold."""
    for name, value in values.items():
        keys = (*before, name)
        yield keys
        if isinstance(value, dict):
            yield from names_in(value, keys)


def read_source(path: Path, environ: Mapping[str, str]) -> Source | None:
    """The file; None where there is none. Raises UsageError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if environ.get(VARIABLE):
            raise UsageError(
                f"{VARIABLE} names {path}, but there is no such file",
                hint=f"unset {VARIABLE}, or make it: llmbatch config edit",
            ) from None
        return None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the settings in {path}: {said}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} is too long for a file of settings", hint=f"is {VARIABLE} right?")
    return Source(path, _decoded(path, data))


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: no valid UTF-8", hint="save the file as UTF-8") from None


def exists(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether there is something to read: a file, or the name of one."""
    return bool(environ.get(VARIABLE)) or os.path.exists(path)  # noqa: PTH110 - takes any name
