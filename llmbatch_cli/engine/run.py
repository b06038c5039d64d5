"""Many rows at once: pulls rows while there is room, yields outcomes as they come or in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

from llmbatch_cli.core.errors import LlmbatchError, RunStopped
from llmbatch_cli.core.events import Dropped, Finished, Observer, Started
from llmbatch_cli.core.types import BadRow, Failure, Outcome, Row, Work
from llmbatch_cli.engine.unfair_lock import UnfairLock


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


class Gauge:
    """What a run waits for, besides its requests."""

    def __init__(self) -> None:
        self.waiting: Literal["input", "output"] | None = None


async def run(
    rows: AsyncGenerator[Row, None],
    work: Work,
    *,
    window: Callable[[], int],
    most_open: int,
    ordered: bool = False,
    stop: Stop,
    observe: Observer,
    gauge: Gauge | None = None,
) -> AsyncGenerator[Outcome, None]:
    """Yield the outcomes of every row, each row's exactly once.

    No more rows are at work than `window()` has said so far, and a row is pulled only when it
    can begin; where the window has shrunk since, rows wait for their limits. Memory holds at
    most `most_open` rows: those at work, those not yet taken, and, when `ordered`, those that
    wait for a slower one before them.

    A RunStopped from `work` begins no new row, lets those at work finish, and is raised
    at the end, as is an error of `rows`; a row that was dropped yields nothing. Any other
    error of `work` drops all at once.
    Closing the generator drops what is at work.
    """
    running = _Run(rows, work, window, most_open, ordered, observe, gauge or Gauge())
    async with aclosing(running.outcomes(stop)) as outcomes:
        async for outcome in outcomes:
            yield outcome


class _Run:
    """Workers that take turns at pulling a row and do its work.

    A task is far dearer than a turn, so a worker outlives its row; a new one is hired only
    when nobody is left to pull.
    """

    def __init__(
        self,
        rows: AsyncGenerator[Row, None],
        work: Work,
        window: Callable[[], int],
        most_open: int,
        ordered: bool,
        observe: Observer,
        gauge: Gauge,
    ) -> None:
        self._gauge = gauge
        self._rows = rows
        self._work = work
        self._window = window
        self._most_open = most_open
        self._observe = observe
        self._held: dict[int, tuple[Outcome, ...]] | None = {} if ordered else None
        self._next_held = 0
        self._begun = 0
        self._open = 0
        """Rows begun whose outcomes are not yet taken."""
        self._ready: deque[tuple[Outcome, ...]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._turn = UnfairLock()
        self._puller: asyncio.Task[None] | None = None
        self._ended = False
        """Whether no further row is to be begun."""
        self._error: BaseException | None = None
        self._broken = False
        """Whether the error is a bug in the work, after which nothing is waited for."""
        self._waiting: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def outcomes(self, stop: Stop) -> AsyncGenerator[Outcome, None]:
        stop.listen(lambda: self._stop(cancel=stop.cancelling))
        self._hire()
        try:
            while self._workers or self._ready:
                while self._ready:
                    for outcome in self._ready.popleft():
                        yield outcome
                    self._open -= 1
                    self._make_room()
                if self._broken:
                    break
                if self._workers:
                    await self._woken()
        finally:
            await self._drop_all()
        if self._error is not None:
            raise self._error

    def _hire(self) -> None:
        worker = asyncio.create_task(self._worker())
        self._workers.add(worker)
        worker.add_done_callback(self._left)

    async def _worker(self) -> None:
        while (row := await self._next()) is not None:
            if not self._turn.waiting and len(self._workers) < self._window():
                self._hire()
            place = self._begun
            self._begun += 1
            self._open += 1
            self._observe(Started(row.index))
            outcomes: tuple[Outcome, ...] = ()
            try:
                if isinstance(row, BadRow):
                    outcomes = (unreadable(row),)
                else:
                    outcomes = await self._work(row)
            except RunStopped as stopped:
                self._fail(stopped)
            finally:
                self._finish(place, row.index, outcomes)

    async def _next(self) -> Row | None:
        """The next row, when it may begin; None when there is none."""
        await self._turn.take()
        self._puller = asyncio.current_task()
        try:
            while not self._ended and self._open >= self._most_open:
                self._gauge.waiting = "output"
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            self._gauge.waiting = "input"
            return None if self._ended else await anext(self._rows)
        except StopAsyncIteration:
            self._ended = True
        except (OSError, LlmbatchError) as error:
            self._fail(error)
        finally:
            self._gauge.waiting = None
            self._puller = None
            self._turn.give_back()
        return None

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._broken = True
            self._fail(error)
        self._wake()

    def _finish(self, place: int, index: int, outcomes: tuple[Outcome, ...]) -> None:
        if not outcomes:
            self._observe(Dropped(index))
        for outcome in outcomes:
            self._observe(Finished(outcome))
        if self._held is None:
            self._ready.append(outcomes)
        else:
            self._held[place] = outcomes
            while self._next_held in self._held:
                self._ready.append(self._held.pop(self._next_held))
                self._next_held += 1
        self._wake()

    def _fail(self, error: BaseException) -> None:
        if self._error is None or not isinstance(error, RunStopped):
            self._error = error
        self._stop(cancel=False)

    def _stop(self, *, cancel: bool) -> None:
        self._ended = True
        if self._puller is not None and self._puller is not asyncio.current_task():
            self._puller.cancel()
        if cancel:
            for worker in self._workers:
                worker.cancel()
        self._wake()

    async def _drop_all(self) -> None:
        self._stop(cancel=True)
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._rows.aclose()

    async def _woken(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done() and self._open < self._most_open:
            self._room.set_result(None)


def unreadable(row: BadRow) -> Outcome:
    """The outcome of a row that could not be read."""
    return Outcome(
        index=row.index,
        id=row.id,
        model=None,
        provider=None,
        error=Failure("invalid_row", f"{row.place}: {row.reason}"),
        metadata=row.metadata,
        key=row.key,
    )
