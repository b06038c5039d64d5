"""Writing rows to a file or to standard output without blocking the event loop."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from llmbatch_cli.core.errors import LlmbatchError, OutputError, ReaderGone, UsageError
from llmbatch_cli.rows.output.target import (
    Target,
    cannot_open,
    check_file,
    check_stdout,
    open_target,
    reason,
)

ROOM_BYTES = 2 * 2**20
"""With more than this not yet written, `Sink.room` waits."""
_PIECE_BYTES = 2**16  # what a pipe holds, so that progress is seen piece by piece
_WATCH_S = 0.2
_PATIENCE_S = 1.0
_LOOK_S = 0.01


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
    which `rows.resume.prepare` has made whole, and wins over `overwrite`.

    What `overwrite` replaces is put aside until the first row is written, or until an end
    without rows; of a run that is stopped before its first row it stays there: `Sink.old`.

    The end waits until every row is written (with `fsync`: on the disk). Once cancelled it
    gives up on a reader that takes nothing for 1 s; cancelled again, at once.
    Raises UsageError where nothing can be written, before the body runs; OutputError or
    ReaderGone at the end, unless the body ended with an error of its own.
    """
    if target is None:
        check_stdout(stdout_fd, inputs)
    else:
        check_file(target, inputs, filled=append or overwrite)
    sink = Sink(
        "standard output" if target is None else str(target),
        lambda: open_target(target, stdout_fd, overwrite=overwrite, append=append, fsync=fsync),
    )
    await sink._start()
    try:
        yield sink
        await sink._close()
    except BaseException as error:
        sink.leave()
        await sink._close(_PATIENCE_S if isinstance(error, asyncio.CancelledError) else None)
        raise
    sink._check()


class Sink:
    """Where the rows go. Its methods belong to the event loop, its file to one thread.

    That is a daemon thread, and not an executor's, because the interpreter must be able to
    end while the thread is stuck in a write that nobody reads.
    """

    rows_written = 0
    """Rows that the operating system has taken whole, so that a kill cannot lose them."""
    old: Path | None = None
    """Where the file is that was to be replaced, if no row was written in its place."""
    rows_handed = 0
    """Rows that were given to `write`."""

    def __init__(self, name: str, open_output: "Callable[[], Target]") -> None:
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
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        """Rows not yet taken by the thread; None is their end."""
        self._closing = threading.Event()
        self._left = False

    @property
    def rows_waiting(self) -> int:
        """Rows handed over and not yet known to be written."""
        return self.rows_handed - self.rows_written

    def leave(self) -> None:
        """Without a row written, leave no empty output."""
        self._left = True

    def write(self, line: bytes) -> None:
        """Hand over one row with its newline. Raises OutputError or ReaderGone."""
        self._check()
        self._handed_bytes += len(line)
        self.rows_handed += 1
        self._lines.put(line)

    async def room(self) -> None:
        """Wait while over 2 MiB are not yet written. Raises OutputError or ReaderGone."""
        while self.is_crowded:
            self._drained.clear()
            if self.is_crowded:  # else the thread made room just before the clear
                await self._drained.wait()
        self._check()

    async def synced(self) -> None:
        """Wait until all rows are on the disk. Raises OutputError or ReaderGone."""
        while self.rows_waiting:
            self._check()
            await asyncio.sleep(_LOOK_S)
        self._check()
        await asyncio.to_thread(_sync, Path(self._name))

    async def failed(self) -> LlmbatchError:
        """Wait until nothing more can be written, and return why: OutputError or ReaderGone.

        A pipe whose reader has gone is noticed within 0.2 s even while no row is written.
        """
        while self._error is None:
            await self._broken.wait()
        return self._error

    @property
    def is_crowded(self) -> bool:
        """Whether there is no room just now."""
        return self._handed_bytes - self._written_bytes > ROOM_BYTES and self._error is None

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _start(self) -> None:
        threading.Thread(target=self._serve, name="llmbatch-sink", daemon=True).start()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:  # the thread may be waiting for a fifo's reader
            self.leave()
            self._end_thread()
            raise
        self._check()

    def _end_thread(self) -> None:
        self._closing.set()
        self._lines.put(None)

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
            self._error = cannot_open(self._name, error)
            self._signal(self._opened)
            return
        self.old = output.aside
        self._signal(self._opened)
        try:
            self._pump(output)
        except BaseException as error:
            self._error = self._explained(error)
            if not isinstance(error, OSError):
                raise
        finally:
            if self._error is not None:
                self._signal(self._broken, self._drained)
            self._signal(self._ended)

    def _pump(self, output: "Target") -> None:
        try:
            while lines := self._next_lines(output):
                for piece in _pieces(lines):
                    self._put(output, piece)
            if output.rows or not self._left:
                output.finish()
                self.old = output.aside
            else:
                output.withdraw()
        except BaseException:
            with suppress(OSError):
                output.close()
            raise
        output.close()

    def _next_lines(self, output: "Target") -> list[bytes]:
        """The rows since the last call, after a moment for more to come; none at the end."""
        if (first := self._first_line(output)) is None:
            return []
        self._closing.wait(output.gather_s)
        lines = [first]
        for _ in range(self._lines.qsize()):
            line = self._lines.get()
            if line is None:
                self._lines.put(None)  # for the next call
                break
            lines.append(line)
        return lines

    def _first_line(self, output: "Target") -> bytes | None:
        watch_s = _WATCH_S if output.watched else None
        while True:
            try:
                return self._lines.get(timeout=watch_s)
            except Empty:
                if output.reader_gone():
                    raise BrokenPipeError from None

    def _put(self, output: "Target", piece: list[bytes]) -> None:
        try:
            output.put(piece)
        finally:
            self.rows_written, self.old = output.rows, output.aside
        self._written_bytes += sum(map(len, piece))
        if not self._drained.is_set() and not self.is_crowded:
            self._signal(self._drained)

    def _signal(self, *events: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            for event in events:
                self._loop.call_soon_threadsafe(event.set)

    def _explained(self, error: BaseException) -> LlmbatchError:
        if isinstance(error, BrokenPipeError | ConnectionResetError):
            explained: LlmbatchError = ReaderGone(f"{self._name} was closed by its reader")
        else:
            safe = (
                f"{self.rows_written:,} {'row is' if self.rows_written == 1 else 'rows are'} safe"
            )
            explained = OutputError(f"cannot write {self._name}: {reason(error)}; {safe}")
        explained.__cause__ = error
        return explained


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _pieces(lines: list[bytes]) -> Iterator[list[bytes]]:
    """The lines in groups of about 64 KiB; a longer line is a group of its own.

    `lines` is emptied on the way, so that what is written is not held.
    """
    lines.reverse()
    while lines:
        piece: list[bytes] = []
        size = 0
        while lines and (not piece or size + len(lines[-1]) <= _PIECE_BYTES):
            size += len(lines[-1])
            piece.append(lines.pop())
        yield piece
