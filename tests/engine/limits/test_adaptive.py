"""Finding the speed that an account allows, at simulated providers in simulated time."""

import asyncio
import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.attempts import attempting, new
from support.simulated import MEAN_S, Law, SimulatedProvider
from support.virtual_time import run_virtually

from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.retry import RetryPolicy, retried

REQUEST = Request("m", [{"role": "user", "content": "x" * 184}], {})
"""50 tokens, as estimated and as the simulated provider counts them."""

SEEDS = int(os.environ.get("LLMBATCH_SEEDS", "1"))
"""How many runs of a scenario."""


@dataclass
class Scenario:
    """A provider's limits, and how long it is asked for more than they allow."""

    name: str
    law: dict[str, Any]
    allowed: float
    """Requests a minute in the steady state; tokens, where tokens are limited."""
    steady_s: float
    """When the steady state begins; it lasts as long again, and a half."""
    change: dict[str, float] = field(default_factory=dict)
    """What the limits become at a third of the time before the steady state."""
    most: int = 256
    flags: dict[str, Any] = field(default_factory=dict)
    seeds: int = SEEDS

    @property
    def end_s(self) -> float:
        return 2.5 * self.steady_s


SCENARIOS = [
    Scenario("60 rpm", {"rpm": 60}, 60, 1200, most=64),
    Scenario("60 rpm by the second", {"rpm": 60, "capacity_s": 1}, 60, 1800, most=64),
    Scenario("60 rpm told", {"rpm": 60, "headers": True}, 60, 300, most=64),
    Scenario("600 rpm", {"rpm": 600}, 600, 300),
    Scenario("600 rpm by the second", {"rpm": 600, "capacity_s": 1}, 600, 300),
    Scenario("600 rpm told", {"rpm": 600, "headers": True, "capacity_s": 1}, 600, 120),
    Scenario("6000 rpm", {"rpm": 6000}, 6000, 60, most=512),
    Scenario("6000 rpm by the second", {"rpm": 6000, "capacity_s": 1}, 6000, 60, most=512),
    Scenario("6000 rpm told", {"rpm": 6000, "headers": True}, 6000, 30, most=512),
    Scenario("tokens", {"tpm": 60_000}, 60_000, 300),
    Scenario("tokens told", {"tpm": 60_000, "headers": True}, 60_000, 150),
    Scenario("5 at once", {"at_once": 5}, 5 / MEAN_S * 60, 300),
    Scenario("20 at once", {"at_once": 20}, 20 / MEAN_S * 60, 150),
    Scenario("100 at once", {"at_once": 100}, 100 / MEAN_S * 60, 50),
    Scenario("300, then 600", {"rpm": 300, "capacity_s": 5}, 600, 600, {"rpm": 600}),
    Scenario("600, then 300", {"rpm": 600, "capacity_s": 5}, 300, 600, {"rpm": 300}),
    Scenario("300, then 600 told", {"rpm": 300, "headers": True}, 600, 200, {"rpm": 600}),
    Scenario("10, then 20 at once", {"at_once": 10}, 20 / MEAN_S * 60, 300, {"at_once": 20}),
    Scenario("20, then 10 at once", {"at_once": 20}, 10 / MEAN_S * 60, 300, {"at_once": 10}),
    Scenario("--rpm", {"rpm": 600, "capacity_s": 1}, 600, 120, flags={"rpm": 600}),
    Scenario("--tpm", {"tpm": 60_000}, 60_000, 150, flags={"tpm": 60_000}),
]
TRIALS = [
    pytest.param(scenario, seed, id=f"{scenario.name}, seed {seed}")
    for scenario in SCENARIOS
    for seed in range(1, scenario.seeds + 1)
]


@dataclass
class Seen:
    """What came of a scenario, in its steady state."""

    used: float
    """The part of the allowed rate."""
    refused: float
    """The part of the requests that were answered 429."""
    longest_s: float
    """The longest time of one row, all its tries and waits."""
    rows_at_once: int


async def observe(scenario: Scenario, seed: int) -> Seen:
    loop, dice = asyncio.get_running_loop(), random.Random(seed)
    law = Law(loop.time, **scenario.law)
    provider = SimulatedProvider(law, seed)
    limiter = Limiter(RateLimits(scenario.most, **scenario.flags), chance=dice.random)
    call = retried(
        admitted(attempting(provider.call), limiter), RetryPolicy(),
        sleep=asyncio.sleep, chance=dice.random,
    )  # fmt: skip
    ends: list[tuple[float, float]] = []

    async def rows() -> None:
        while True:
            started = loop.time()
            await call(new(REQUEST))
            ends.append((loop.time(), loop.time() - started))

    loop.call_at(scenario.steady_s / 3, law.change, scenario.change)
    workers = [asyncio.ensure_future(rows()) for _ in range(2 * scenario.most)]
    await asyncio.sleep(scenario.end_s)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert (limiter.in_flight, limiter.holding) == (0, None)
    return _steady(scenario, provider, ends)


def _steady(
    scenario: Scenario, provider: SimulatedProvider, ends: list[tuple[float, float]]
) -> Seen:
    since = scenario.steady_s
    accepted = [tokens for at, tokens in provider.accepted if at >= since]
    refused = sum(at >= since for at in provider.refused_at)
    counted = sum(accepted) if "tpm" in scenario.law else len(accepted)
    return Seen(
        used=counted / (scenario.end_s - since) * 60 / scenario.allowed,
        refused=refused / (refused + len(accepted)),
        longest_s=max(took for at, took in ends if at >= since),
        rows_at_once=2 * scenario.most,
    )


@pytest.mark.parametrize(("scenario", "seed"), TRIALS)
def test_the_allowed_rate_is_found_and_kept(scenario: Scenario, seed: int) -> None:
    """In the steady state 0.95 of what is allowed is used, at most 1 % is refused, none starves."""
    seen = run_virtually(observe(scenario, seed))
    assert seen.used >= 0.95
    assert seen.refused <= 0.01
    requests_a_minute = scenario.allowed / (110 if "tpm" in scenario.law else 1)
    assert seen.longest_s <= 3 * seen.rows_at_once / requests_a_minute * 60 + 60
