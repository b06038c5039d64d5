"""Rejections that mean no limit: what they cost a run, at simulated providers in simulated time."""

import asyncio
import math
import random
from collections.abc import Callable

import pytest
from support.attempts import attempting, new
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import RateLimited
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.isolated_429 import Recent
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.retry import RetryPolicy, retried

REQUEST = Request("m", [{"role": "user", "content": "x"}], {})

SIGMA = 0.3
"""Of the lognormal answer times."""

Refuses = Callable[[float, random.Random], bool]
"""Whether the request that comes at this time is refused."""


async def rates(
    refuses: Refuses, *, seed: int, median_s: float, most: int, until_s: float, every_s: float
) -> list[float]:
    """Answers a second, in each span of so many seconds, of a provider without any limit."""
    loop, dice = asyncio.get_running_loop(), random.Random(seed)
    limiter = Limiter(RateLimits(most, start_in_flight=16), chance=dice.random)
    answered: list[float] = []

    async def provider(request: Request) -> Completion:
        refused = refuses(loop.time(), dice)
        usual_s = 0.1 * median_s if refused else median_s
        await asyncio.sleep(usual_s * math.exp(dice.gauss(0, SIGMA)))
        if refused:
            raise RateLimited("busy", status=429)
        answered.append(loop.time())
        return Completion("x", "stop")

    call = retried(
        admitted(attempting(provider), limiter), RetryPolicy(),
        sleep=asyncio.sleep, chance=dice.random,
    )  # fmt: skip

    async def rows() -> None:
        while True:
            await call(new(REQUEST))

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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("median_s", "most"), [(0.03, 32), (0.2, 64), (1.0, 100)])
def test_a_few_early_rejections_cost_seconds(median_s: float, most: int, seed: int) -> None:
    """Six at most within the first moments, and none after: soon the run is as fast as it can."""
    left = [6]
    early_s = 0.3 + 3 * median_s
    share = 0.04 * (1 + seed % 3)

    def early(at: float, dice: random.Random) -> bool:
        refused = left[0] > 0 and at < early_s and dice.random() < share
        left[0] -= refused
        return refused

    seen = run_virtually(
        rates(early, seed=seed, median_s=median_s, most=most, until_s=15, every_s=5)
    )
    assert left[0] < 6
    assert seen[2] > 0.9 * possible(median_s, most)


@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
@pytest.mark.parametrize(("median_s", "most"), [(0.1, 50), (1.0, 100)])
def test_rejections_without_a_limit_do_not_slow_a_run(
    median_s: float, most: int, share: float, seed: int
) -> None:
    """Up to one in a hundred is refused, whatever the rate: in the end nearly all is used."""
    until_s = 40 if median_s < 1 else 160
    trial = rates(
        lambda at, dice: dice.random() < share,
        seed=seed,
        median_s=median_s,
        most=most,
        until_s=until_s,
        every_s=until_s / 4,
    )
    seen = run_virtually(trial)
    assert seen[-1] > 0.9 * possible(median_s, most)


def possible(median_s: float, most: int) -> float:
    """Answers a second of so many at once."""
    return most / (median_s * math.exp(SIGMA**2 / 2))


def test_what_was_accepted_proves_a_limit() -> None:
    """120 in ten seconds prove 103 a minute, since a minute's worth may have been saved up."""
    proven = Recent()
    assert proven.proven_per_minute(0.0) == 0.0
    for tenth in range(100):
        proven.add(tenth / 10, 0)
    for _ in range(20):
        proven.add(10.0, 0)
    assert proven.proven_per_minute(10.0) == pytest.approx(60 * 120 / 70)


def test_only_the_last_minute_proves_anything() -> None:
    """A limit may change."""
    proven = Recent()
    for second in range(200):
        proven.add(float(second), 0)
    for _ in range(1000):
        proven.add(200.0, 0)
    for second in range(201, 262):
        proven.add(float(second), 0)
    assert proven.proven_per_minute(261.0) == pytest.approx(60 * 60 / 119)
