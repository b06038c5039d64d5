"""Folders and patterns among the inputs: the files that they stand for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.input.inputs import InputPath, hint_for

_MAGIC: Final = "*?["
_HIDDEN: Final = (".", "_")
"""How files begin that are no data: .DS_Store, _SUCCESS."""


def expanded(inputs: Sequence[str]) -> list[str]:
    """The inputs, with the files of folders and patterns in their places, sorted by name.

    Raises UsageError for a folder without files, or a pattern that matches none.
    """
    return [file for name in inputs for file in _files(name)]


def _files(name: str) -> Iterator[str]:
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
        members = sorted(one for one in found if one.is_file())
        start = Path(_fixed_part(name))
    if not members:
        what = "the folder has no files" if _is_folder(path) else "no file matches"
        hint = None if _is_folder(path) else hint_for(name)
        raise UsageError(f"{what}: {os.fsencode(name).decode(errors='replace')}", hint=hint)
    for member in members:
        yield InputPath(member, row_id=PurePath(os.path.relpath(member, start)).as_posix())


def _has_magic(name: str) -> bool:
    return any(char in name for char in _MAGIC)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name with a NUL: opening it says so
        return False


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(_HIDDEN)]
        yield from (Path(place, one) for one in files if not one.startswith(_HIDDEN))


def _fixed_part(pattern: str) -> str:
    """The folder that all matches are below."""
    parts = PurePath(pattern).parts
    fixed = next((place for place, part in enumerate(parts) if _has_magic(part)), len(parts))
    return os.path.join(*parts[:fixed]) if fixed else "."  # noqa: PTH118
