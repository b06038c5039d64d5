"""--max-cost over all workers: never passed, used up, and nobody waits for ever for the last."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest
from cluster.stage import Rules, Stage, follow, said_by
from hypothesis import given, settings
from hypothesis import strategies as st
from support.virtual_time import run_virtually

from llmbatch_cli.cluster.layout import MONEY
from llmbatch_cli.cluster.messages import Money, Orders
from llmbatch_cli.cluster.purse import Purse
from llmbatch_cli.engine.bounds import Bounds
from llmbatch_cli.engine.budget import Budget, WorstCase
from llmbatch_cli.engine.waits import Postponed

ROWS = 40


def sizes(seed: int, several: bool) -> Callable[[int], int]:
    dice = random.Random(seed)
    amounts = [dice.choice([10, 10, 30, 90]) if several else 10 for _ in range(400)]
    return lambda index: amounts[index]


def quarter(price: Callable[[int], int]) -> Callable[[int], int]:
    return lambda index: max(1, price(index) // 4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("full", [False, True], ids=["quarter", "full"])
def test_the_cap_is_used_up_and_never_passed(tmp_path: Path, seed: int, full: bool) -> None:
    """Requests cost their worst case or less; what is left is too little for any row that is not
    sent. The run ends, and says why."""
    price = sizes(seed, several=seed % 2 == 1)
    paid = price if full else quarter(price)
    shards = 2 + seed % 3
    total = sum(paid(index) for index in range(shards * ROWS))
    cap = total * (3 + seed) // 10
    rules = Rules(
        seed=seed, workers=1 + seed % 4, shards=shards, rows=ROWS, max_cost=cap, price=price,
        paid=paid,
    )  # fmt: skip
    stage = Stage(tmp_path, rules).run()
    assert stage.wrong == []
    assert stage.spent <= cap
    assert stage.status.why.kind == "budget"
    unsent = [price(index) for index in range(shards * ROWS) if not stage.sent[index]]
    assert cap - stage.spent < min(unsent)


@pytest.mark.parametrize("restarts", [(), (6.0,)], ids=["", "restarted"])
@pytest.mark.parametrize("seed", range(3))
def test_workers_are_killed_and_money_is_not_spent_twice(
    tmp_path: Path, seed: int, restarts: tuple[float, ...]
) -> None:
    """What a lost worker held counts as spent, which is little: 0.9 of the cap is used."""
    rows = 100
    cap = 4 * rows * 10 * 6 // 10
    rules = Rules(
        seed=seed, workers=4, shards=4, rows=rows, max_cost=cap, dies_at=(12 + seed, 20),
        restarts=restarts, paid=lambda index: 10,
    )  # fmt: skip
    stage = Stage(tmp_path, rules).run()
    assert stage.wrong == []
    assert sum(life.dead for life in stage.lives) == 2
    assert 0.9 * cap <= stage.spent <= cap
    assert stage.status.why.kind == "budget"


def test_a_row_that_never_fits_ends_the_run_when_all_others_are_done(tmp_path: Path) -> None:
    rules = Rules(
        workers=2, shards=2, rows=6, max_cost=1_000,
        price=lambda index: 5_000 if index == 7 else 10,
    )  # fmt: skip
    stage = Stage(tmp_path, rules).run()
    assert sorted(stage.sent) == [index for index in range(12) if index != 7]
    assert stage.status.why.kind == "budget"
    again = Stage(tmp_path, Rules(workers=2, shards=2, rows=6)).run().check()
    assert sorted(again.sent) == [7]


def test_a_slice_is_durable_before_its_worker_hears_of_it(tmp_path: Path) -> None:
    saved: list[dict[str, int]] = []
    purse = Purse(1_000, 2, save=lambda given: saved.append(dict(given)))
    told = purse.beat("a", Money(0, 0, 0, 40))
    assert told >= 40
    assert saved == [{"a": told}]


def test_a_purse_that_is_started_anew_holds_what_was_given() -> None:
    """Also of a worker that is never heard again."""
    purse = Purse(100, 2, given={"a": 60, "b": 30})
    assert (purse.free, purse.left) == (10, 10)
    purse.beat("a", Money(50, 20, 20))  # it has given some back, and the answer was lost
    assert (purse.free, purse.left) == (20, 50)


def test_two_who_hold_too_little_do_not_wait_for_each_other() -> None:
    """Nothing is free, and each holds less than it needs: the one that needs less gets it."""
    purse = Purse(70, 2, given={"a": 30, "b": 40})
    purse.beat("a", Money(30, 0, 0, 20))
    assert purse.beat("b", Money(40, 0, 0, 10)) == 40
    assert purse.beat("a", Money(30, 0, 0, 20)) == 0  # what it does not need now is asked back
    purse.beat("a", Money(0, 0, 0, 50))
    assert purse.beat("b", Money(40, 0, 0, 10)) >= 50


class Process:
    """A worker with a budget; its rows need room, and cost what they turn out to."""

    def __init__(self, name: str, purse: Purse, dice: random.Random) -> None:
        self.name, self.purse, self.dice = name, purse, dice
        self.budget = Budget(1, sliced=True)
        self.dead = False
        self.rows: list[asyncio.Task[None]] = []

    def begin(self, rows: Sequence[tuple[int, float]], committed: Callable[[], int]) -> None:
        self.rows = [asyncio.ensure_future(self._row(*row, committed)) for row in rows]
        self.beats = asyncio.ensure_future(self._beat())

    async def _row(self, amount: int, part: float, committed: Callable[[], int]) -> None:
        await asyncio.sleep(self.dice.random() * 3)
        worst = WorstCase(amount, Bounds(0, amount))
        try:
            held = self.budget.try_reserve(worst) or await self.budget.reserve(worst)
        except Postponed:
            return
        assert committed() <= self.purse.cap
        await asyncio.sleep(self.dice.random())
        self.budget.settle(held, int(amount * part))

    async def _beat(self) -> None:
        while True:
            given = self.purse.beat(self.name, said_by(self.budget)["money"])
            if self.dice.random() < 0.9:
                follow(self.budget, Orders(money=given, money_left=self.purse.left))
            await asyncio.sleep(0.5)

    def kill(self) -> None:
        self.dead = True
        self.purse.lose(self.name)
        for task in (self.beats, *self.rows):
            task.cancel()


rows_of_workers = st.lists(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), max_size=15), min_size=1, max_size=4
)
kills_of_workers = st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 8)), max_size=2)


@settings(max_examples=60, deadline=None)
@given(rows_of_workers, st.integers(1, 1_000), kills_of_workers, st.integers(0, 10**6))
def test_all_end_and_none_spends_what_another_has(
    work: list[list[tuple[int, float]]], cap: int, kills: list[tuple[int, float]], seed: int
) -> None:
    """Answers are lost now and then, and workers killed: what all have reserved and spent is never
    more than the cap, and each row goes, or is postponed as nobody has room for it."""

    async def trial() -> None:
        purse, dice = Purse(cap, len(work)), random.Random(seed)
        processes = [Process(f"w{number}", purse, dice) for number in range(len(work))]
        for process, rows in zip(processes, work, strict=True):
            process.begin(rows, lambda: sum(one.budget.committed for one in processes))
        for who, after_s in kills:
            await asyncio.sleep(after_s)
            if who < len(processes):
                processes[who].kill()
        async with asyncio.timeout(120):
            await asyncio.gather(*(row for one in processes if not one.dead for row in one.rows))
        for process in processes:
            process.kill()

    run_virtually(trial())


def test_money_is_of_one_run(tmp_path: Path) -> None:
    """A second run has a cap of its own, and begins with none of it given."""
    rules = Rules(workers=2, shards=2, rows=10, max_cost=60, paid=lambda index: 10)
    first = Stage(tmp_path, rules).run()
    assert first.spent == 60
    given = orjson.loads((tmp_path / MONEY).read_bytes())
    assert 0 < sum(given.values()) <= 60
    second = Stage(tmp_path, rules).run()
    assert second.spent == 60
    assert not set(first.sent) & set(second.sent)
