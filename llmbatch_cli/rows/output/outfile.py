"""An output file: its lines, and how it is replaced."""

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.lines import CHUNK_BYTES, CutShort, Lines, Unreadable, unpacked

_BINARY: Final = getattr(os, "O_BINARY", 0)


class OutputLines:
    """The lines of an output, with their newlines; the last may have none.

    Its name decides whether it is gzip. Iterating raises UsageError for damaged gzip data, and
    OSError for a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut_short = False
        """Whether gzip data ended too early; known after the last line."""

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=CHUNK_BYTES) as file:
            yield from self._unpacked(file) if is_packed(self._path) else file

    def _unpacked(self, file: BinaryIO) -> Iterator[bytes]:
        lines = Lines(sys.maxsize)
        try:
            for chunk in unpacked(iter(lambda: file.read(CHUNK_BYTES), b"")):
                for line in lines.feed(chunk):
                    yield (line or b"") + b"\n"
        except CutShort:
            self.cut_short = True
        except Unreadable as error:
            raise UsageError(
                f"{self._path}: {error.message}",
                hint=f"gzip -dc {self._path} > ... saves what precedes the damage",
            ) from error
        yield from filter(None, lines.finish())


def is_packed(path: Path) -> bool:
    """Whether an output of this name is gzip."""
    return path.suffix == ".gz"


@contextmanager
def replacing(real: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes the new content of a file, gzip if its name says so.

    As `renewed`.
    """
    with renewed(real) as file, packing(file.write, real) as write:
        yield write


@contextmanager
def packing(write: Callable[[bytes], object], name: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes gzip where the name says so. It is whole after the body."""
    if not is_packed(name):
        yield write
        return
    packer = zlib.compressobj(wbits=31)
    yield lambda data: write(packer.compress(data))
    write(packer.flush())


@contextmanager
def renewed(real: Path) -> Iterator[BinaryIO]:
    """Yield the file that replaces this one, or that gets its name, at the end of the body.

    An old file stays until then; after an error it stays for good. The new one has its mode
    and, where that is allowed, its owner, and is on the disk before it replaces the old one.
    `real` is not a symbolic link. Raises OSError.
    """
    new = new_name(real)
    new.unlink(missing_ok=True)
    old = real.stat() if real.exists() else None
    try:
        with _create(new, 0o666 if old is None else 0o600) as file:
            if old is not None:
                give_rights(new, old)
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(real)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(real.parent)


def free_name(real: Path, word: str) -> Path:
    """`OUT.<word>-<n>` with the first number that is free."""
    names = (real.with_name(f"{real.name}.{word}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def new_name(real: Path) -> Path:
    """Where the new content is written: one name, so that a kill leaves one file at most."""
    return real.with_name(f".{real.name}.new")


def _create(new: Path, mode: int) -> BinaryIO:
    """Open a new file with this mode, of which umask takes some."""
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    return os.fdopen(fd, "wb", buffering=CHUNK_BYTES)


def give_rights(new: Path, old: os.stat_result) -> None:
    """Give a new file the mode and, where that is allowed, the owner of an old one."""
    if hasattr(os, "chown"):  # not on Windows
        with suppress(OSError):
            os.chown(new, old.st_uid, old.st_gid)
    new.chmod(stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
