"""The coordinator at work: its storage, its clock, and workers in place of those that are lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import uuid4

import orjson

from llmbatch_cli.cluster.coordinator import Coordinator, Rules, Status
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.ground import Presence, begin_run, ground_of
from llmbatch_cli.cluster.layout import MONEY
from llmbatch_cli.cluster.messages import Orders, Report, StopKind, Why
from llmbatch_cli.cluster.plan import load
from llmbatch_cli.cluster.purse import Purse
from llmbatch_cli.cluster.shares import LEASE_S, UNITS
from llmbatch_cli.cluster.tallies import merged
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.engine.failure_limit import FailureLimit

TICK_S: Final = 0.5
ALONE_S: Final = 30.0
"""Without a word from the command that has started it, a run that is not detached drains."""
BEGIN_S: Final = 60.0
"""A worker that was started may take so long until it is heard."""
LATE_S: Final = 20.0
LAST_WORD_S: Final = 10.0
"""A run is over at the latest so long after its last row, whether or not its folder can say so."""
MOST_STILLBORN: Final = 5
"""So many workers in turn that were never heard end the run."""

Spawn = Callable[[str], Awaitable[None]]
"""Start a worker of this name, and wait until it has ended. Raises OSError for one that failed."""


@frozen
class ServiceOptions:
    """How a run is held together. Plain values, and no secrets."""

    folder: Folder
    workers: int
    lease_s: float = LEASE_S
    max_errors: FailureLimit = field(default_factory=FailureLimit)
    max_cost: int | None = None
    """In billionths of a US dollar."""
    detached: bool = False
    rows_in: str = ""
    """The folder of the parts, within the output's."""
    retry_failed: RetryFailed = "retryable"
    """Which rows of earlier runs that have failed are sent again."""
    units: int = UNITS
    """What the account is shared out in."""


@dataclass(slots=True)
class _Started:
    at: float
    task: "asyncio.Task[None]"


class Service:
    """One coordinator, in one event loop."""

    def __init__(
        self, options: ServiceOptions, spawn: Spawn, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options, self._spawn, self._clock = options, spawn, clock
        self._coordinator: Coordinator | None = None
        self._presence = Presence(options.folder)
        self._started: dict[str, _Started] = {}
        self._stillborn = 0
        self._polled_at = clock()
        self._tending: asyncio.Task[None] | None = None
        self._number = 0
        self._unsaved: dict[str, int] | None = None
        """What each worker may spend, where that is not yet written."""
        self._saving = asyncio.Lock()
        self._spawning_from = clock()
        self.can_spawn: Callable[[], bool] = lambda: True
        """Whether workers can be started now."""

    async def open(self, *, again: bool = False) -> None:
        """Begin; `again` for one that takes the place of a coordinator that was lost.

        Raises UsageError where another run is at work in the folder.
        """
        folder, options = self._options.folder, self._options
        if not again:
            await self._presence.refuse_others(options.lease_s)
        await asyncio.to_thread(self._presence.say)
        if not again:
            await asyncio.to_thread(begin_run, folder, options.rows_in)
        plan = await asyncio.to_thread(load, folder)
        if plan is None:
            raise UsageError(f"{folder.address} has no plan")
        ground = await asyncio.to_thread(
            ground_of,
            folder,
            [shard.rows for shard in plan.shards],
            rows_in=options.rows_in,
            retry_failed=options.retry_failed,
            is_fresh=not again,  # after a lease without a word no worker of before sends
        )
        rules = Rules(options.workers, options.lease_s, options.max_errors, options.units)
        purse = await asyncio.to_thread(self._purse)
        self._coordinator = Coordinator(ground, rules, merged, purse, self._clock)
        self._polled_at = self._clock()
        if again:  # the workers of before have to be heard first
            self._spawning_from = self._clock() + options.lease_s / 2
        self._tending = asyncio.ensure_future(self._tend())

    def _purse(self) -> Purse | None:
        options = self._options
        if options.max_cost is None:
            return None
        given = options.folder.json(MONEY) or {}

        def save(amounts: Mapping[str, int]) -> None:
            self._unsaved = dict(amounts)

        return Purse(options.max_cost, options.workers, given=given, save=save)

    async def _save(self) -> None:
        """Make durable what money was given, before a worker hears of it. Raises OSError."""
        async with self._saving:  # what others have been given meanwhile is saved with it
            if (amounts := self._unsaved) is not None:
                folder = self._options.folder
                await asyncio.to_thread(folder.replace, MONEY, orjson.dumps(amounts))
                if self._unsaved is amounts:
                    self._unsaved = None

    # What others call

    async def beat(self, report: Report) -> Orders:
        """What a worker says, and is told."""
        coordinator = self._ready()
        self._stillborn = 0
        orders = coordinator.beat(report)
        await self._save()
        return orders

    def poll(self, notices_from: int = 0) -> Status:
        """How it stands, for the command that has started it or has attached itself."""
        self._polled_at = self._clock()
        status = self._ready().status(notices_from)
        is_said = self._tending is not None and self._tending.done()
        return replace(status, is_over=status.is_over and is_said)

    @property
    def unheard_s(self) -> float | None:
        """How long no command has asked how it stands; None for a run that was left to itself."""
        return None if self._options.detached else self._clock() - self._polled_at

    def stop(self, kind: StopKind) -> None:
        """End the run early."""
        self._ready().stop(kind)

    def _ready(self) -> Coordinator:
        if self._coordinator is None:
            raise RuntimeError("the coordinator is not open")
        return self._coordinator

    # What goes on by itself

    async def _tend(self) -> None:
        said_at = self._clock()
        coordinator = self._ready()
        while not coordinator.is_over:
            coordinator.tick()
            self._see_to_workers(coordinator)
            now = self._clock()
            if now - said_at > self._options.lease_s / 5:
                said_at = now
                await self._say(coordinator)
            if not self._options.detached and now - self._polled_at > ALONE_S:
                coordinator.stop("drain", _ALONE)
            await asyncio.sleep(TICK_S)
        with suppress(OSError):  # it is over all the same
            await asyncio.wait_for(asyncio.to_thread(self._presence.say, ended=True), LAST_WORD_S)

    async def _say(self, coordinator: Coordinator) -> None:
        try:
            if not await asyncio.to_thread(self._presence.say):
                where = self._options.folder.address
                why = Why("stopped", f"another coordinator is at work in {where}")
                coordinator.stop("cancel", why)
        except OSError as error:
            reason = error.strerror or str(error)
            why = Why("output", f"cannot write {self._options.folder.address}: {reason}")
            coordinator.stop("drain", why)

    def _see_to_workers(self, coordinator: Coordinator) -> None:
        """Start workers in place of those that have ended."""
        is_early = self._clock() < self._spawning_from
        if coordinator.stopping is not None or is_early or not self.can_spawn():
            return
        ended = {name for name, started in self._started.items() if started.task.done()}
        living = set(coordinator.living) - ended
        starting = [
            name
            for name, started in self._started.items()
            if not started.task.done() and self._clock() - started.at < BEGIN_S
        ]
        self._say_what_waits(coordinator, [name for name in starting if name not in living])
        for _ in range(self._options.workers - len(living.union(starting))):
            self._number += 1
            name = f"w{self._number}-{uuid4().hex[:6]}"
            task = asyncio.ensure_future(self._spawned(name, coordinator))
            self._started[name] = _Started(self._clock(), task)

    def _say_what_waits(self, coordinator: Coordinator, names: list[str]) -> None:
        """Say that the cluster has no room, where workers do not begin."""
        late = [name for name in names if self._clock() - self._started[name].at > LATE_S]
        if late and not coordinator.living:
            coordinator.notice("no worker has begun yet: the cluster may have no free core")

    async def _spawned(self, name: str, coordinator: Coordinator) -> None:
        error: BaseException | None = None
        try:
            await self._spawn(name)
        except Exception as failed:  # noqa: BLE001 - whatever ended it, another takes its place
            error = failed
        if coordinator.is_over or coordinator.has_heard(name):
            return
        self._stillborn += 1
        if self._stillborn >= MOST_STILLBORN:
            said = f": {error}" if error is not None else ""
            coordinator.stop("drain", Why("stopped", f"no worker could be started{said}"))
        await asyncio.sleep(TICK_S * 2**self._stillborn)

    async def ended(self) -> None:
        """Wait until the run is over."""
        if self._tending is not None:
            await self._tending


_ALONE: Final = Why(
    "stopped",
    f"the command that has started the run was not heard for {ALONE_S:g} s",
    "the same command goes on; --detach leaves a run to itself",
)
