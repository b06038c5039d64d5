"""Finding how many in flight a server needs that queues, in simulated time."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.attempts import attempting, new
from support.queueing import QueueingProvider
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import TimedOut
from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits, admitted
from llmbatch_cli.engine.retry import RetryPolicy, retried

REQUEST = Request("m", [{"role": "user", "content": "?"}], {})
MOST = 512


@dataclass
class Scenario:
    """A server, the rows of a run, and how many may be in flight on average."""

    name: str
    server: dict[str, Any]
    rows: int
    timeout: float = 10.0
    """In answers' mean times."""
    change: dict[str, Any] = field(default_factory=dict)
    """What the server becomes after a third of the rows."""
    share: float = 0.95
    """Of the throughput that is possible, at least."""
    late: int = 0
    """Rows that may time out."""
    most: float | None = None
    """In flight on average; None is twice the slots and 8."""
    start: int = 3
    seed: int = 1


@dataclass
class Seen:
    """What came of a run: after its first tenth, or after the server's change and a sixth more."""

    share: float
    in_flight: float
    late: int


async def observe(scenario: Scenario) -> Seen:
    loop, dice = asyncio.get_running_loop(), random.Random(scenario.seed)
    server = QueueingProvider(**scenario.server, seed=scenario.seed)
    limiter = Limiter(RateLimits(MOST, scenario.start), chance=dice.random)
    deadlines = Deadlines(scenario.timeout * server.mean_s, deferred=True, clock=loop.time)
    call = deadlines.within(
        retried(
            admitted(attempting(server.call), limiter, deadlines.begin, deadlines.is_over),
            RetryPolicy(), sleep=asyncio.sleep, chance=dice.random,
        )
    )  # fmt: skip
    left, late = scenario.rows, 0
    change_at = scenario.rows // 3 if scenario.change else -1
    watch_at = change_at + scenario.rows // 6 if scenario.change else scenario.rows // 10
    begun = ended = None

    async def rows() -> None:
        nonlocal left, late, begun, ended
        while left:
            left -= 1
            try:
                await call(new(REQUEST))
            except TimedOut:
                late += 1
            if server.answered == change_at:
                server.change(**scenario.change)
            if begun is None and server.answered >= watch_at:
                begun = server.so_far()
            if limiter.holding is not None:
                ended = server.so_far()

    await asyncio.gather(*(rows() for _ in range(MOST)))
    assert (limiter.in_flight, server.in_flight) == (0, 0)
    assert begun is not None
    assert ended is not None
    in_flight, share = ended.since(begun)
    return Seen(share, in_flight, late)


SCENARIOS = [
    Scenario("1 slot", {"slots": 1, "sigma": 0.3}, 300),
    Scenario("2 slots", {"slots": 2}, 300),
    Scenario("4 slots", {"slots": 4}, 500),
    Scenario("4 slots, varied", {"slots": 4, "sigma": 0.3}, 500),
    Scenario("16 slots", {"slots": 16}, 1200),
    Scenario("16 slots, varied", {"slots": 16, "sigma": 0.3}, 1200),
    Scenario("16 slots, varied much", {"slots": 16, "sigma": 1.0}, 2000, timeout=30),
    Scenario("64 slots", {"slots": 64}, 3000),
    Scenario("64 slots, varied", {"slots": 64, "sigma": 0.3}, 3000),
    Scenario("128 at a growing time", {"slots": 128, "sigma": 0.3, "batch": 128}, 5000),
    Scenario("no order", {"slots": 16, "sigma": 0.3, "shuffled": True}, 1500, timeout=60),
    Scenario("halved", {"slots": 32, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 1.0}),
    Scenario("doubled", {"slots": 8, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 1.0}),
    Scenario("slower", {"slots": 16, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 2.5}),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_server_that_queues_is_kept_busy_and_no_more(scenario: Scenario) -> None:
    """0.95 of what is possible, at most twice the slots and 8 in flight, and no row times out."""
    seen = run_virtually(observe(scenario))
    slots = scenario.change.get("slots", scenario.server["slots"])
    assert seen.share >= scenario.share
    assert seen.in_flight <= (scenario.most or 2 * slots + 8)
    assert seen.late <= scenario.late
