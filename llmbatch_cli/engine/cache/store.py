"""The table of answers, in a thread of its own: the loop never waits for the disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.cache.table import Table, reason_of

WRITTEN: Final = 200
"""New answers that are written at once: a transaction of so many takes a third of the time."""
WRITE_S: Final = 0.1
"""The longest that an answer waits to be written. A kill loses so much of the cache."""
MOST_UNWRITTEN_BYTES: Final = 32 * 2**20
"""Of answers that wait to be written; on a disk that is slower than the run, further ones are not
kept."""


@frozen
class _Turn:
    """What the thread has done at once."""

    found: dict[bytes, bytes]
    unreadable: str | None
    """Why nothing can be read; None where it can."""
    unwritable: str | None


class Store:
    """Answers by key; one turn of the thread serves all that wait for it.

    Where the table fails, it says so once and goes on without: it holds nothing that cannot be
    had again.
    """

    def __init__(self, table: Table, fail: Callable[[str], None]) -> None:
        """`fail` is told why the table cannot be used any more: at most once for reading, once
        for writing."""
        self._table = table
        self._fail = fail
        self._thread = ThreadPoolExecutor(1, "llmbatch-cache")
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[bytes, list[asyncio.Future[bytes | None]]] = {}
        self._new: dict[bytes, bytes] = {}
        """To be written."""
        self._new_bytes = 0
        self._writing: dict[bytes, bytes] = {}
        self._turn: asyncio.Future[_Turn] | None = None
        self._next: asyncio.Handle | None = None
        """The start of the next turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False
        """Whether what is new has waited for long enough."""
        self._readable = self._writable = True

    async def get(self, key: bytes) -> bytes | None:
        """The answer, if there is one."""
        found = self._new.get(key) or self._writing.get(key)
        if found is not None or not self._readable:
            return found
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        self._wanted.setdefault(key, []).append(future)
        self._wake()
        return await future

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer; it can be had at once, and is written soon."""
        if not self._writable or self._new_bytes + len(answer) > MOST_UNWRITTEN_BYTES:
            return
        self._new[key] = answer
        self._new_bytes += len(answer)
        if len(self._new) >= WRITTEN:
            self._wake()
        elif self._timer is None:
            self._timer = self._loop.call_later(WRITE_S, self._write_now)

    async def aclose(self) -> None:
        """Write what is new, and close the table."""
        while self._turn is not None:
            await asyncio.wait([self._turn])
        if self._timer is not None:
            self._timer.cancel()
        if self._next is not None:
            self._next.cancel()
        for future in chain.from_iterable(self._wanted.values()):
            if not future.done():
                future.set_result(None)
        new = self._new if self._writable else None
        self._end(await self._loop.run_in_executor(self._thread, self._work, (), new))
        await self._loop.run_in_executor(self._thread, self._table.close)
        self._thread.shutdown(wait=False)

    def _write_now(self) -> None:
        self._timer, self._is_due = None, True
        self._wake()

    def _wake(self) -> None:
        """Begin a turn when this one of the loop has ended, which may ask for more."""
        if self._turn is None and self._next is None:
            self._next = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._next = None
        wanted, self._wanted = self._wanted, {}
        writes = self._is_due or len(self._new) >= WRITTEN
        if writes:
            self._writing, self._new, self._new_bytes = self._new, {}, 0
            self._is_due = False
        new = self._writing if writes and self._writable else None
        self._turn = self._loop.run_in_executor(self._thread, self._work, tuple(wanted), new)
        self._turn.add_done_callback(partial(self._finish, wanted))

    def _finish(
        self,
        wanted: dict[bytes, list[asyncio.Future[bytes | None]]],
        done: "asyncio.Future[_Turn]",
    ) -> None:
        self._turn = None
        found = self._end(done.result()).found
        for key, futures in wanted.items():
            for future in futures:
                if not future.done():
                    future.set_result(found.get(key))
        if self._wanted or self._is_due or len(self._new) >= WRITTEN:
            self._wake()

    def _end(self, turn: _Turn) -> _Turn:
        self._writing = {}
        if turn.unreadable is not None and self._readable:
            self._readable = False
            self._fail(f"cannot be read ({turn.unreadable})")
        if turn.unwritable is not None and self._writable:
            self._writable = False
            self._new.clear()
            self._fail(f"cannot be written ({turn.unwritable})")
        return turn

    # In the thread

    def _work(self, wanted: Sequence[bytes], new: dict[bytes, bytes] | None) -> _Turn:
        """Read, then write; None writes only that many answers were used."""
        found: dict[bytes, bytes] = {}
        unreadable = unwritable = None
        try:
            found = self._table.read(wanted)
        except sqlite3.Error as error:
            unreadable = reason_of(error)
        try:
            if new is not None or self._table.has_touched_many:
                self._table.write(new or {})
        except sqlite3.Error as error:
            unwritable = reason_of(error)
        return _Turn(found, unreadable, unwritable)
