"""The output: a file, a pipe or a terminal, checked and opened. All of it blocks."""

import os
import select
import shlex
import stat
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.output.outfile import free_name, give_rights, is_packed
from llmbatch_cli.storage import address_of

_GATHER_S = 0.005
_GATHER_GZIP_S = 0.05
IN_THE_WAY: Final = "--overwrite replaces it, --resume continues it; or name another file"


class Target:
    """An open file, pipe or terminal. Its methods block; they belong to one thread."""

    rows = 0
    """Rows written whole."""

    def __init__(
        self,
        fd: int,
        *,
        compress: bool = False,
        fsync: bool,
        created: Path | None = None,
        aside: Path | None = None,
    ) -> None:
        """`created`: the file's name, where it was made here. `aside`: what the file replaces,
        which goes when the first row is written."""
        mode = os.fstat(fd).st_mode
        self._fd = fd
        self._created = created
        self._regular = stat.S_ISREG(mode)
        self._fsync = fsync and self._regular
        self.aside = aside
        """The old file, until it is replaced for good."""
        self._gzip = zlib.compressobj(wbits=31) if compress else None
        self.gather_s = _GATHER_GZIP_S if compress else _GATHER_S
        self.watched = hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))

    def put(self, lines: list[bytes]) -> None:
        """Write all rows. On an OSError a regular file ends with the last whole row."""
        data = b"".join(lines)
        if self._gzip is None:
            self._write(data, lines)
        else:
            # flushed, so that what is in the file can be unpacked after a kill
            self._write(self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH), [])
        self.rows += len(lines)

    def finish(self) -> None:
        """Write what ends the format, and wait for the disk with fsync."""
        nothing = not self.rows and os.fstat(self._fd).st_size > 0  # appended to
        self._write(b"" if self._gzip is None or nothing else self._gzip.flush(), [])
        if self._fsync:
            os.fsync(self._fd)

    def withdraw(self) -> None:
        """Remove the empty file that was made here."""
        if self._created is not None:
            with suppress(OSError):
                status = os.fstat(self._fd)
                if status.st_size == 0 and os.path.samestat(status, self._created.stat()):
                    self._created.unlink()

    def close(self) -> None:
        """Close the file. The last errors of a network disk come here."""
        os.close(self._fd)

    def reader_gone(self) -> bool:
        """Whether nobody can ever read what is written to this pipe."""
        poll = select.poll()
        poll.register(self._fd, 0)  # errors are always reported
        return bool(poll.poll(0))

    def _write(self, data: bytes, lines: list[bytes]) -> None:
        """Write all of `data`; where that fails, count the `lines` that are whole in it."""
        if self.aside is not None:
            with suppress(OSError):
                self.aside.unlink()
            self.aside = None
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                written += _write_some(self._fd, view[written:])
        except OSError:
            whole = 0
            for line in lines:
                if whole + len(line) > written:
                    break
                whole += len(line)
                self.rows += 1
            with suppress(OSError):
                self._cut(written - whole)
            raise

    def _cut(self, torn_bytes: int) -> None:
        """Take the last bytes off the file, unless another process has added to it."""
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        if self._regular and torn_bytes and end == os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, end - torn_bytes)
            os.lseek(self._fd, end - torn_bytes, os.SEEK_SET)


def _write_some(fd: int, data: memoryview) -> int:
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:  # whoever started us made it non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


# Opening


def open_target(
    target: Path | None, stdout_fd: int, *, overwrite: bool, append: bool, fsync: bool
) -> Target:
    """Open the output. Blocks where a fifo has no reader yet."""
    if target is None:
        # a descriptor of its own, which stays valid for as long as the thread may be stuck in it
        return Target(os.dup(stdout_fd), fsync=fsync)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    aside = _put_aside(target) if overwrite and not append else None
    made_here = None if aside is None else Path(os.path.realpath(target))
    try:
        fd, made_here = os.open(target, flags | os.O_EXCL, 0o666), target
    except FileExistsError:
        fd = os.open(target, flags, 0o666)
    return Target(fd, compress=is_packed(target), fsync=fsync, created=made_here, aside=aside)


def _put_aside(target: Path) -> Path | None:
    """Rename what is to be replaced to `OUT.old-<n>`, with an empty file in its place.

    So a run that ends before its first row loses nothing, and no --resume takes the old answers
    for its own. Where the folder cannot be written, the file is emptied at once.
    """
    real = Path(os.path.realpath(target))
    if not (real.is_file() and os.access(real, os.W_OK) and real.stat().st_size):
        return None
    old = free_name(real, "old")
    try:
        real.rename(old)
    except OSError:
        os.truncate(real, 0)
        return None
    os.close(os.open(real, os.O_WRONLY | os.O_CREAT, 0o600))
    give_rights(real, old.stat())
    return old


def check_stdout(fd: int, inputs: Sequence[str]) -> None:
    """Refuse a standard output that cannot be written. Raises UsageError."""
    status = None
    with suppress(OSError):
        status = os.fstat(fd)
    # without __stdout__ it was closed at the start, and its number may be another file's by now
    if status is None or (fd == 1 and sys.__stdout__ is None):
        raise UsageError("standard output is closed", hint="name a file with --output")
    _check_not_an_input(status, "standard output", inputs)


def check_file(target: Path, inputs: Sequence[str], *, filled: bool) -> None:
    """Refuse a file that must not or cannot be written. `filled`: it may hold something.

    Raises UsageError.
    """
    if (address := address_of(target)) is not None:
        raise UsageError(
            f"cannot write {address}: only answers go to a store", hint="name a file here"
        )
    try:
        status = target.stat()
    except FileNotFoundError:
        if target.parent.is_dir():
            return
        raise UsageError(
            f"cannot write {target}: no directory {target.parent}",
            hint=f"mkdir -p {shlex.quote(str(target.parent))} makes it",
        ) from None
    except OSError as error:
        raise cannot_open(str(target), error) from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"cannot write {target}: it is a directory")
    _check_not_an_input(status, str(target), inputs)
    if stat.S_ISREG(status.st_mode) and status.st_size and not filled:
        raise UsageError(f"{target} is not empty", hint=IN_THE_WAY)


def _check_not_an_input(output: os.stat_result, name: str, inputs: Sequence[str]) -> None:
    if not stat.S_ISREG(output.st_mode):
        return
    for source in inputs:
        with suppress(OSError):  # a missing input is reported by who reads it
            status = os.fstat(0) if source == "-" else os.stat(source)  # noqa: PTH116
            if os.path.samestat(output, status):
                raise UsageError(f"{name} is also an input", hint="name another file")


def cannot_open(name: str, error: OSError | UsageError) -> UsageError:
    """The error as one for the user."""
    if isinstance(error, UsageError):
        return error
    refused = UsageError(f"cannot write {name}: {reason(error)}")
    refused.__cause__ = error
    return refused


def reason(error: BaseException) -> str:
    """What has failed, in the system's words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
