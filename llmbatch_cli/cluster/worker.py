"""One worker: a single run over all the shards that it is given, one after the other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from llmbatch_cli.cluster.active import Active, AtWork, Means, Wishes
from llmbatch_cli.cluster.clock import now
from llmbatch_cli.cluster.messages import Lease, Orders, Report, Why, why_of
from llmbatch_cli.cluster.shares import LEASE_S, Tenure
from llmbatch_cli.cluster.tallies import Tally, tally_of
from llmbatch_cli.core.errors import OutputError, RunStopped, UsageError
from llmbatch_cli.core.events import (
    Dropped,
    Event,
    Finished,
    Gauges,
    LeftUndone,
    Notice,
    Opened,
    Started,
)
from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.drivers import Driver
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.ui.totals import Totals

BEAT_S: Final = 0.7
HURRY_S: Final = 0.1
"""A worker that waits for money asks so often."""
FLUSH_S: Final = 0.1
ROOM_BYTES: Final = 4 * 2**20
"""With more than this unwritten, the run waits."""
UNHEARD_S: Final = 60.0
"""A worker that was never answered gives up after so long."""
YIELD_EVERY: Final = 256
_LATENCIES: Final = 500
"""Of a shard, kept exactly."""

Beat = Callable[[Report], Awaitable[Orders]]
"""Speak to the coordinator. Raises ConnectionError where it cannot be reached now."""


class ClusterWorker:
    """Leases in, parts out. Used by one event loop."""

    def __init__(
        self,
        name: str,
        beat: Beat,
        means: Means,
        stop: Stop,
        *,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = now,
    ) -> None:
        self.stop = stop
        self.is_over = False
        """Whether nothing more is to be done, or nobody may be listened to any more."""
        self.on_orders: Callable[[Orders], None] = lambda orders: None
        """Is called with all that is heard, for shares, money and cool-downs."""
        self.more: Callable[[], Mapping[str, Any]] = dict
        """What of the report others know: said, money."""
        self.is_in_need: Callable[[], bool] = lambda: False
        """Whether a row waits for what the coordinator has."""
        self._name, self._beat, self._means = name, beat, means
        self._clock = clock
        self._unheard_until = clock() + UNHEARD_S
        self._tenure = Tenure(clock, lease_s=lease_s)
        self.check = self._tenure.check
        """Raises Fenced where the lease may have ended, so that nothing is sent after it."""
        self._gauges = Gauges()
        self._leases: asyncio.Queue[Active | None] = asyncio.Queue()
        self._beginning = 0
        self._active: dict[tuple[int, int], Active] = {}
        self._parting: dict[tuple[int, int], Tally] = {}
        """The figures of shards that were given back before they were whole."""
        self._at_work = AtWork()
        self._wishes = Wishes()
        self._beating = asyncio.Lock()
        self._why: Why | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_ended = False
        """Whether its run has."""
        self._has_left = False
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
                self._why = why_of(error)
            self._has_ended = True
            await self._end()
        finally:
            self._has_left = True
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
                while self._at_work.unwritten_bytes > ROOM_BYTES and self._failed is None:
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
                    active.open.add(row.index)
                    yield row
            active.is_read = True
            self._look_at(active)

    def _take(self, outcome: Outcome) -> None:
        active = self._at_work.of(outcome.index)
        if active is None or outcome.index not in active.open:
            return  # of a shard that was lost since
        self._at_work.write(active, self._means.render(outcome))
        active.count(outcome)
        if outcome.part[0] == outcome.part[1]:
            active.open.remove(outcome.index)
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
        if active.is_lost:
            part.close()
            return
        if earlier is None:
            del self._active[active.held]
            self._wishes.taken.append(active.held)
            return
        if earlier.whole is not None:  # by a worker that was lost before it could say so
            active.take(earlier.whole)
            self._start(self._publish(active))
            return
        active.recount(earlier)
        self._at_work.add(active)
        self._leases.put_nowait(active)

    async def _commit(self, active: Active) -> None:
        """Ask to publish the shard, whose rows are all here."""
        await self._at_work.sync(active)
        if active.is_lost:
            return
        self._wishes.committing[active.held] = active
        await self._beat_if_last()

    async def _publish(self, active: Active) -> None:
        record = {
            "tally": tally_of(active.totals),
            "failed": active.failed,
            "retryable": active.retryable,
        }
        said = await asyncio.to_thread(self._means.publish, active.part, record)
        if said["tally"] is not record["tally"]:
            active.take(said)
        active.has_changed = True
        self._wishes.published.append(active.held)
        self._at_work.forget(active)
        await self._beat_if_last()

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
        active = self._at_work.of(index)
        if active is not None:
            active.totals(event)
            active.has_changed = True
            if isinstance(event, Dropped):
                active.is_dropped = True
                active.open.discard(index)

    # Writing

    async def _flush_on(self) -> None:
        synced_at = self._clock()
        while True:
            await asyncio.sleep(FLUSH_S)
            is_due = self._clock() - synced_at >= self._means.sync_s
            if is_due:
                synced_at = self._clock()
            await self._flush(sync=is_due)

    async def _flush(self, *, sync: bool) -> None:
        try:
            await self._at_work.flush(sync=sync)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Nothing more can be written."""
        self._failed = self._failed or error
        reason = getattr(error, "strerror", None) or error
        self._why = self._why or Why("output", f"cannot write the output: {reason}")
        self.stop.cancel()

    # The coordinator

    async def _beat_on(self) -> None:
        while not self._has_left:  # a cancellation may be lost: asyncio.wait_for of Python 3.11
            await self.beat()
            is_alone = self._clock() > self._unheard_until
            if self._tenure.has_ended or is_alone:  # all that it holds is another's
                self.is_over = True
                self.stop.cancel()
                self._leases.put_nowait(None)
            due = self._clock() + BEAT_S
            while self._clock() < due:
                await asyncio.sleep(HURRY_S)
                if self.is_in_need():
                    break

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
            for held in report.published:
                self._active.pop(held, None)
            if self._tenure.answered(report.number, orders.told.units):
                self._unheard_until = float("inf")
                self.on_orders(orders)
                self._follow(orders)
            else:  # it came too late, and what is said of leases holds no more
                self._end_as_told(orders)

    async def _beat_if_last(self) -> None:
        """Where nothing else is to be done, do not wait for the next heartbeat."""
        if not any(one.open or not one.is_read for one in self._active.values()):
            await self.beat()

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
        left = [one.held for one in self._active.values() if one.is_left]
        if self.stop.draining:
            left = []  # rows were dropped as this run ends
        report = Report(
            worker=self._name,
            number=number,
            using=self._tenure.using,
            held=held,
            wants=wants,
            committing=tuple(wishes.committing),
            published=published,
            taken=tuple(wishes.taken),
            left=left,
            tallies={**self._parting, **{one.held: tally_of(one.totals) for one in changed}},
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
                self._at_work.forget(active)
                active.part.drop()
                self._start(self._at_work.close(active))
        for held in orders.granted:
            if (active := self._wishes.committing.pop(held, None)) is not None:
                self._start(self._publish(active))
        for lease in orders.leases:
            self._start(self._begin(lease))
        self._end_as_told(orders)

    def _end_as_told(self, orders: Orders) -> None:
        if orders.stop == "cancel" and not self.stop.cancelling:
            self.stop.cancel()
        elif orders.stop == "drain" and not self.stop.draining:
            self.stop.drain()
        if orders.is_over or orders.stop is not None:
            self.is_over = self.is_over or orders.is_over
            self._leases.put_nowait(None)

    async def _end(self) -> None:
        """Write what is there, give back what is not whole, and hear that it is over."""
        await self._flush(sync=True)
        while not self.is_over:  # the next heartbeat settles what is at work
            if not (self._tasks or self._wishes.committing):
                break
            await asyncio.sleep(FLUSH_S)
        for held, active in list(self._active.items()):
            if held not in self._wishes.published:
                del self._active[held]
                self._parting[held] = tally_of(active.totals)
            active.part.close()
            self._at_work.forget(active)
        while not self.is_over:
            await self.beat()
            if not self.is_over:
                await asyncio.sleep(BEAT_S)

    def _stopped(self) -> None:
        """The run is to end; if an error is why, the others should hear of it at once."""
        if self.stop.reason is not None and self._why is None:
            self._why = why_of(self.stop.reason)
            self._start(self.beat())

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
