"""A run on a cluster, as the command sees it: its plan, its workers, its end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Protocol

from llmbatch_cli.cluster.coordinator import Status
from llmbatch_cli.cluster.cutting import cut_file
from llmbatch_cli.cluster.fingerprint import fingerprint
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.joining import joined
from llmbatch_cli.cluster.layout import PLAN, ROWS, WORK, part_of
from llmbatch_cli.cluster.messages import StopKind
from llmbatch_cli.cluster.plan import ClusterPlan, check_same, digest, load, rows_a_shard, save
from llmbatch_cli.cluster.tallies import show
from llmbatch_cli.core.errors import (
    BudgetReached,
    LlmbatchError,
    OutputError,
    RunStopped,
    UsageError,
)
from llmbatch_cli.core.events import Gauges, Notice, Observer, Opened
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import TABLES, OutputOptions
from llmbatch_cli.job import Job
from llmbatch_cli.rows.input.inputs import can_be_read_twice, shown_name
from llmbatch_cli.ui.totals import Totals

POLL_S: Final = 0.5
FINE_ROWS: Final = 50
"""Files are cut so fine first; shards are made of what lies side by side."""
MOST_UNHEARD_S: Final = 60.0
"""After so long without a coordinator the command gives up; the run may go on."""

_KINDS: Final[Mapping[str, type[LlmbatchError]]] = {
    "stopped": RunStopped,
    "budget": BudgetReached,
    "output": OutputError,
    "usage": UsageError,
}


class Coordinating(Protocol):
    """The coordinator, wherever it is. Its methods raise ConnectionError."""

    async def poll(self, notices_from: int = 0) -> Status:
        """How the run stands."""

    async def stop(self, kind: StopKind) -> None:
        """End the run early."""


class RemoteTotals(Totals):
    """The figures of a run whose rows are elsewhere."""

    @property
    def in_flight(self) -> int:
        """Requests on the wire, of all workers."""
        return self.gauges.in_flight() or 0

    @property
    def waiting(self) -> int:
        """What waits is known to the workers only."""
        return 0


@frozen
class Asked:
    """What of the options has to be the same for all runs in a folder."""

    shown: str
    values: Sequence[object] = field(default=())


def rows_in(output: OutputOptions) -> str:
    """The folder of the whole shards, within the output's."""
    return ROWS if output.format in TABLES else ""


def plan_of(job: Job, asked: Asked, folder: Folder, workers: int, observe: Observer) -> ClusterPlan:
    """The folder's plan: the one that is there, or a new one. Blocks while it reads the inputs.

    Raises UsageError where the folder was begun with something else, or is somebody else's.
    """
    names = [str(name) for name in job.inputs.inputs]
    for name in names:
        if not can_be_read_twice(name):
            raise UsageError(
                f"--engine ray cannot read {shown_name(name)}: it can be read only once, and by "
                "one process",
                hint="write it to a file that all machines see",
            )
    prints = {name: fingerprint(name) for name in names}
    output = job.output
    made_with = {"format": output.format or "jsonl", "include_input": output.include_input}
    is_begun = folder.read(PLAN) is not None
    replaces = is_begun and output.overwrite
    if not replaces and (old := load(folder)) is not None:
        shell = ClusterPlan([], prints, digest(asked.values), asked.shown, made_with)
        check_same(old, shell)
        return old
    if not is_begun:
        _refuse_foreign(folder)
    cuts = [
        cut_file(name, job.inputs, FINE_ROWS, is_first=place == 0)
        for place, name in enumerate(names)
    ]
    rows = sum(piece.rows for cut in cuts for piece in cut.pieces)
    shards = joined(cuts, job.inputs, rows_a_shard(rows, workers), observe)
    plan = ClusterPlan(shards, prints, digest(asked.values), asked.shown, made_with)
    if replaces:
        _discard(folder)
    folder.make(WORK)
    if rows_in(output):
        folder.make(ROWS)
    if not save(plan, folder):
        raise UsageError(
            f"another run has just begun in {folder.address}",
            hint=f"llmbatch cluster status {folder.address} shows it, attach follows it",
        )
    return plan


def _refuse_foreign(folder: Folder) -> None:
    try:
        is_empty = folder.is_empty()
    except NotADirectoryError:
        raise UsageError(
            f"{folder.address} is a file", hint="--engine ray writes a folder of parts"
        ) from None
    if not is_empty:
        raise UsageError(
            f"{folder.address} is not empty, and no run of llmbatch has begun it",
            hint="name a new folder; --overwrite replaces the parts of an earlier run only",
        )


def _discard(folder: Folder) -> None:
    """Delete what an earlier run has left in the folder, and nothing else: the plan last, so that
    whoever is killed meanwhile can do it again."""
    for under in ("", ROWS, f"{WORK}/"):
        found = [f"{under}{name}" for name in folder.names(under)]
        ours = (name for name in found if under or part_of(name) is not None)
        folder.delete(*(name for name in ours if name != PLAN))
    folder.delete(PLAN)


class Following:
    """Follows a run to its end, and shows how it stands."""

    def __init__(self, coordinator: Coordinating, totals: RemoteTotals, observe: Observer) -> None:
        self.status: Status | None = None
        """The last that was heard."""
        self._coordinator, self._totals, self._observe = coordinator, totals, observe
        self._notices = 0
        self._stopping: StopKind | None = None
        self._wake = asyncio.Event()

    def stop(self, kind: StopKind) -> None:
        """Have the run end."""
        self._stopping = kind
        self._wake.set()

    async def to_the_end(self) -> Status:
        """Until it is over. Raises RunStopped where it cannot be heard any more."""
        unheard_s = 0.0
        self._observe(Opened(self._gauges()))
        while True:
            try:
                if (kind := self._stopping) is not None:
                    await self._coordinator.stop(kind)
                    self._stopping = None
                status = await self._coordinator.poll(self._notices)
                unheard_s = 0.0
                self._hear(status)
                if status.is_over:
                    return status
            except ConnectionError as error:
                unheard_s += POLL_S
                if unheard_s > MOST_UNHEARD_S:
                    raise RunStopped(
                        f"the coordinator was not heard for {MOST_UNHEARD_S:g} s",
                        hint="the same command goes on with what is left",
                    ) from error
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            except TimeoutError:
                continue

    def _hear(self, status: Status) -> None:
        self.status = status
        totals = self._totals
        show(totals, status.tally)
        totals.skipped += status.rows_before
        totals.failed_before += status.failed_before
        totals.total = max(0, status.rows - totals.skipped)
        totals.begin()
        for notice in status.notices:
            self._observe(Notice(notice))
        self._notices += len(status.notices)

    def _gauges(self) -> Gauges:
        def of(name: str, default: Any) -> Callable[[], Any]:
            return lambda: default if self.status is None else getattr(self.status, name)

        return Gauges(of("held_by", None), of("in_flight", 0), of("cooling_s", 0.0))


def error_of(status: Status) -> LlmbatchError | None:
    """What ended the run early, as an error: also that somebody has told it to end."""
    if (why := status.why) is not None:
        return _KINDS[why.kind](why.message, hint=why.hint)
    if status.shards_done < status.shards:
        return RunStopped("the run was told to end", hint="as by llmbatch cluster stop")
    return None
