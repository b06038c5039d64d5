"""One worker: a single run over all the shards that it is given, one after the other."""

import asyncio
import time
from bisect import bisect_right, insort
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.cluster.messages import Lease, Orders, Report, Why
from llmbatch_cli.cluster.parts import Earlier, Part
from llmbatch_cli.cluster.recount import outcome_of
from llmbatch_cli.cluster.shards import Shard
from llmbatch_cli.cluster.shares import LEASE_S, Tenure
from llmbatch_cli.cluster.tallies import tally_of
from llmbatch_cli.core.errors import BudgetReached, OutputError, RunStopped, UsageError
from llmbatch_cli.core.events import (
    Dropped,
    Event,
    Finished,
    Gauges,
    LeftUndone,
    Notice,
    Opened,
    Skipped,
    Started,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.drivers import Driver
from llmbatch_cli.drivers.delivery import Render
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.ui.totals import Totals

BEAT_S: Final = 0.5
FLUSH_S: Final = 0.1
ROOM_BYTES: Final = 4 * 2**20
"""With more than this unwritten, the run waits."""
YIELD_EVERY: Final = 256
_LATENCIES: Final = 500
"""Of a shard, kept exactly."""

Beat = Callable[[Report], Awaitable[Orders]]
"""Speak to the coordinator. Raises ConnectionError where it cannot be reached now."""


@frozen
class Means:
    """What a worker works with."""

    open_part: Callable[[Lease], Part]
    """Blocks nothing yet."""
    begin: Callable[[Part], Earlier | None]
    """Blocks."""
    shard: Callable[[int], Shard]
    rows: Callable[[Shard, Callable[[Event], None]], AsyncGenerator[Row, None]]
    """The rows of a shard, with their keys."""
    render: Render
    forget: Callable[[int], None] = lambda index: None
    """Is called with a row that is not sent."""
    publish: Callable[[Part, Mapping[str, Any]], None] = Part.publish
    """Blocks."""
    sync_s: float = 1.0
    """What is lost with a machine, at most: the rows of so much time."""


@dataclass(slots=True, eq=False)
class Active:
    """A shard that is being answered."""

    shard: Shard
    part: Part
    totals: Totals
    open: int = 0
    """Rows that are pulled and not yet written."""
    is_read: bool = False
    """Whether all its rows are pulled."""
    is_lost: bool = False
    """Whether another worker has it."""
    has_changed: bool = True
    is_dropped: bool = False
    """Whether a row of it was left without an outcome."""
    failed: int = 0
    """Rows in its parts without an answer."""
    retryable: int = 0
    """Those of them that might succeed."""

    def count(self, outcome: Outcome) -> None:
        """Another row has ended."""
        if outcome.error is not None and outcome.part[0] == 1:
            self.failed += 1
            self.retryable += outcome.error.retryable

    @property
    def held(self) -> tuple[int, int]:
        """The shard and the epoch."""
        return self.part.lease.shard, self.part.lease.epoch


@dataclass(slots=True)
class _Wishes:
    """What the next report says once."""

    committing: dict[tuple[int, int], Active] = field(default_factory=dict)
    published: list[tuple[int, int]] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class ClusterWorker:
    """Leases in, parts out. Used by one event loop."""

    def __init__(
        self, name: str, beat: Beat, means: Means, stop: Stop, *, lease_s: float = LEASE_S
    ) -> None:
        self.stop = stop
        self.is_over = False
        """Whether nothing more is to be done, or nobody may be listened to any more."""
        self.on_orders: Callable[[Orders], None] = lambda orders: None
        """Is called with all that is heard, for shares, money and cool-downs."""
        self.more: Callable[[], Mapping[str, Any]] = dict
        """What of the report others know: said, money."""
        self._name, self._beat, self._means = name, beat, means
        self._tenure = Tenure(lease_s=lease_s)
        self.check = self._tenure.check
        """Raises Fenced where the lease may have ended, so that nothing is sent after it."""
        self._gauges = Gauges()
        self._leases: asyncio.Queue[Active | None] = asyncio.Queue()
        self._beginning = 0
        self._active: dict[tuple[int, int], Active] = {}
        self._begins: list[int] = []
        """The first indexes of the shards at work, sorted."""
        self._by_begin: dict[int, Active] = {}
        self._wishes = _Wishes()
        self._beating = asyncio.Lock()
        self._why: Why | None = None
        self._flushing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_ended = False
        self._failed: BaseException | None = None

    # The run

    async def run(self, driver: Driver) -> None:
        """Answer what is leased until the coordinator says that all is over."""
        self.stop.listen(self._stopped)
        beats = asyncio.ensure_future(self._beat_on())
        flushes = asyncio.ensure_future(self._flush_on())
        try:
            try:
                await self._answer(driver)
            except (RunStopped, UsageError, OutputError) as error:
                self._why = _why(error)
            self._has_ended = True
            await self._end()
        finally:
            for task in (beats, flushes, *self._tasks):
                task.cancel()
            await asyncio.gather(beats, flushes, *self._tasks, return_exceptions=True)
            for active in self._active.values():
                active.part.close()

    async def _answer(self, driver: Driver) -> None:
        async with aclosing(driver(self._rows(), self.stop)) as outcomes:
            async for outcome in outcomes:
                self._take(outcome)
                if self._failed is not None:
                    raise OutputError(f"cannot write: {self._failed}") from self._failed
                while self._unwritten() > ROOM_BYTES:
                    await self._flush(sync=False)

    async def _rows(self) -> AsyncGenerator[Row, None]:
        """The rows of all leases that no earlier epoch has finished."""
        while (active := await self._leases.get()) is not None:
            if self._leases.empty():
                self._start(self.beat())  # for the next one
            pulled = 0
            async with aclosing(self._means.rows(active.shard, self.observe)) as rows:
                async for row in rows:
                    if active.is_lost or self.stop.draining:
                        active.is_dropped = True
                        break
                    if active.part.has(row):
                        self._means.forget(row.index)
                        pulled += 1
                        if pulled % YIELD_EVERY == 0:
                            await asyncio.sleep(0)
                        continue
                    active.open += 1
                    yield row
            active.is_read = True
            self._look_at(active)

    def _take(self, outcome: Outcome) -> None:
        active = self._active_of(outcome.index)
        if active is None:
            return
        active.part.write(self._means.render(outcome))
        active.count(outcome)
        if outcome.part[0] == outcome.part[1]:
            active.open -= 1
            self._look_at(active)

    def _look_at(self, active: Active) -> None:
        """Publish the shard, if all its rows are answered."""
        if active.is_read and not (active.open or active.is_dropped or active.is_lost):
            self._start(self._commit(active))

    # Shards

    async def _begin(self, lease: Lease) -> None:
        self._beginning += 1
        try:
            await self._begin_part(lease)
        finally:
            self._beginning -= 1

    async def _begin_part(self, lease: Lease) -> None:
        part = self._means.open_part(lease)
        totals = Totals()
        totals.latencies_s = Quantiles(_LATENCIES)
        active = Active(self._means.shard(lease.shard), part, totals)
        self._active[active.held] = active
        earlier = await asyncio.to_thread(self._means.begin, part)
        if earlier is None:
            del self._active[active.held]
            self._wishes.taken.append(active.held)
            return
        self._recount(active, earlier)
        begin = active.shard.first_index
        insort(self._begins, begin)
        self._by_begin[begin] = active
        self._leases.put_nowait(active)

    def _recount(self, active: Active, earlier: Earlier) -> None:
        """Count what earlier epochs have: this run's as its own, others' as skipped."""
        for group in earlier.of_this_run.values():
            for row in group:
                outcome = outcome_of(row)
                active.totals(Started(outcome.index))
                active.totals(Finished(outcome))
                active.count(outcome)
        active.failed += earlier.failed
        active.retryable += earlier.retryable
        for _ in range(len(earlier.keys) - len(earlier.of_this_run)):
            active.totals(Skipped(0))

    async def _commit(self, active: Active) -> None:
        """Ask to publish the shard, whose rows are all here."""
        async with self._flushing:
            await active.part.flush(sync=True)
        self._wishes.committing[active.held] = active
        await self.beat()

    async def _publish(self, active: Active) -> None:
        record = {
            "tally": tally_of(active.totals),
            "failed": active.failed,
            "retryable": active.retryable,
        }
        await asyncio.to_thread(self._means.publish, active.part, record)
        active.has_changed = True
        self._wishes.published.append(active.held)
        self._forget(active)
        await self.beat()

    def _forget(self, active: Active) -> None:
        """The shard is published, or is another's."""
        begin = active.shard.first_index
        if self._by_begin.get(begin) is active:
            del self._by_begin[begin]
            self._begins.remove(begin)

    def _active_of(self, index: int) -> Active | None:
        place = bisect_right(self._begins, index) - 1
        active = self._by_begin[self._begins[place]] if place >= 0 else None
        return active if active is not None and index < active.shard.end_index else None

    # Figures

    def observe(self, event: Event) -> None:
        """What happens, counted for the shard that it is of."""
        if isinstance(event, Notice):
            self._wishes.notices.append(event.message)
            return
        if isinstance(event, Opened):
            self._gauges = event.gauges
            return
        if isinstance(event, Finished):
            index = event.outcome.index
        elif isinstance(event, Started | LeftUndone | Dropped):
            index = event.index
        else:
            return
        active = self._active_of(index)
        if active is not None:
            active.totals(event)
            active.has_changed = True
            if isinstance(event, Dropped):
                active.is_dropped = True

    # Writing

    async def _flush_on(self) -> None:
        synced_at = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_S)
            is_due = time.monotonic() - synced_at >= self._means.sync_s
            if is_due:
                synced_at = time.monotonic()
            await self._flush(sync=is_due)

    async def _flush(self, *, sync: bool) -> None:
        async with self._flushing:
            for active in list(self._by_begin.values()):
                if active.held in self._wishes.committing:
                    continue
                try:
                    await active.part.flush(sync=sync)
                except OSError as error:
                    self._fail(error)

    def _unwritten(self) -> int:
        return sum(active.part.unwritten_bytes for active in self._by_begin.values())

    def _fail(self, error: BaseException) -> None:
        """Nothing more can be written."""
        self._failed = self._failed or error
        reason = getattr(error, "strerror", None) or error
        self._why = self._why or Why("output", f"cannot write the output: {reason}")
        self.stop.cancel()

    # The coordinator

    async def _beat_on(self) -> None:
        while True:
            await self.beat()
            if self._tenure.has_ended:  # all that it holds is another's
                self.is_over = True
                self.stop.cancel()
                self._leases.put_nowait(None)
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """Report, and follow what is ordered."""
        async with self._beating:
            report = self._report()
            try:
                orders = await self._beat(report)
            except ConnectionError:
                self._say_again(report)
                await asyncio.sleep(BEAT_S)
                return
            if self._tenure.answered(report.number, orders.told.units):
                self.on_orders(orders)
            for held in report.published:
                self._active.pop(held, None)
            self._follow(orders)

    def _report(self) -> Report:
        number = self._tenure.begin()
        wishes = self._wishes
        published = tuple(wishes.published)
        changed = [one for one in self._active.values() if one.has_changed]
        for active in changed:
            active.has_changed = False
        held = [held for held in self._active if held not in published]
        wants = 0
        if self._leases.empty() and not (self._beginning or self.stop.draining):
            wants = 1
        report = Report(
            worker=self._name,
            number=number,
            using=self._tenure.using,
            held=held,
            wants=wants,
            committing=tuple(wishes.committing),
            published=published,
            taken=tuple(wishes.taken),
            tallies={one.held: tally_of(one.totals) for one in changed},
            notices=tuple(wishes.notices),
            stopped=self._why,
            is_idle=self._has_ended or not self._active,
            in_flight=self._gauges.in_flight() or 0,
            held_by=self._gauges.held_by(),
            **self.more(),
        )
        wishes.published, wishes.taken, wishes.notices = [], [], []
        return report

    def _say_again(self, report: Report) -> None:
        """It was not heard."""
        self._wishes.published[:0] = report.published
        self._wishes.taken[:0] = report.taken
        self._wishes.notices[:0] = report.notices
        for held in report.tallies:
            if held in self._active:
                self._active[held].has_changed = True

    def _follow(self, orders: Orders) -> None:
        for held in orders.lost:
            if (active := self._active.pop(held, None)) is not None:
                active.is_lost = True
                self._wishes.committing.pop(held, None)
                self._forget(active)
                active.part.close()
        for held in orders.granted:
            if (active := self._wishes.committing.pop(held, None)) is not None:
                self._start(self._publish(active))
        for lease in orders.leases:
            self._start(self._begin(lease))
        if orders.stop == "cancel" and not self.stop.cancelling:
            self.stop.cancel()
        elif orders.stop == "drain" and not self.stop.draining:
            self.stop.drain()
        if orders.is_over or orders.stop is not None:
            self.is_over = self.is_over or orders.is_over
            self._leases.put_nowait(None)

    async def _end(self) -> None:
        """Write what is there, give back what is not whole, and hear that it is over."""
        with suppress(OSError):
            await self._flush(sync=True)
        while (self._tasks or self._wishes.committing) and not self.is_over:
            await asyncio.sleep(FLUSH_S)  # the next heartbeat settles it
        for held, active in list(self._active.items()):
            if held not in self._wishes.published:
                del self._active[held]
            active.part.close()
            self._forget(active)
        while not self.is_over:
            await self.beat()
            if not self.is_over:
                await asyncio.sleep(BEAT_S)

    def _stopped(self) -> None:
        """The run is to end; if an error is why, the others should hear of it at once."""
        if self.stop.reason is not None and self._why is None:
            self._why = _why(self.stop.reason)
            self._start(self.beat())

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)


def _why(error: Exception) -> Why:
    message = getattr(error, "message", str(error))
    hint = getattr(error, "hint", None)
    if isinstance(error, BudgetReached):
        return Why("budget", message, hint)
    if isinstance(error, UsageError):
        return Why("usage", message, hint)
    return Why("output" if isinstance(error, OutputError) else "stopped", message, hint)
