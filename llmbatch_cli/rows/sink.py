"""Rows of output to a file or to standard output, without ever blocking the event loop."""

import asyncio
import gzip
import os
import select
import stat
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from llmbatch_cli.errors import LlmbatchError, OutputError, ReaderGone, UsageError

ROOM_BYTES = 8 * 2**20
"""With more than this not yet written, `Sink.room` waits."""
_PIECE_BYTES = 2**16  # what a pipe holds, so that progress is seen piece by piece
_GATHER_S = 0.005
_GATHER_GZIP_S = 0.05
_WATCH_S = 0.2
_PATIENCE_S = 1.0


@asynccontextmanager
async def open_sink(
    target: Path | None,
    *,
    overwrite: bool,
    inputs: Sequence[str] = (),
    append: bool = False,
    fsync: bool = False,
    stdout_fd: int = 1,
) -> AsyncIterator["Sink"]:
    """Open the file `target`, or standard output for None, and close it at the end.

    A name that ends in `.gz` is compressed. `inputs` are the files that the run reads, `-`
    for standard input; none of them is written over. `append` keeps what the file holds,
    which must end with a whole row, and wins over `overwrite`.

    The end waits until every row is written (with `fsync`: on the disk), and can be
    cancelled. After a cancelled body it gives up on a reader that takes nothing for 1 s.
    Raises UsageError where nothing can be written, before the body runs; OutputError or
    ReaderGone at the end, unless the body ended with an error of its own.
    """
    if target is None:
        _check_stdout(stdout_fd, inputs)
    else:
        _check_file(target, inputs, filled=append or overwrite)
    sink = Sink(
        "standard output" if target is None else str(target),
        lambda: _open(target, stdout_fd, overwrite=overwrite, append=append, fsync=fsync),
    )
    await sink._start()
    try:
        yield sink
    except BaseException as error:
        await sink._close(_PATIENCE_S if isinstance(error, asyncio.CancelledError) else None)
        raise
    await sink._close()
    sink._check()


class Sink:
    """Where the rows go. Its methods belong to the event loop, its file to one thread.

    That is a daemon thread, and not an executor's, because the interpreter must be able to
    end while the thread is stuck in a write that nobody reads.
    """

    rows_written = 0
    """Rows that the operating system has taken whole, so that a kill cannot lose them."""

    def __init__(self, name: str, open_output: "Callable[[], _Output]") -> None:
        self._name = name
        self._open_output = open_output
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        self._drained = asyncio.Event()
        self._broken = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: LlmbatchError | None = None
        self._handed_bytes = 0  # changed by the loop only
        self._written_bytes = 0  # changed by the thread only
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._lines: list[bytes] = []
        self._closing = False

    def write(self, line: bytes) -> None:
        """Hand over one row with its newline. Raises OutputError or ReaderGone."""
        if self._error is not None:
            raise self._error
        self._handed_bytes += len(line)
        with self._lock:
            if not self._lines:
                self._changed.notify()
            self._lines.append(line)

    async def room(self) -> None:
        """Wait while over 8 MiB are not yet written. Raises OutputError or ReaderGone."""
        while self._crowded():
            self._drained.clear()
            if self._crowded():  # else the thread made room just before the clear
                await self._drained.wait()
        self._check()

    async def failed(self) -> LlmbatchError:
        """Wait until nothing more can be written, and say why: OutputError or ReaderGone.

        A pipe whose reader has gone is noticed within 0.2 s even while no row is written.
        """
        while self._error is None:
            await self._broken.wait()
        return self._error

    def _crowded(self) -> bool:
        return self._handed_bytes - self._written_bytes > ROOM_BYTES and self._error is None

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _start(self) -> None:
        threading.Thread(target=self._serve, name="llmbatch-sink", daemon=True).start()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:  # the thread may be waiting for a fifo's reader
            self._end_thread()
            raise
        self._check()

    def _end_thread(self) -> None:
        with self._lock:
            self._closing = True
            self._changed.notify()

    async def _close(self, patience_s: float | None = None) -> None:
        """Wait for the last row; with `patience_s` only while rows move within that time."""
        self._end_thread()
        while not self._ended.is_set():
            before = self._written_bytes
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), patience_s)
            if before == self._written_bytes:
                return

    # The rest runs in the thread.

    def _serve(self) -> None:
        try:
            output = self._open_output()
        except (OSError, UsageError) as error:
            self._error = _cannot_open(self._name, error)
            self._tell(self._opened)
            return
        self._tell(self._opened)
        try:
            self._pump(output)
        except BaseException as error:
            self._error = self._explain(error)
            if not isinstance(error, OSError):
                raise
        finally:
            if self._error is not None:
                self._tell(self._broken, self._drained)
            self._tell(self._ended)

    def _pump(self, output: "_Output") -> None:
        try:
            while lines := self._next_lines(output):
                for piece in _pieces(lines):
                    self._put(output, piece)
            output.finish()
        except BaseException:
            with suppress(OSError):
                output.close()
            raise
        output.close()

    def _next_lines(self, output: "_Output") -> list[bytes]:
        """The rows since the last call, after a moment for more to come; none at the end."""
        watch_s = _WATCH_S if output.watched else None
        with self._lock:
            while not self._lines and not self._closing:
                if not self._changed.wait(watch_s) and output.reader_gone():
                    raise BrokenPipeError
            self._changed.wait_for(lambda: self._closing, output.gather_s)
            lines, self._lines = self._lines, []
        return lines

    def _put(self, output: "_Output", piece: list[bytes]) -> None:
        try:
            output.put(piece)
        finally:
            self.rows_written = output.rows
        self._written_bytes += sum(map(len, piece))
        if not self._drained.is_set() and not self._crowded():
            self._tell(self._drained)

    def _tell(self, *events: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            for event in events:
                self._loop.call_soon_threadsafe(event.set)

    def _explain(self, error: BaseException) -> LlmbatchError:
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            explained: LlmbatchError = ReaderGone(f"{self._name} was closed by its reader")
        else:
            rows = self.rows_written
            safe = f"{rows:,} {'row is' if rows == 1 else 'rows are'} safe"
            explained = OutputError(f"cannot write {self._name}: {_reason(error)}; {safe}")
        explained.__cause__ = error
        return explained


class _Output:
    """An open file, pipe or terminal. Its methods block; they belong to one thread."""

    rows = 0
    """Rows written whole."""

    def __init__(self, fd: int, *, compress: bool, fsync: bool) -> None:
        mode = os.fstat(fd).st_mode
        self._fd = fd
        self._regular = stat.S_ISREG(mode)
        self._fsync = fsync and self._regular
        self._gzip = zlib.compressobj(wbits=31) if compress else None
        self.gather_s = _GATHER_GZIP_S if compress else _GATHER_S
        self.watched = hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))

    def put(self, lines: list[bytes]) -> None:
        """Write all rows. On an OSError a regular file ends with the last whole row."""
        data = b"".join(lines)
        if self._gzip is not None:
            # flushed, so that what is in the file can be unpacked after a kill
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
            self._write(data, [])
        else:
            self._write(data, lines)
        self.rows += len(lines)

    def finish(self) -> None:
        """Write what closes the format, and wait for the disk where that is asked."""
        if self._gzip is not None:
            self._write(self._gzip.flush(), [])
        if self._fsync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Close the file. The last errors of a network disk come here."""
        os.close(self._fd)

    def reader_gone(self) -> bool:
        """Whether nobody can ever read what is written to this pipe."""
        poll = select.poll()
        poll.register(self._fd, 0)  # errors are told unasked
        return bool(poll.poll(0))

    def _write(self, data: bytes, lines: list[bytes]) -> None:
        """Write all of `data`; where that fails, count the `lines` that are whole in it."""
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                written += _write_some(self._fd, view[written:])
        except OSError:
            rows, whole = _whole(lines, written)
            self.rows += rows
            with suppress(OSError):
                self._cut(written - whole)
            raise

    def _cut(self, torn: int) -> None:
        """Take the last `torn` bytes off the file, unless somebody else has added to it."""
        if not self._regular or torn == 0:
            return
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        if end == os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, end - torn)
            os.lseek(self._fd, end - torn, os.SEEK_SET)


def _write_some(fd: int, data: memoryview) -> int:
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:  # whoever started us made it non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def _whole(lines: list[bytes], written: int) -> tuple[int, int]:
    """How many of the lines, and of their bytes, are whole in the first `written` bytes."""
    whole = 0
    for rows, line in enumerate(lines):
        if whole + len(line) > written:
            return rows, whole
        whole += len(line)
    return len(lines), whole


def _pieces(lines: list[bytes]) -> Iterator[list[bytes]]:
    """The lines in groups of about 64 KiB; a longer line is a group of its own."""
    start = size = 0
    for place, line in enumerate(lines):
        if size and size + len(line) > _PIECE_BYTES:
            yield lines[start:place]
            start, size = place, 0
        size += len(line)
    yield lines[start:]


# Opening


def _open(
    target: Path | None, stdout_fd: int, *, overwrite: bool, append: bool, fsync: bool
) -> _Output:
    """Open the output. Blocks where a fifo has no reader yet."""
    if target is None:
        # a descriptor of its own, which stays valid for as long as the thread may be stuck in it
        return _Output(os.dup(stdout_fd), compress=False, fsync=fsync)
    compress = target.suffix == ".gz"
    if append and compress:
        _check_gzip(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    if overwrite and not append:
        flags |= os.O_TRUNC
    fd = os.open(target, flags, 0o666)
    return _Output(fd, compress=compress, fsync=fsync)


def _check_stdout(fd: int, inputs: Sequence[str]) -> None:
    status = None
    with suppress(OSError):
        status = os.fstat(fd)
    # without __stdout__ it was closed at the start, and its number may be another file's by now
    if status is None or (fd == 1 and sys.__stdout__ is None):
        raise UsageError("standard output is closed", hint="name a file with --output")
    _check_no_input(status, "standard output", inputs)


def _check_file(target: Path, inputs: Sequence[str], *, filled: bool) -> None:
    """Refuse what should not be written to. `filled`: the file may hold something."""
    try:
        status = target.stat()
    except FileNotFoundError:
        if target.parent.is_dir():
            return
        raise UsageError(f"cannot write {target}: no directory {target.parent}") from None
    except OSError as error:
        raise _cannot_open(str(target), error) from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"cannot write {target}: it is a directory")
    _check_no_input(status, str(target), inputs)
    if stat.S_ISREG(status.st_mode) and status.st_size and not filled:
        raise UsageError(f"{target} is not empty", hint="--overwrite replaces what it holds")


def _check_no_input(output: os.stat_result, name: str, inputs: Sequence[str]) -> None:
    if not stat.S_ISREG(output.st_mode):
        return
    for source in inputs:
        with suppress(OSError):  # an input that is not there is told by who reads it
            status = os.fstat(0) if source == "-" else os.stat(source)  # noqa: PTH116
            if os.path.samestat(output, status):
                raise UsageError(f"{name} is also an input", hint="name another file")


def _check_gzip(target: Path) -> None:
    """Refuse to add to a file that ends amid a member: what is added could not be read."""
    try:
        with gzip.open(target) as file:
            while file.read(2**20):
                pass
    except FileNotFoundError:
        return
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(
            f"cannot add to {target}: it is not a whole gzip file",
            hint=f"unpack what is there (gzip -dc {target} > ...), or write to another file",
        ) from error


def _cannot_open(name: str, error: OSError | UsageError) -> UsageError:
    if isinstance(error, UsageError):
        return error
    refused = UsageError(f"cannot write {name}: {_reason(error)}")
    refused.__cause__ = error
    return refused


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
