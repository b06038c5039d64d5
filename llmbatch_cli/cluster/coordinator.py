"""Who answers which shard, how much of the account is whose, and when the run is over. No I/O."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.cluster.messages import Lease, Orders, Report, StopKind, Why
from llmbatch_cli.cluster.purse import Purse
from llmbatch_cli.cluster.shares import LEASE_S, UNITS, Shares
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.budget import in_usd
from llmbatch_cli.engine.failure_limit import MIN_ROWS, FailureLimit

MOST_LOSSES: Final = 5
"""A shard that so many workers in turn have been lost with ends the run."""
MOST_NOTICES: Final = 200

Tally = Mapping[str, Any]
Held = tuple[int, int]
"""A shard and an epoch."""


@frozen
class Ground:
    """What lies on the storage when a coordinator begins."""

    rows: Sequence[int]
    """Of each shard."""
    done: Mapping[int, int] = field(default_factory=dict)
    """Whole shards, and their epoch."""
    epochs: Mapping[int, int] = field(default_factory=dict)
    """The highest epoch of each shard that has one."""
    base: Mapping[int, int] = field(default_factory=dict)
    """The first epoch of this run for each shard that has earlier ones."""
    tallies: Mapping[int, Tally] = field(default_factory=dict)
    """The figures of shards that are whole, by their epoch: those of this run."""
    is_fresh: bool = True
    """Whether no worker of before can be at work still."""
    failed: int = 0
    """Rows without an answer in the shards that an earlier run has finished."""


@frozen
class Rules:
    """What holds for a run."""

    workers: int
    lease_s: float = LEASE_S
    max_errors: FailureLimit = field(default_factory=FailureLimit)
    units: int = UNITS
    """What the account is shared out in, see shares.py."""


@dataclass(slots=True)
class Worker:
    """One worker, as it was last heard."""

    name: str
    seen: float
    report: Report
    leases: dict[int, int] = field(default_factory=dict)
    """Its shards, and their epochs."""
    is_slow: bool = False
    """Whether it was not heard for a lease, so that its shards went to others."""

    @property
    def held_by(self) -> str | None:
        """What limits it; without a shard it waits for one, which is nothing to show."""
        return self.report.held_by if self.leases else None


@frozen
class Status:
    """How a run stands."""

    tally: Tally
    """The figures of all shards together."""
    rows: int
    """Of the whole input."""
    rows_before: int
    """In shards that an earlier run has finished."""
    failed_before: int
    """Those of them without an answer."""
    shards: int
    shards_done: int
    workers: Sequence[Mapping[str, Any]]
    notices: Sequence[str] = ()
    """All so far, in the order in which they came."""
    why: Why | None = None
    is_over: bool = False
    in_flight: int = 0
    held_by: str | None = None
    cooling_s: float = 0.0
    stopping: StopKind | None = None


class Coordinator:
    """Leases shards to workers that report to it, and hears how far they are.

    All it knows beyond the ground comes with the reports, so that one that is started anew goes
    on. Call `tick` once a second at least.
    """

    def __init__(
        self,
        ground: Ground,
        rules: Rules,
        merge: Callable[[Sequence[Tally]], Tally],
        purse: Purse | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            ground: what is done, and under which epochs shards were begun.
            rules: of the run.
            merge: makes the figures of several shards into one.
            purse: what all may spend; None is no limit.
            clock: seconds.
        """
        self.why: Why | None = None
        """What ends the run early."""
        self.stopping: StopKind | None = None
        self._ground, self._rules, self._merge = ground, rules, merge
        self._purse = purse
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        self._shares = Shares(
            clock, lease_s=rules.lease_s, units=rules.units, is_fresh=ground.is_fresh
        )
        self._epochs = dict(ground.epochs)
        self._done = dict(ground.done)
        self._owner: dict[int, str] = {}
        self._waiting = deque(n for n in range(len(ground.rows)) if n not in ground.done)
        self._losses: Counter[int] = Counter()
        """Of each shard, the workers in turn that were lost with it and had got no further."""
        self._rows_at_loss: dict[int, int] = {}
        self._live: dict[int, tuple[int, Tally]] = {}
        """Of shards that are not whole, the newest epoch's figures."""
        self._settled = merge([*ground.tallies.values()])
        """Those of the shards of this run that are whole."""
        self._notices: list[str] = []
        self._leasing_from = clock() + (0.0 if ground.is_fresh else rules.lease_s)

    # Workers

    def beat(self, report: Report) -> Orders:
        """What a worker says, and is told."""
        now = self._clock()
        worker = self._workers.get(report.worker)
        if worker is None:
            worker = self._workers[report.worker] = Worker(report.worker, now, report)
        elif report.number <= worker.report.number:
            return Orders(lost=report.held)  # it came late, and nobody waits for the answer
        worker.seen, worker.report = now, report
        worker.is_slow = False
        self._hear(worker, report)
        lost = [held for held in report.held if not self._holds(worker, held)]
        self._release(worker, report)
        self.tick()
        granted = [held for held in report.committing if self._holds(worker, held)]
        leases = self._lease(worker, report.wants)
        money, money_left = self._money(report)
        return Orders(
            leases=leases,
            granted=granted,
            lost=lost,
            told=self._shares.beat(report.worker, report.using, report.said),
            money=money,
            money_left=money_left,
            stop=self.stopping,
            is_over=self.is_over,
        )

    def tick(self) -> None:
        """Take the shards of workers that are not heard any more."""
        now = self._clock()
        for worker in self._workers.values():
            if not worker.is_slow and now - worker.seen > self._rules.lease_s:
                worker.is_slow = True
                self.notice(f"worker {worker.name} was not heard for {self._rules.lease_s:g} s")
                self._lose(worker)
        self._see_what_is_left()

    def _see_what_is_left(self) -> None:
        """End the run where nothing is left but shards whose workers have done what they could."""
        left = {
            held
            for worker in self._workers.values()
            if not worker.is_slow
            for held in worker.report.left
            if self._holds(worker, held)
        }
        if left and self.stopping is None and len(self._done) + len(left) >= len(self._ground.rows):
            self.stop("drain")

    def _lose(self, worker: Worker) -> None:
        if self._purse is not None:
            self._purse.lose(worker.name)
        for number in list(worker.leases):
            rows = self._live[number][1]["rows"] if number in self._live else 0
            got_on = rows > self._rows_at_loss.get(number, 0)
            self._losses[number] = 1 if got_on else self._losses[number] + 1
            self._rows_at_loss[number] = rows
            if self._losses[number] >= MOST_LOSSES:
                self.stop("drain", _too_many_losses(number))
            self._give_back(worker, number)

    @property
    def living(self) -> Sequence[str]:
        """Workers that are heard."""
        return [worker.name for worker in self._workers.values() if not worker.is_slow]

    def has_heard(self, name: str) -> bool:
        """Whether the worker has ever spoken."""
        return name in self._workers

    # Shards

    @property
    def is_over(self) -> bool:
        """Whether no shard is left, or the run ends early and nobody is at work any more."""
        if len(self._done) == len(self._ground.rows):
            return True
        return self.stopping is not None and not any(
            worker.leases or not worker.report.is_idle
            for worker in self._workers.values()
            if not worker.is_slow
        )

    def _hear(self, worker: Worker, report: Report) -> None:
        for held in (*report.held, *report.committing):
            self._adopt(worker, *held)
        for (number, epoch), tally in report.tallies.items():
            if number not in self._done and epoch >= self._live.get(number, (0, {}))[0]:
                self._live[number] = (epoch, tally)
        for held in report.published:
            self._publish(worker, held, report.tallies.get(held))
        for number, epoch in report.taken:
            self._epochs[number] = max(epoch, self._epochs.get(number, 0))
            if self._holds(worker, (number, epoch)):
                self._give_back(worker, number)
        for notice in report.notices:
            self.notice(notice)
        if report.stopped is not None and self.why is None:
            self.stop("drain", report.stopped)
        self._judge()

    def _publish(self, worker: Worker, held: Held, tally: Tally | None) -> None:
        """The shard is whole, though another worker may have it now: then it hears so."""
        number, epoch = held
        self._give_back(worker, number, again=False)
        if number in self._done:
            return
        self._done[number] = epoch
        if (name := self._owner.pop(number, None)) is not None:
            self._workers[name].leases.pop(number, None)
        live = self._live.pop(number, None)
        if tally is None and live is not None:
            tally = live[1]
        if tally is not None:
            self._settled = self._merge([self._settled, tally])

    def _adopt(self, worker: Worker, number: int, epoch: int) -> None:
        """Believe a worker whose lease a coordinator before this one has given."""
        is_ours = number in self._owner or number in self._done
        if is_ours or epoch < self._epochs.get(number, 0):
            return
        self._epochs[number] = epoch
        self._owner[number] = worker.name
        worker.leases[number] = epoch
        if number in self._waiting:
            self._waiting.remove(number)

    def _holds(self, worker: Worker, held: Held) -> bool:
        return worker.leases.get(held[0]) == held[1]

    def _release(self, worker: Worker, report: Report) -> None:
        """What it does not speak of, it has given up or has never heard of."""
        spoken = {number for number, _ in (*report.held, *report.committing)}
        for number in worker.leases.keys() - spoken:
            self._give_back(worker, number)

    def _give_back(self, worker: Worker, number: int, *, again: bool = True) -> None:
        worker.leases.pop(number, None)
        if self._owner.get(number) == worker.name:
            del self._owner[number]
        if again and number not in self._done and number not in self._owner:
            self._waiting.append(number)

    def _lease(self, worker: Worker, wanted: int) -> list[Lease]:
        leases: list[Lease] = []
        if self.stopping is not None or self._clock() < self._leasing_from:
            return leases
        while self._waiting and len(leases) < wanted:
            number = self._waiting.popleft()
            if number in self._done or number in self._owner:
                continue
            epoch = self._epochs[number] = self._epochs.get(number, 0) + 1
            self._owner[number] = worker.name
            worker.leases[number] = epoch
            leases.append(Lease(number, epoch, self._ground.base.get(number, 1)))
        return leases

    # The whole run

    def stop(self, kind: StopKind, why: Why | None = None) -> None:
        """End the run early: let what is in flight end, or drop it."""
        if why is not None and why.kind == "budget" and self._purse is not None:
            spent, cap = in_usd(self._purse.spent), in_usd(self._purse.cap)
            why = Why("budget", f"--max-cost {cap}: {spent} spent by all workers", why.hint)
        self.why = self.why or why
        if self.stopping != "cancel":
            self.stopping = kind

    def status(self, notices_from: int = 0) -> Status:
        """How the run stands; of the notices those from that number on."""
        living = [worker for worker in self._workers.values() if not worker.is_slow]
        ground = self._ground
        before = sum(ground.rows[number] for number in ground.done if number not in ground.tallies)
        holders = Counter(filter(None, (one.held_by for one in living)))
        return Status(
            tally=self._merge([self._settled, *(tally for _, tally in self._live.values())]),
            rows=sum(ground.rows),
            rows_before=before,
            failed_before=ground.failed,
            shards=len(ground.rows),
            shards_done=len(self._done),
            workers=[self._seen(worker) for worker in self._workers.values()],
            notices=self._notices[notices_from:],
            why=self.why,
            is_over=self.is_over,
            in_flight=sum(worker.report.in_flight for worker in living),
            held_by=holders.most_common(1)[0][0] if holders else None,
            cooling_s=self._cooling_s(),
            stopping=self.stopping,
        )

    def _seen(self, worker: Worker) -> Mapping[str, Any]:
        return {
            "worker": worker.name,
            "heard_s": round(self._clock() - worker.seen, 1),
            "shards": len(worker.leases),
            "in_flight": worker.report.in_flight,
            "held_by": worker.held_by,
            "lost": worker.is_slow,
        }

    def _cooling_s(self) -> float:
        """For how long providers ask to wait, at most."""
        now = self._clock()
        waits_s = (
            seen.wait_s - (now - worker.seen)
            for worker in self._workers.values()
            for seen in worker.report.said.values()
        )
        return max([0.0, *waits_s])

    def _money(self, report: Report) -> tuple[int | None, int | None]:
        purse, said = self._purse, report.money
        if purse is None or said is None:
            return None, None
        given = purse.beat(report.worker, said)
        is_blind = self._clock() < self._leasing_from  # what others have not spent is not known
        return given, None if is_blind else purse.left

    def _judge(self) -> None:
        """Stop where too many rows have failed."""
        limit = self._rules.max_errors
        if self.why is not None or (limit.rows is None and limit.share is None):
            return
        tallies = [self._settled, *(tally for _, tally in self._live.values())]
        rows = sum(int(tally["rows"]) for tally in tallies)
        failed = sum(sum(tally["failed"].values()) for tally in tallies)
        if limit.rows is not None and failed >= limit.rows:
            reason = f"{failed:,} rows failed (--max-errors {limit.rows})"
        elif limit.share is not None and rows >= MIN_ROWS and failed > limit.share * rows:
            share = f"{limit.share * 100:g}%"
            reason = f"{failed:,} of {rows:,} rows failed (--max-errors {share})"
        else:
            return
        said = "; ".join(
            f"{kind}: {message}" for tally in tallies for kind, message in tally["said"].items()
        )
        self.stop("drain", Why("stopped", f"{reason}; {said[:500]}", "mend it, then go on"))

    def notice(self, message: str) -> None:
        """Have people read this, once."""
        if message not in self._notices and len(self._notices) < MOST_NOTICES:
            self._notices.append(message)


def _too_many_losses(number: int) -> Why:
    return Why(
        "stopped",
        f"{MOST_LOSSES} workers were lost while they worked at shard {number}",
        "look at its rows, and at the memory of the machines; the rest goes on with the same "
        "command",
    )
