"""The folder of the output: what is written there stays, whoever is killed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

import orjson

_FILES: Final = 0o644
NEW: Final = ".new"
"""The end of the name of a file that will replace another."""


class Folder:
    """A folder that all workers see. Its methods block, and raise OSError.

    Nothing relies on locks, which not every shared disk has: a file is created exclusively,
    linked, or replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, name: str = "") -> None:
        """Make the folder."""
        (self.path / name).mkdir(parents=True, exist_ok=True)

    def names(self, under: str = "") -> list[str]:
        """The names of the files in it, sorted; none where it is not there."""
        folder = self.path / under
        with suppress(FileNotFoundError):
            return sorted(one.name for one in os.scandir(folder) if one.is_file())
        return []

    def has(self, name: str) -> bool:
        """Whether there is such a file: a list of names may be older, on a shared disk."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Its bytes; None where there is no such file."""
        with suppress(FileNotFoundError):
            return (self.path / name).stat().st_size
        return None

    def read(self, name: str) -> bytes | None:
        """All of a file; None where there is none."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def json(self, name: str) -> Mapping[str, Any] | None:
        """A file of JSON; None where there is none, or it is no object."""
        data = self.read(name)
        try:
            said = None if data is None else orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        return said if isinstance(said, dict) else None

    def lines(self, name: str) -> Iterator[bytes]:
        """The whole lines of a file with their newlines; a torn one at its end is left out."""
        with (self.path / name).open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def create(self, name: str) -> BinaryIO | None:
        """A new file, open for writing; None where there is one of this name."""
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILES)
        except FileExistsError:
            return None
        self._sync(path.parent)
        return os.fdopen(descriptor, "wb", buffering=0)

    def sync(self, file: BinaryIO) -> None:
        """Have what was written to the file on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def replace(self, name: str, data: bytes) -> None:
        """Write a file as a whole, in place of what it was."""
        path = self.path / name
        new = path.with_name(f"{path.name}.{uuid4().hex[:12]}{NEW}")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        self._sync(path.parent)

    def publish(self, name: str, final: str) -> bool:
        """Give a file another name, too; False where there is one of that name already."""
        path = self.path / final
        try:
            path.hardlink_to(self.path / name)
        except FileExistsError:  # which a shared disk says also of a link made a moment ago
            if not path.samefile(self.path / name):
                return False
        self._sync(path.parent)
        return True

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    @staticmethod
    def _sync(folder: Path) -> None:
        """Have the folder's own entries on the disk."""
        with suppress(OSError):  # not every file system can
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
