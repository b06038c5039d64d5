"""The output in a folder of a disk that all machines share."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from llmbatch_cli.cluster.folder import NEW, Growing, Seen, as_json
from llmbatch_cli.cluster.layout import WORK
from llmbatch_cli.storage import Writer

_FILES: Final = 0o644
_BLOCK_BYTES: Final = 2**20
SYNC_S: Final = 1.0
"""What is written survives its process at once, and the machine after so long."""


class LocalFolder:
    """A folder, as Folder says."""

    def __init__(self, path: Path) -> None:
        """`path` is absolute, and no symbolic link."""
        self.path = path
        self.sync_s = SYNC_S

    @property
    def address(self) -> str:
        """As Folder."""
        return str(self.path)

    def make(self, name: str = "") -> None:
        """As Folder."""
        (self.path / name).mkdir(parents=True, exist_ok=True)

    def is_empty(self) -> bool:
        """As Folder."""
        with suppress(FileNotFoundError), os.scandir(self.path) as found:
            if any(one.name != WORK for one in found):
                return False
        left = (file for _, _, files in os.walk(self.path / WORK) for file in files)
        return all(file.endswith(NEW) for file in left)

    def names(self, under: str = "") -> list[str]:
        """As Folder."""
        with suppress(FileNotFoundError), os.scandir(self.path / under) as found:
            return sorted(one.name for one in found if one.is_file())
        return []

    def seen(self, under: str = "") -> Mapping[str, Seen]:
        """As Folder."""
        found = {}
        for name in self.names(under):
            with suppress(FileNotFoundError):
                status = (self.path / under / name).stat()
                found[name] = Seen(status.st_size, status.st_mtime)
        return found

    def has(self, name: str) -> bool:
        """As Folder."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """As Folder."""
        with suppress(FileNotFoundError):
            return (self.path / name).stat().st_size
        return None

    def read(self, name: str) -> bytes | None:
        """As Folder."""
        with suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def json(self, name: str) -> Mapping[str, Any] | None:
        """As Folder."""
        return as_json(self.read(name))

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """As Folder."""
        return map(self.read, names)

    def blocks(self, name: str) -> Iterator[bytes]:
        """As Folder."""
        with (self.path / name).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def lines(self, name: str) -> Iterator[bytes]:
        """As Folder."""
        with (self.path / name).open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def create(self, name: str) -> Growing | None:
        """As Folder."""
        path = self.path / name
        try:
            file = _GrowingFile(path)
        except FileExistsError:
            return None
        self._sync(path.parent)
        return file

    def replace(self, name: str, data: bytes) -> None:
        """As Folder."""
        with self.writer(name) as file:
            file.write(data)

    def add(self, name: str, data: bytes) -> bool:
        """As Folder."""
        new = f"{name}.{uuid4().hex[:12]}{NEW}"
        self.replace(new, data)
        try:
            return self.publish(new, name)
        finally:
            self.delete(new)

    @contextmanager
    def writer(self, name: str) -> Iterator[Writer]:
        """As Folder."""
        path = self.path / name
        new = path.with_name(f"{path.name}.{uuid4().hex[:12]}{NEW}")
        try:
            with new.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        self._sync(path.parent)

    def publish(self, name: str, final: str) -> bool:
        """As Folder."""
        path = self.path / final
        try:
            path.hardlink_to(self.path / name)
        except FileExistsError:  # which a shared disk says also of a link made a moment ago
            if not path.samefile(self.path / name):
                return False
        self._sync(path.parent)
        return True

    def delete(self, *names: str) -> None:
        """As Folder."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        """As Folder: the file itself."""
        yield self.path / name

    @contextmanager
    def made_here(self, name: str) -> Iterator[Path]:
        """As Folder: who makes a file replaces an old one as a whole."""
        yield self.path / name

    @staticmethod
    def _sync(folder: Path) -> None:
        """Have the folder's own entries on the disk."""
        with suppress(OSError):  # not every file system can
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class _GrowingFile:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILES)
        self._file = FileIO(descriptor, "wb")

    def write(self, data: bytes) -> None:
        """As Growing."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def sync(self) -> None:
        """As Growing."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """As Growing."""
        self._file.close()
