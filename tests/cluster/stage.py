"""Workers and their coordinator on one folder, in virtual time: links that fail, disks that are
slow, and processes that are killed at any file operation."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import orjson
from cluster.steps import Killed, Life, StageFolder, Steps
from support.virtual_time import run_virtually

from llmbatch_cli.cluster import session
from llmbatch_cli.cluster.active import Means
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.layout import WORK, part_of
from llmbatch_cli.cluster.messages import Money, Orders, Report
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.plan import ClusterPlan, save
from llmbatch_cli.cluster.service import Service, ServiceOptions
from llmbatch_cli.cluster.shards import Piece, Shard
from llmbatch_cli.cluster.worker import ClusterWorker
from llmbatch_cli.core.events import Event
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Completion, Failure, Outcome, Prompt, Row
from llmbatch_cli.engine.bounds import Bounds
from llmbatch_cli.engine.budget import Budget, Reservation, WorstCase
from llmbatch_cli.engine.limits.share import Share
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.rows.output.render import render

Result = TypeVar("Result")
LEASE_S = 6.0
LONGEST_S = 240.0


@dataclass
class Rules:
    """What goes on in one run."""

    seed: int = 0
    workers: int = 3
    shards: int = 4
    rows: int = 6
    """Of each shard."""
    dies_at: Sequence[int | None] = ()
    """Of each worker in turn: the file operation at which it is killed."""
    slow: Sequence[tuple[int, int, float]] = ()
    """Of a worker in turn, a file operation that takes so many seconds."""
    cuts: Sequence[tuple[int, float, float]] = ()
    """Of a worker in turn: from when its link is cut, and for how long."""
    lost: float = 0.0
    late: float = 0.0
    restarts: Sequence[float] = ()
    """When the coordinator is killed and started anew."""
    fails: float = 0.0
    """How many rows fail."""
    ordered: bool = False
    retry_failed: RetryFailed = "retryable"
    max_cost: int | None = None
    price: Callable[[int], int] = lambda index: 10
    paid: Callable[[int], int] = lambda index: 3


@dataclass
class Stage:
    """What happened."""

    path: Path
    rules: Rules
    sent: Counter[int] = field(default_factory=Counter)
    spent: int = 0
    newest: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Of each shard the worker that has heard last that it is its own, and the epoch."""
    wrong: list[str] = field(default_factory=list)
    status: Any = None
    lives: list[Life] = field(default_factory=list)
    failing: Callable[[int], Failure | None] = lambda index: None
    replies: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.rules.seed)
        self.started = 0
        self.service: Service | None = None
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.going_on: list[asyncio.Task[None]] = []
        self.shards = shards_of(self.rules.shards, self.rules.rows)

    # The run

    def run(self) -> "Stage":
        """To the end, in virtual time."""
        folder = Folder(self.path)
        folder.make(WORK)
        save(ClusterPlan(self.shards, {}, "", "", {}), folder)
        with patch.object(asyncio, "to_thread", self._to_thread):
            run_virtually(self._main())
        for life in self.lives:
            for file in life.files:
                file.close()
        return self

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        rules = self.rules
        await self._open(again=False)
        restarts = list(rules.restarts)
        async with asyncio.timeout(LONGEST_S):
            while True:
                await asyncio.sleep(0.25)
                assert self.service is not None
                self.status = self.service.poll()
                if self.status.is_over:
                    break
                if restarts and loop.time() >= restarts[0]:
                    restarts.pop(0)
                    await self._kill_coordinator()
                    await asyncio.sleep(self.dice.choice([0.0, 1.0, 3.0]))
                    await self._open(again=True)
        await self.service.ended()
        await asyncio.sleep(LEASE_S)
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self._end_of_coordinator()

    async def _open(self, *, again: bool) -> None:
        rules = self.rules
        options = ServiceOptions(
            StageFolder(self.path),
            rules.workers,
            lease_s=LEASE_S,
            max_cost=rules.max_cost,
            detached=True,
            retry_failed=rules.retry_failed,
            units=120,
        )
        service = Service(options, self._spawn, clock=self.loop.time)
        await service.open(again=again)
        self.service = service

    async def _kill_coordinator(self) -> None:
        service, self.service = self.service, None
        assert service is not None
        for task in [service._tending, *(one.task for one in service._started.values())]:
            if task is not None:
                task.cancel()

    async def _end_of_coordinator(self) -> None:
        assert self.service is not None
        tasks = [one.task for one in self.service._started.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _to_thread(self, function: Callable[..., Result], *args: Any, **more: Any) -> Result:
        life: Life | None = self._life_of(function, args)
        if life is None:
            return function(*args, **more)
        steps = Steps(partial(function, *args))
        while not steps.ended:
            try:
                await asyncio.sleep(life.slow())
            except asyncio.CancelledError:
                if life.dead:
                    self._bury(steps)
                    raise
                # As a thread does, it goes on; whoever waited has left.
                self.going_on.append(asyncio.ensure_future(self._go_on(steps, life)))
                raise
            if life.dead:
                self._bury(steps)
                raise Killed
            steps.step()
        if steps.error is not None:
            raise steps.error
        return steps.result  # type: ignore[no-any-return]

    async def _go_on(self, steps: Steps, life: Life) -> None:
        while not steps.ended:
            await asyncio.sleep(life.slow())
            if life.dead:
                self._bury(steps)
                return
            steps.step()

    def _bury(self, steps: Steps) -> None:
        steps.kills = True
        while not steps.ended:
            steps.step()

    def _life_of(self, function: Any, args: Sequence[Any]) -> Life | None:
        for one in (*args, getattr(function, "__self__", None)):
            folder = getattr(one, "_folder", None)
            if isinstance(folder, StageFolder):
                return folder.life
        return None

    # Workers

    async def _spawn(self, name: str) -> None:
        number, self.started = self.started, self.started + 1
        rules, loop = self.rules, self.loop
        slow = {at: s for who, at, s in rules.slow if who == number}
        life = Life(name, rules.dies_at[number] if number < len(rules.dies_at) else None)
        life.slow = lambda: slow.get(life.operations, 0.001)
        self.lives.append(life)
        cuts = [(begin, begin + s) for who, begin, s in rules.cuts if who == number]

        async def work() -> None:
            await self._work(name, life, cuts)

        task = self.tasks[name] = loop.create_task(work())
        watch = loop.create_task(self._watch(task, life))
        await asyncio.wait([watch])

    async def _watch(self, task: "asyncio.Task[None]", life: Life) -> None:
        """As the machine does: what is killed runs no more."""
        while not task.done():
            await asyncio.wait([task], timeout=0.25)
            if life.dead:
                task.cancel()
        if not (task.cancelled() or life.dead) and (error := task.exception()) is not None:
            self.wrong.append(f"{life.name}: {error!r}")

    async def _work(self, name: str, life: Life, cuts: Sequence[tuple[float, float]]) -> None:
        rules, loop = self.rules, self.loop
        folder = StageFolder(self.path, life)
        stop = Stop()

        async def beat(report: Report) -> Orders:
            if life.dead:
                await asyncio.sleep(LONGEST_S)
            return await self._link(report, cuts)

        async def rows(shard: Shard, observe: Callable[[Event], None]) -> AsyncGenerator[Row, None]:
            for index in range(shard.first_index, shard.end_index):
                yield row_of(index)

        means = Means(
            lambda lease: Part(folder, lease, ordered=rules.ordered),
            lambda part: part.begin(rules.retry_failed),
            lambda number: self.shards[number],
            rows,
            lambda outcome: render(outcome, "jsonl"),
        )
        worker = ClusterWorker(name, beat, means, stop, lease_s=LEASE_S, clock=loop.time)
        budget = None if rules.max_cost is None else Budget(rules.max_cost / 10**9, sliced=True)
        if budget is not None:
            worker.on_orders = partial(follow, budget)
            worker.more = partial(said_by, budget)

        async def answer(row: Row) -> tuple[Outcome, ...]:
            assert isinstance(row, Prompt)
            if life.dead:
                await asyncio.sleep(LONGEST_S)
            held = await self._admitted(row, budget)
            try:
                worker.check()
                self._send(row.index, worker, life)
                await asyncio.sleep(self.dice.choice([0.05, 0.3, 1.0, 2.5]))
            finally:
                if budget is not None and held is not None:
                    budget.settle(held, self._pay(row.index) if not life.dead else 0)
            failure = self.failing(row.index)
            done = None if failure is not None else Completion(f"answer {row.index}", "stop")
            return (Outcome(row.index, row.id, "m", "p", done, failure, 0.1, 1, key=row.key),)

        def driver(given: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
            return run(
                given, answer, window=lambda: 4, most_open=8, stop=stop, observe=worker.observe
            )

        await worker.run(driver)

    async def _admitted(self, row: Prompt, budget: Budget | None) -> Reservation | None:
        if budget is None:
            return None
        worst = WorstCase(self.rules.price(row.index), Bounds(0, 1))
        return budget.try_reserve(worst) or await budget.reserve(worst)

    def _pay(self, index: int) -> int:
        return self.rules.paid(index)

    def _send(self, index: int, worker: ClusterWorker, life: Life) -> None:
        if life.dead:
            return
        self.sent[index] += 1
        self.spent += self.rules.paid(index)
        number = index // self.rules.rows
        active = worker._at_work.of(index)
        held = (life.name, active.part.lease.epoch) if active is not None else None
        if held != self.newest[number]:
            self.wrong.append(f"row {index} was sent by {held}, and {self.newest[number]} has it")

    async def _link(self, report: Report, cuts: Sequence[tuple[float, float]]) -> Orders:
        """A report and its answer, one of which may be lost, or late so that it is given up."""
        dice, rules = self.dice, self.rules

        def way() -> float | None:
            now = self.loop.time()
            if any(begin <= now < end for begin, end in cuts) or dice.random() < rules.lost:
                return None
            return dice.choice([0.5, 2.0, LEASE_S + 1]) if dice.random() < rules.late else 0.01

        there, back = way(), way()

        async def told() -> Orders | None:
            if there is None:
                return None
            await asyncio.sleep(there)
            if self.service is None or self.service._coordinator is None:
                return None
            orders = await self.service.beat(report)
            if back is None:
                return None
            await asyncio.sleep(back)
            return orders

        task = asyncio.ensure_future(told())  # what is given up comes all the same, late
        with suppress(TimeoutError):
            orders = await asyncio.wait_for(asyncio.shield(task), 1.5)
            if orders is not None:
                for lease in orders.leases:
                    self.newest[lease.shard] = report.worker, lease.epoch
                return orders
        raise ConnectionError("not heard")

    # What is there in the end

    def check(self) -> "Stage":
        """Every row once, in whole parts; the figures are those of the rows."""
        assert self.wrong == []
        rows = rows_in(self.path)
        count = self.rules.shards * self.rules.rows
        assert Counter(row["index"] for row in rows) == Counter(range(count))
        assert [name for name in Folder(self.path).names() if part_of(name) is None] == []
        return self

    def check_figures(self, before: Sequence[int] = ()) -> "Stage":
        """The figures are those of the parts, but for rows that were finished `before`."""
        rows = [row for row in rows_in(self.path) if row["index"] not in before]
        tally = self.status.tally
        failed = Counter(row["error"]["type"] for row in rows if row["error"] is not None)
        assert tally["rows"] == len(rows)
        assert tally["failed"] == failed
        assert tally["answered"] == len(rows) - failed.total()
        assert tally["skipped"] + self.status.rows_before == len(before)
        return self


def shards_of(count: int, rows: int) -> list[Shard]:
    return [
        Shard(n, [Piece("in.jsonl", "jsonl", 0, None, n * rows, 1, rows)]) for n in range(count)
    ]


def row_of(index: int) -> Prompt:
    return Prompt(index, [], f"r{index}", key=f"key{index}")


def rows_in(path: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line)
        for part in sorted(path.glob("part-*.jsonl"))
        for line in part.read_bytes().splitlines()
    ]


def follow(budget: Budget, orders: Orders) -> None:
    session._follow(Share(), budget, orders)


def said_by(budget: Budget) -> dict[str, Any]:
    return {"money": Money(budget.granted, budget.committed, budget.spent, budget.needed)}
