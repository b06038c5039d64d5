"""The shards that one worker is at, and where each outcome belongs."""

import asyncio
from bisect import bisect_right, insort
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbatch_cli.cluster.chosen import Earlier
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.recount import outcome_of
from llmbatch_cli.cluster.shards import Shard
from llmbatch_cli.cluster.tallies import add
from llmbatch_cli.core.events import Event, Finished, Skipped, Started
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.drivers.delivery import Render
from llmbatch_cli.ui.totals import Totals


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
    publish: Callable[[Part, Mapping[str, Any]], Mapping[str, Any]] = Part.publish
    """Blocks."""
    sync_s: float = 1.0
    """What is lost with a machine, at most: the rows of so much time."""


@dataclass(slots=True, eq=False)
class Active:
    """A shard that is being answered."""

    shard: Shard
    part: Part
    totals: Totals
    open: set[int] = field(default_factory=set)
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

    def recount(self, earlier: Earlier) -> None:
        """Count what earlier epochs have: this run's as its own, others' as skipped."""
        for index, group in earlier.of_this_run.items():
            self.totals(Started(index))
            for row in group:
                outcome = outcome_of(row)
                self.totals(Finished(outcome))
                self.count(outcome)
        self.totals.failed_before += earlier.failed
        self.failed += earlier.failed
        self.retryable += earlier.retryable
        for _ in range(len(earlier.keys) - len(earlier.of_this_run)):
            self.totals(Skipped(0))

    def take(self, record: Mapping[str, Any]) -> None:
        """Have the figures that others have found."""
        self.totals = Totals()
        add(self.totals, record["tally"])
        self.failed, self.retryable = record["failed"], record["retryable"]

    @property
    def is_left(self) -> bool:
        """Whether it has ended without being whole: rows were postponed."""
        return self.is_read and self.is_dropped and not self.open

    @property
    def held(self) -> tuple[int, int]:
        """The shard and the epoch."""
        return self.part.lease.shard, self.part.lease.epoch


@dataclass(slots=True)
class Wishes:
    """What the next report says once."""

    committing: dict[tuple[int, int], Active] = field(default_factory=dict)
    published: list[tuple[int, int]] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class AtWork:
    """Those whose rows are being answered, and their files. Used by one event loop."""

    def __init__(self) -> None:
        self.writing = asyncio.Lock()
        """Held while a file is written to or closed."""
        self._begins: list[int] = []
        """The first indexes of the shards, sorted."""
        self._by_begin: dict[int, Active] = {}
        self._last: tuple[int, int, Active | None] = 0, 0, None
        """Of the last row: its shard, which most rows after it are of too."""
        self.unwritten_bytes = 0
        """Of all files."""

    def add(self, active: Active) -> None:
        """Its rows may come."""
        insort(self._begins, active.shard.first_index)
        self._by_begin[active.shard.first_index] = active
        self._last = 0, 0, None

    def forget(self, active: Active) -> None:
        """It is published, or is another's."""
        begin = active.shard.first_index
        if self._by_begin.get(begin) is active:
            del self._by_begin[begin]
            self._begins.remove(begin)
            self._last = 0, 0, None

    def of(self, index: int) -> Active | None:
        """The shard of a row."""
        begin, end, active = self._last
        if begin <= index < end:
            return active
        place = bisect_right(self._begins, index) - 1
        if place < 0:
            return None
        active = self._by_begin[self._begins[place]]
        shard = active.shard
        if index >= shard.end_index:
            return None
        self._last = shard.first_index, shard.end_index, active
        return active

    def write(self, active: Active, line: bytes) -> None:
        """Add a line to the shard's file, which `flush` writes."""
        active.part.write(line)
        self.unwritten_bytes += len(line)

    async def flush(self, *, sync: bool) -> None:
        """Write what is waiting for all files. Raises OSError when all were tried."""
        failed: OSError | None = None
        async with self.writing:
            for active in list(self._by_begin.values()):
                if active.is_lost:
                    continue
                try:
                    await active.part.flush(sync=sync)
                except OSError as error:
                    failed = error
            parts = (active.part for active in self._by_begin.values())
            self.unwritten_bytes = sum(part.unwritten_bytes for part in parts)
        if failed is not None:
            raise failed

    async def sync(self, active: Active) -> None:
        """Have all its rows on the disk, unless it is another's now. Raises OSError."""
        async with self.writing:
            if not active.is_lost:
                await active.part.flush(sync=True)

    async def close(self, active: Active) -> None:
        """Close its file."""
        async with self.writing:
            active.part.close()
