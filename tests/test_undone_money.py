"""What rows have cost that end without an outcome: it stands beside the rows, to the billionth."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from support.charging import IN_USD, LIMIT, OUT_USD, PRICE, Provider
from support.program import jsonl, run
from support.scripted import serve

from llmbatch_cli import Answers, Client, Limits, Money, Network, Outcome, Rules, RunStopped
from llmbatch_cli.core.errors import BudgetReached
from llmbatch_cli.core.options import Retries
from llmbatch_cli.engine.budget import PER_USD, Budget
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.ui.totals import Totals

ROWS: Final = [{"id": n, "prompt": f"Name number {n}. " + "x" * (n % 40)} for n in range(150)]
TOLD: Final = {"busy": 0.1, "misfit": 0.6}
"""What is billed is in the reply."""
TROUBLES: Final = {**TOLD, "reset": 0.05, "broken": 0.04}
NAME: Final = Answers(schema="name")

Asked = Callable[[Client, Stop], AsyncGenerator[Outcome, None]]


def batch(model: str = "openai/a", **more: Any) -> Asked:
    return lambda client, stop: client.batch(
        ROWS, model=model, stopper=stop, schema=NAME, max_tokens=LIMIT, **more
    )


def race(**more: Any) -> Asked:
    models = ["openai/race", "openai/race-too"]
    return lambda client, stop: client.race(
        ROWS, models=models, stopper=stop, schema=NAME, max_tokens=LIMIT, **more
    )


ASKED: Final = {
    "batch": batch(),
    "in order": batch(ordered=True),
    "fallback": batch(fallback=["openai/b"]),
    "race": race(),
    "hedge": race(hedge=0.02),
    "every racer": race(rules=Rules(wins=None)),
}

LOSING: Final = ("race", "hedge")
"""Those that cancel requests, whose cost is not told."""


@dataclass
class Paid:
    """How a run has ended, and three accounts of its money, in billionths."""

    provider: Provider
    totals: Totals
    budget: Budget
    error: RunStopped | None

    @property
    def rows(self) -> int:
        return billionths(self.totals.cost_usd)

    @property
    def undone(self) -> int:
        return billionths(self.totals.undone.cost_usd)

    @property
    def unseen(self) -> int:
        return billionths(self.totals.unseen_usd + self.totals.undone.unseen_usd)

    def check(self) -> None:
        """The sum is that of the cap, and the provider's as far as it has told."""
        assert self.rows + self.undone == self.budget.spent - self.budget.unseen
        assert self.unseen == self.budget.unseen
        assert self.provider.billed <= self.rows + self.undone + self.unseen


def billionths(usd: Any) -> int:
    amount = usd * PER_USD
    assert amount == int(amount)
    return int(amount)


async def pay(
    asked: Asked, rates: dict[str, float], seed: int, *, usd: float = 0.1, until: str | None = None
) -> Paid:
    """A run that ends at its cap, or after 10 rows: `until` is what ends it then."""
    provider, totals, stop = Provider(rates, seed), Totals(), Stop()
    done = 0
    async with serve(provider.answer) as server:
        client = Client(
            limits=Limits(concurrency=8, max_cost=usd),
            retries=Retries(max_attempts=3),
            network=Network(base_url=[f"{server.url}/v1"]),
            money=Money(price=[PRICE[1]]),
            observe=totals,
        )
        error = None
        async with client:
            try:
                async with aclosing(asked(client, stop)) as outcomes:
                    async for _ in outcomes:
                        done += 1
                        if done >= 10 and until is not None:
                            getattr(stop, until)()
            except RunStopped as stopped:
                error = stopped
            (pool,) = client._pools.values()
            budget = pool.budget
    assert budget is not None
    return Paid(provider, totals, budget, error)


@pytest.mark.parametrize("name", ASKED)
async def test_what_the_cap_has_left_undone_is_paid_for(name: str) -> None:
    """Rows that were answered in the wrong form, and for which no room is left to ask again."""
    undone = 0
    for seed in range(3):
        paid = await pay(ASKED[name], TOLD, seed)
        paid.check()
        assert isinstance(paid.error, BudgetReached)
        assert paid.totals.undone.rows <= paid.totals.dropped
        undone += paid.undone
        if name not in LOSING:
            assert paid.rows + paid.undone == paid.provider.billed
    assert undone > 0


@pytest.mark.parametrize("name", ASKED)
async def test_what_no_reply_tells_stands_apart(name: str) -> None:
    """With what was held for it, whether its row has an outcome or not."""
    paid = await pay(ASKED[name], TROUBLES, 5)
    paid.check()
    assert isinstance(paid.error, BudgetReached)
    if name not in LOSING:
        assert paid.rows + paid.undone == paid.provider.billed - paid.provider.untold
        assert paid.unseen > paid.provider.untold > 0


@pytest.mark.parametrize("until", ["drain", "cancel"])
@pytest.mark.parametrize("name", [name for name in ASKED if name != "in order"])
async def test_what_an_interrupt_leaves_undone_is_paid_for(name: str, until: str) -> None:
    """Whether rows in flight may finish or not."""
    paid = await pay(ASKED[name], TROUBLES, 6, usd=9, until=until)
    paid.check()
    assert paid.totals.rows < len(ROWS)
    if until == "cancel":
        assert paid.totals.undone.rows > 0


async def test_the_program_tells_of_it(tmp_path: Path) -> None:
    """In the line at the end, and as a figure of its own in --summary and --progress json."""
    provider, path, out = Provider(TOLD, 1), tmp_path / "summary.json", tmp_path / "out.jsonl"
    async with serve(provider.answer) as server:
        done = await run(
            *("batch", "-m", "openai/a", "--base-url", f"{server.url}/v1", *PRICE),
            *("--max-cost", "0.1", "--max-tokens", str(LIMIT), "-c", "16", "--schema", "name"),
            *("--summary", str(path), "-o", str(out), "--progress", "plain"),
            stdin=jsonl(ROWS),
        )
    assert done.status == 3, done.err
    found = json.loads(path.read_text())
    undone = found["not_finished"]
    assert billed(found["cost"]) + billed(undone["cost"]) == provider.billed
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(billed(row["cost"]) for row in written) == billed(found["cost"])
    assert undone["rows"] > 0
    tokens = undone["prompt_tokens"] * IN_USD + undone["completion_tokens"] * OUT_USD
    assert tokens * 1_000 == billed(undone["cost"])
    assert undone["attempts"] >= undone["rows"]
    assert undone["maybe_billed"] == {"attempts": 0, "up_to": 0.0}
    rows = f"{undone['rows']} rows that were" if undone["rows"] > 1 else "1 row that was"
    assert f" of it for {rows} not finished)" in done.err


def billed(usd: float) -> int:
    return round(usd * PER_USD)
