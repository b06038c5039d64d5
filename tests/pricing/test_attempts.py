"""The price of a row's attempts, when the run ends meanwhile."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.ledger import Attempt, Lane, Ledger, MaybeBilled, Seller, Usage
from llmbatch_cli.core.types import Completion, Outcome, Prompt, Row
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.pricing.attempts import priced
from llmbatch_cli.pricing.price import Price, Rate
from llmbatch_cli.pricing.prices import Prices

USAGE = Usage(1_000, 100)
PRICE = Price(input=Rate(Decimal(1)), output=Rate(Decimal(10)))


class SlowPrices(Prices):
    """A table that takes as long as the test wants to be imported."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.ready = threading.Event(), threading.Event()

    def look_up(
        self, seller: Seller, model: str, lane: Lane | None = None, *, served: str | None = None
    ) -> Price:
        self.asked.set()
        assert self.ready.wait(10)
        return PRICE


async def answered(prompt: Prompt, ledgers: list[Ledger]) -> tuple[Outcome, ...]:
    ledger = Ledger("openai/m", Seller("openai", "https://x"))
    ledger.attempts.append(Attempt("interrupted", None, 0.1, maybe_billed=True))
    ledger.attempts.append(Attempt(None, 200, 0.1, maybe_billed=True, usage=USAGE))
    answer = Completion("yes", usage=USAGE)
    return (Outcome(prompt.index, prompt.id, "m", "openai", answer, ledgers=[ledger]),)


async def rows() -> AsyncGenerator[Row, None]:
    for index in range(3):
        yield Prompt(index, [{"role": "user", "content": "?"}], index)


@pytest.mark.parametrize("cancels", [1, 2])
async def test_what_is_cancelled_while_its_price_is_looked_up_is_kept(cancels: int) -> None:
    """It was paid for: with its cost where that comes soon, else with an unknown one."""
    prices, stop = SlowPrices(), Stop()
    outcomes = run(
        rows(),
        priced(answered, prices, lambda prompt: 1),
        window=lambda: 3,
        most_open=9,
        stop=stop,
        observe=ignore,
    )
    collected = asyncio.ensure_future(_all(outcomes))
    try:
        await asyncio.to_thread(prices.asked.wait, 10)
        for _ in range(cancels):
            stop.cancel()
            await asyncio.sleep(0.01)
    finally:
        prices.ready.set()
    found = await collected
    assert len(found) == 3
    assert all(one.text == "yes" for one in found)
    expected = Decimal("0.002") if cancels == 1 else None
    assert [one.cost_usd for one in found] == [expected] * 3
    assert [one.maybe_billed for one in found] == [MaybeBilled(1, None)] * 3
    costs = [attempt.cost_usd for one in found for attempt in one.ledgers[0].attempts]
    assert costs == [0, expected] * 3


async def _all(outcomes: AsyncGenerator[Outcome, None]) -> list[Outcome]:
    return [one async for one in outcomes]
