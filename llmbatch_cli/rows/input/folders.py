"""Folders and patterns among the inputs: the files that they stand for."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.rows.input.inputs import InputPath, format_of_name, hint_for, shown_name
from llmbatch_cli.storage import address_of, is_remote
from llmbatch_cli.storage.address import parsed

_MAGIC: Final = "*?["
_HIDDEN: Final = (".", "_")
"""How files begin that are no data: .DS_Store, _SUCCESS."""


def expanded(inputs: Sequence[str], input_format: InputFormat = "auto") -> list[str]:
    """The inputs, with the files of folders and patterns in their places, sorted by name.

    Raises UsageError for a folder without files, a pattern that matches none, and for files that
    are a prompt each beside files of rows, such as the README of a data set.
    """
    return [file for name in inputs for file in _files(name, input_format)]


def refuse_among_inputs(output: Path, inputs: Sequence[str]) -> None:
    """Raise UsageError where a file would be among the inputs once it is there."""
    address = address_of(output)
    for name in inputs:
        if address is not None or is_remote(name):
            if address is not None and is_remote(name):
                _refuse_among_objects(address, name)
            continue
        start = Path(name) if _is_folder(Path(name)) else Path(_fixed_part(name))
        below = PurePath(os.path.relpath(output, start)).parts
        if name == "-" or not below or below[0] == os.pardir or any(map(_is_hidden, below)):
            continue
        pattern = PurePath(os.path.relpath(name, start)).parts
        if _is_folder(Path(name)) or (_has_magic(name) and _matches(below, pattern)):
            raise UsageError(
                f"{output} would be an input of the next run, as one of {name}",
                hint="write it to another folder",
            )


def _refuse_among_objects(output: str, name: str) -> None:
    address, given = str(parsed(output)), str(parsed(name))
    if address == given:
        raise UsageError(f"{address} is also an input", hint="name another object")
    start = _start_of(given)
    below = PurePath(address.removeprefix(start).strip("/")).parts
    if not address.startswith(f"{start}/") or any(map(_is_hidden, below)):
        return
    pattern = PurePath(given.removeprefix(start).strip("/")).parts
    if not pattern or _matches(below, pattern):
        raise UsageError(
            f"{address} would be an input of the next run, as one of {name}",
            hint="write it below another prefix",
        )


def _start_of(address: str) -> str:
    """The prefix that all matches of a pattern are below."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{_fixed_part(rest) if _has_magic(rest) else rest}".rstrip("/")


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not names or not pattern:
        return not names and not pattern
    if pattern[0] == "**":
        return _matches(names, pattern[1:]) or _matches(names[1:], pattern)
    return fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _objects(address: str, input_format: InputFormat) -> Iterator[str]:
    from llmbatch_cli.rows.input.objects import objects_at

    start = _start_of(address)
    pattern = PurePath(address.removeprefix(start).strip("/")).parts
    names_hidden = bool(pattern) and pattern[-1][0] in _HIDDEN

    def is_meant(name: str) -> bool:
        parts = PurePath(name).parts
        if pattern:
            return _matches(parts, pattern) and (names_hidden or not _is_hidden(parts[-1]))
        return not any(map(_is_hidden, parts))

    found = objects_at(address, start, is_meant)
    if input_format == "auto" and found[0].row_id is not None:
        _check_alike(found, address)
    yield from found


def _files(name: str, input_format: InputFormat) -> Iterator[str]:
    if is_remote(name):
        yield from _objects(name, input_format)
        return
    path = Path(name)
    if name == "-" or not (_is_folder(path) or (_has_magic(name) and not path.exists())):
        yield name
        return
    if _is_folder(path):
        members = sorted(_inside(path))
        start = path
    else:
        from glob import glob

        found = map(Path, glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no root
        wanted = PurePath(name).name[:1]  # a pattern may name them
        members = sorted(
            one
            for one in found
            if one.is_file() and (not _is_hidden(one.name) or wanted in _HIDDEN)
        )
        start = Path(_fixed_part(name))
    if not members:
        what = "the folder has no files" if _is_folder(path) else "no file matches"
        hint = None if _is_folder(path) else hint_for(name)
        raise UsageError(f"{what}: {os.fsencode(name).decode(errors='replace')}", hint=hint)
    files = [
        InputPath(one, row_id=PurePath(os.path.relpath(one, start)).as_posix()) for one in members
    ]
    if input_format == "auto":
        _check_alike(files, name)
    yield from files


def _check_alike(files: Sequence[InputPath], name: str) -> None:
    texts = [one for one in files if format_of_name(one) in ("whole", None)]
    rows = [one for one in files if format_of_name(one) not in ("whole", None)]
    if texts and rows:
        text, row = shown_name(texts[0].row_id or ""), shown_name(rows[0].row_id or "")
        suffix = PurePath(row).suffix
        raise UsageError(
            f"{shown_name(name)} has files that are a prompt each ({text}) and files of rows "
            f"({row})",
            hint=f"name those that are meant, as in '{_fixed_part(name)}/**/*{suffix}'",
        )


def _has_magic(name: str) -> bool:
    return any(char in name for char in _MAGIC)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name with a NUL: opening it says so
        return False


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not _is_hidden(one)]
        yield from (Path(place, one) for one in files if not _is_hidden(one))


def _is_hidden(name: str) -> bool:
    return name.startswith(_HIDDEN)


def _fixed_part(pattern: str) -> str:
    """The folder that all matches are below."""
    parts = PurePath(pattern).parts
    fixed = next((place for place, part in enumerate(parts) if _has_magic(part)), len(parts))
    return os.path.join(*parts[:fixed]) if fixed else "."  # noqa: PTH118
