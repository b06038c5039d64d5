"""Objections that mean no limit: what they cost a run, at simulated providers in simulated time."""

import asyncio
import math
import random
from collections.abc import Callable

import pytest
from support.virtual_time import run_virtually

from llmbatch_cli.engine.limits import Limiter, admitted
from llmbatch_cli.engine.retry import Patience, retried
from llmbatch_cli.errors import RateLimited
from llmbatch_cli.types import Completion, Request

REQUEST = Request("m", [{"role": "user", "content": "x"}], {})

Refuses = Callable[[float, random.Random], bool]
"""Whether the request that comes at this time is refused."""


async def rates(
    refuses: Refuses, *, median_s: float, most: int, until_s: float, every_s: float
) -> list[float]:
    """Answers a second, in each span of so many seconds, of a provider without any limit."""
    loop, dice = asyncio.get_running_loop(), random.Random(5)
    limiter = Limiter(most_in_flight=most, chance=dice.random)
    answered: list[float] = []

    async def provider(request: Request) -> Completion:
        refused = refuses(loop.time(), dice)
        usual_s = 0.1 * median_s if refused else median_s
        await asyncio.sleep(usual_s * math.exp(dice.gauss(0, 0.3)))
        if refused:
            raise RateLimited("busy", status=429)
        answered.append(loop.time())
        return Completion("x", "stop")

    call = retried(
        admitted(provider, limiter), Patience(),
        sleep=asyncio.sleep, clock=loop.time, chance=dice.random,
    )  # fmt: skip

    async def rows() -> None:
        while True:
            await call(REQUEST)

    workers = [asyncio.ensure_future(rows()) for _ in range(2 * most)]
    await asyncio.sleep(until_s)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    spans = int(until_s / every_s)
    return [
        sum(span * every_s <= at < (span + 1) * every_s for at in answered) / every_s
        for span in range(spans)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("median_s", "most"), [(0.03, 64), (0.2, 64), (1.0, 100)])
def test_a_few_early_objections_cost_seconds(median_s: float, most: int, seed: int) -> None:
    """Six at most within the first moments, and none after: soon the run is as fast as it can."""
    left = [6]
    early_s = 0.3 + 3 * median_s

    def early(at: float, dice: random.Random) -> bool:
        refused = left[0] > 0 and at < early_s and dice.random() < 0.03 * seed
        left[0] -= refused
        return refused

    seen = run_virtually(rates(early, median_s=median_s, most=most, until_s=30, every_s=5))
    possible = most / (median_s * math.exp(0.3**2 / 2))
    assert left[0] < 6
    assert seen[4] > 0.9 * possible


@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
@pytest.mark.parametrize(("median_s", "most"), [(0.05, 40), (1.0, 200)])
def test_objections_without_a_limit_do_not_slow_a_run(
    median_s: float, most: int, share: float
) -> None:
    """One in a thousand, or in three hundred, is refused whatever the rate: nearly all is used."""
    until_s = 60 if median_s < 1 else 200
    seen = run_virtually(
        rates(
            lambda at, dice: dice.random() < share,
            median_s=median_s,
            most=most,
            until_s=until_s,
            every_s=until_s / 4,
        )
    )
    possible = most / (median_s * math.exp(0.3**2 / 2))
    print([round(one / possible, 2) for one in seen])
    assert seen[-1] > 0.8 * possible
