"""Many rows at once: pulls rows while there is room, yields outcomes as they come or in order."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Literal

from llmbatch_cli.core.errors import RunStopped
from llmbatch_cli.core.events import Dropped, Finished, Observer, Started
from llmbatch_cli.core.types import BadRow, Failure, Outcome, Row, Work
from llmbatch_cli.engine.calls import failed_row
from llmbatch_cli.engine.unfair_lock import UnfairLock
from llmbatch_cli.engine.waits import Postponed


class Stop:
    """Ends a run early, from a signal handler or another task."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self.draining = False
        """No new row is started; those in flight may finish."""
        self.cancelling = False
        """Those in flight are cancelled as well."""
        self.reason: RunStopped | None = None
        """Why, where the run is to end with an error."""

    def drain(self, reason: RunStopped | None = None) -> None:
        """Start no new row."""
        self.draining, self.reason = True, self.reason or reason
        self._notify()

    def cancel(self) -> None:
        """Cancel the rows in flight, too."""
        self.draining = self.cancelling = True
        self._notify()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener at each change, and now if there has been one."""
        self._listeners.append(listener)
        if self.draining:
            listener()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


class Gauge:
    """What a run waits for, besides its requests."""

    def __init__(self) -> None:
        self.waiting: Callable[[], Literal["input", "output"] | None] = lambda: None


def run(
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

    No more rows are in flight than `window()` at its highest so far, and a row is pulled only
    when it can start; where the window has shrunk since, rows wait for their rate limits. Memory
    holds at most `most_open` rows: those in flight, those not yet taken, and, when `ordered`,
    those that wait for a slower one before them.

    A RunStopped from `work` drains the run, and is raised at the end, as is an error of `rows`,
    the reason of a Postponed and that of `stop`; a row that was cancelled or postponed yields
    nothing, and a Postponed that `ends` drains the run, too. Any other error of `work` cancels all
    at once, and so does closing the generator.
    """
    return _Run(rows, work, window, most_open, ordered, observe, gauge or Gauge()).outcomes(stop)


class _Run:
    """Workers that take turns at pulling a row and do its work.

    Tasks cost more than locking, so workers are reused; a new one is started only when no other
    waits to pull.
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
        self._rows = rows
        self._work = work
        self._window = window
        self._most_open = most_open
        self._observe = observe
        gauge.waiting = self._waiting
        self._held: dict[int, tuple[Outcome, ...]] | None = {} if ordered else None
        """Outcomes that wait for those of a row before them, by the row's number."""
        self._next_held = 0
        self._started = 0
        self._open = 0
        """Rows started whose outcomes are not yet taken."""
        self._ready: deque[tuple[Outcome, ...]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._pulling = UnfairLock()
        self._puller: asyncio.Task[None] | None = None
        self._ended = False
        """Whether no further row is to be started."""
        self._error: BaseException | None = None
        self._postponed: RunStopped | None = None
        self._drain: Callable[[], None] = lambda: None
        self._broken = False
        """Whether the error is a bug in the work, after which nothing is waited for."""
        self._outcome_waiter: asyncio.Future[None] | None = None
        self._room_waiter: asyncio.Future[None] | None = None

    async def outcomes(self, stop: Stop) -> AsyncGenerator[Outcome, None]:
        stop.listen(lambda: self._stop(cancel=stop.cancelling))
        self._drain = stop.drain
        loop = asyncio.get_running_loop()
        self._start_worker()
        try:
            while self._workers or self._ready:
                while self._ready:
                    for outcome in self._ready.popleft():
                        yield outcome
                    self._open -= 1
                    if self._room_waiter is not None and self._open < self._most_open:
                        _set(self._room_waiter)
                if self._broken:
                    break
                if self._workers:
                    self._outcome_waiter = loop.create_future()
                    await self._outcome_waiter
        finally:
            await self._cancel_all()
        if (error := self._error or self._postponed or stop.reason) is not None:
            raise error

    def _start_worker(self) -> None:
        worker = asyncio.create_task(self._worker())
        self._workers.add(worker)
        worker.add_done_callback(self._left)

    async def _worker(self) -> None:
        task = asyncio.current_task()
        while (row := await self._next(task)) is not None:
            if not self._pulling.waiting and len(self._workers) < self._window():
                self._start_worker()
            place = self._started
            self._started += 1
            self._open += 1
            self._observe(Started(row.index))
            outcomes: tuple[Outcome, ...] = ()
            try:
                if isinstance(row, BadRow):
                    outcomes = (_unreadable(row),)
                else:
                    outcomes = await self._work(row)
            except RunStopped as stopped:
                self._fail(stopped)
                self._drain()
            except Postponed as postponed:
                self._postponed = self._postponed or postponed.reason
                if postponed.ends:
                    self._drain()
            finally:
                self._finish(place, row.index, outcomes)

    async def _next(self, puller: "asyncio.Task[None] | None") -> Row | None:
        """The next row, when it may start; None when there is none."""
        if not self._pulling.try_take():
            await self._pulling.take()
        self._puller = puller
        try:
            while self._open >= self._most_open and not self._ended:
                self._room_waiter = asyncio.get_running_loop().create_future()
                await self._room_waiter
                self._room_waiter = None
            return None if self._ended else await anext(self._rows)
        except StopAsyncIteration:
            self._ended = True
        except Exception as error:  # noqa: BLE001 - raised at the end, after what is in flight
            self._fail(error)
        finally:
            self._puller = None
            self._pulling.give_back()
        return None

    def _waiting(self) -> Literal["input", "output"] | None:
        if self._puller is None:
            return None
        return "input" if self._room_waiter is None else "output"

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._broken = True
            self._fail(error)
        _set(self._outcome_waiter)

    def _finish(self, place: int, index: int, outcomes: tuple[Outcome, ...]) -> None:
        if not outcomes:
            self._observe(Dropped(index))
        for outcome in outcomes:
            outcome.finished_at = time.time()
            self._observe(Finished(outcome))
        if self._held is None:
            self._ready.append(outcomes)
        else:
            self._held[place] = outcomes
            while self._next_held in self._held:
                self._ready.append(self._held.pop(self._next_held))
                self._next_held += 1
        _set(self._outcome_waiter)

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
        _set(self._outcome_waiter)

    async def _cancel_all(self) -> None:
        self._stop(cancel=True)
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._rows.aclose()


def _set(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _unreadable(row: BadRow) -> Outcome:
    return failed_row(row, Failure("invalid_row", f"{row.place}: {row.reason}"))
