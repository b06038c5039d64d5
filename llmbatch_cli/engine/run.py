"""Many rows at once: pulls rows while there is room, yields outcomes as they come or in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from llmbatch_cli.errors import RunStopped
from llmbatch_cli.events import Dropped, Finished, Observer, Started
from llmbatch_cli.types import BadRow, Failure, Outcome, Row, Work

LOOK_AHEAD: Final = 16
"""In input order, how many windows of rows may be open behind a slow one."""


class Stop:
    """How a run is told to end early, from a signal or another task."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self.draining = False
        """No new row is begun; those in flight may finish."""
        self.cancelling = False
        """Those in flight are dropped as well."""

    def drain(self) -> None:
        """Begin no new row."""
        self.draining = True
        self._tell()

    def cancel(self) -> None:
        """Drop the rows in flight, too."""
        self.draining = self.cancelling = True
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener at each change, and now if there has been one."""
        self._listeners.append(listener)
        if self.draining:
            listener()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


async def run(
    rows: AsyncGenerator[Row, None],
    work: Work,
    *,
    window: int,
    ordered: bool = False,
    stop: Stop,
    observe: Observer,
) -> AsyncGenerator[Outcome, None]:
    """Yield the outcomes of every row, each row's exactly once.

    At most `window` rows are at work at a time, and a row is pulled only when it can
    begin. Memory holds the rows at work and, when `ordered`, those that wait for a slower
    one before them: at most LOOK_AHEAD windows, then no row is begun until it is done.

    A RunStopped from `work` begins no new row, lets those at work finish, and is raised
    at the end, as is an error of `rows`; a row that was dropped yields nothing. Any other
    error of `work` drops all at once.
    Closing the generator drops what is at work.
    """
    running = _Run(rows, work, window, ordered, observe)
    async with aclosing(running.outcomes(stop)) as outcomes:
        async for outcome in outcomes:
            yield outcome


class _Run:
    def __init__(
        self,
        rows: AsyncGenerator[Row, None],
        work: Work,
        window: int,
        ordered: bool,
        observe: Observer,
    ) -> None:
        self._rows = rows
        self._work = work
        self._window = window
        self._most_open = window * LOOK_AHEAD if ordered else 2 * window
        self._observe = observe
        self._held: dict[int, tuple[Outcome, ...]] | None = {} if ordered else None
        self._next_held = 0
        self._begun = 0
        self._open = 0
        """Rows begun whose outcomes are not yet taken."""
        self._tasks: set[asyncio.Task[tuple[Outcome, ...]]] = set()
        self._ready: deque[tuple[Outcome, ...]] = deque()
        self._puller: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._broken = False
        """Whether the error is a bug in the work, after which nothing is waited for."""
        self._waiting: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def outcomes(self, stop: Stop) -> AsyncGenerator[Outcome, None]:
        self._puller = asyncio.create_task(self._pull())
        self._puller.add_done_callback(self._pulled)
        stop.listen(lambda: self._stop(cancel=stop.cancelling))
        try:
            while self._open or not self._puller.done() or self._ready:
                while self._ready:
                    for outcome in self._ready.popleft():
                        yield outcome
                    self._open -= 1
                    self._make_room()
                if self._broken:
                    break
                if self._open or not self._puller.done():
                    await self._woken()
        finally:
            await self._drop_all()
        if self._error is not None:
            raise self._error

    async def _pull(self) -> None:
        async with aclosing(self._rows) as rows:
            async for row in rows:
                self._begin(row)
                if not self._has_room():
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room

    def _has_room(self) -> bool:
        return len(self._tasks) < self._window and self._open < self._most_open

    def _begin(self, row: Row) -> None:
        place = self._begun
        self._begun += 1
        self._open += 1
        self._observe(Started(row.index))
        if isinstance(row, BadRow):
            self._finish(place, (unreadable(row),))
            return
        task = asyncio.ensure_future(self._work(row))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(place, row.index, done))

    def _done(self, place: int, index: int, task: "asyncio.Task[tuple[Outcome, ...]]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._drop(place, index)
        elif (error := task.exception()) is not None:
            self._broken = self._broken or not isinstance(error, RunStopped)
            self._drop(place, index)
            self._fail(error)
        else:
            self._finish(place, task.result())

    def _finish(self, place: int, outcomes: tuple[Outcome, ...]) -> None:
        for outcome in outcomes:
            self._observe(Finished(outcome))
        self._settle(place, outcomes)

    def _drop(self, place: int, index: int) -> None:
        self._observe(Dropped(index))
        self._settle(place, ())

    def _settle(self, place: int, outcomes: tuple[Outcome, ...]) -> None:
        if self._held is None:
            self._ready.append(outcomes)
        else:
            self._held[place] = outcomes
            while self._next_held in self._held:
                self._ready.append(self._held.pop(self._next_held))
                self._next_held += 1
        self._make_room()
        self._wake()

    def _pulled(self, puller: "asyncio.Task[None]") -> None:
        if not puller.cancelled() and (error := puller.exception()) is not None:
            self._fail(error)
        self._wake()

    def _fail(self, error: BaseException) -> None:
        if self._error is None or not isinstance(error, RunStopped):
            self._error = error
        self._stop(cancel=False)

    def _stop(self, *, cancel: bool) -> None:
        if self._puller is not None:
            self._puller.cancel()
        if cancel:
            for task in self._tasks:
                task.cancel()
        self._wake()

    async def _drop_all(self) -> None:
        self._stop(cancel=True)
        left = [*self._tasks, *([self._puller] if self._puller else [])]
        await asyncio.gather(*left, return_exceptions=True)

    async def _woken(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done() and self._has_room():
            self._room.set_result(None)


def unreadable(row: BadRow) -> Outcome:
    """The outcome of a row that could not be read."""
    return Outcome(
        index=row.index,
        id=row.id,
        model=None,
        provider=None,
        failure=Failure("invalid_row", f"{row.place}: {row.reason}"),
        metadata=row.metadata,
    )
