"""A local or mounted folder as a storage. What is written is on the disk when a method returns."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from llmbatch_cli.storage.base import Entry

_NEW: Final = ".llmbatch-new-"
"""How files begin that are being written."""
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems say that have no hard links."""
_BINARY: Final = getattr(os, "O_BINARY", 0)


class LocalStorage:
    """A folder, which need not be there yet."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.address = str(folder)

    def path(self, name: str) -> Path:
        """Where a file is. Raises ValueError for a name that leads out of the folder."""
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"no name of a file: {name!r}")
        return self._folder / name

    def list(self, folder: str = "") -> Iterator[Entry]:
        """As Storage."""
        start = self.path(folder.strip("/")) if folder.strip("/") else self._folder
        found: list[str] = []
        for place, _, files in os.walk(start):
            names = (Path(place, file) for file in files if not file.startswith(_NEW))
            found.extend(path.relative_to(self._folder).as_posix() for path in names)
        entries = map(self.entry, sorted(found))
        return (entry for entry in entries if entry is not None)

    def children(self, folder: str = "") -> Sequence[Entry]:
        """As Storage."""
        start = self.path(folder.strip("/")) if folder.strip("/") else self._folder
        found: list[Entry] = []
        with suppress(FileNotFoundError), os.scandir(start) as children:
            for one in children:
                if one.is_dir():
                    found.append(Entry(f"{one.name}/", 0, ""))
                elif not one.name.startswith(_NEW):
                    with suppress(FileNotFoundError):
                        found.append(_entry(one.name, one.stat()))
        return sorted(found)

    def entry(self, name: str) -> Entry | None:
        """As Storage."""
        try:
            status = self.path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(name, status)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """As Storage."""
        with self.path(name).open("rb") as file:
            file.seek(begin)
            return file.read(-1 if end is None else max(0, end - begin))

    def open(self, name: str, version: str | None = None) -> FileIO:
        """As Storage."""
        file = FileIO(self.path(name))
        if version is not None and _version(os.fstat(file.fileno())) != version:
            file.close()
            raise OSError(errno.ESTALE, "the file has changed", str(self.path(name)))
        return file

    def create(self, name: str, data: bytes) -> bool:
        """As Storage."""
        path = self.path(name)
        if path.exists():
            return False
        with self._new(path) as (new, file):
            file.write(data)
            _sync(file)
            return self._linked(new, path)

    def put(self, name: str, data: bytes) -> None:
        """As Storage."""
        with self.writer(name) as file:
            file.write(data)

    def publish(self, source: str, name: str) -> bool:
        """As Storage."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._linked(self.path(source), path)

    def delete(self, *names: str) -> None:
        """As Storage."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """As Storage."""
        path = self.path(name)
        with self._new(path) as (new, file):
            yield file
            _sync(file)
            file.close()  # Windows moves no open file
            new.replace(path)
            _sync_folder(path.parent)

    @contextmanager
    def _new(self, path: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """A file beside this one, which is gone at the end."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{_NEW}{os.urandom(8).hex()}")
        try:
            with new.open("xb") as file:
                yield new, file
        finally:
            new.unlink(missing_ok=True)

    def _linked(self, whole: Path, path: Path) -> bool:
        """Give a whole file this name too; False where it is taken."""
        try:
            os.link(whole, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _copied(whole, path)
        _sync_folder(path.parent)
        return True


def _copied(whole: Path, path: Path) -> bool:
    """The same where there are no links: only a kill in the middle leaves a part of it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file, whole.open("rb") as source:
            while data := source.read(2**20):
                file.write(data)
            _sync(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return True


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, _version(status), status.st_mtime)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
