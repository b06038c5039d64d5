"""Finding how many in flight a server needs that queues, in simulated time."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.attempts import attempting, new
from support.queueing import QueueingProvider
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import Overloaded, ProviderError, TimedOut
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.isolated_429 import Ticket
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
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
    start: int = 3
    seed: int = 1


@dataclass
class Seen:
    """What came of a run: after its first tenth, or after the server's change and a sixth more."""

    share: float
    in_flight: float
    late: int


async def observe(scenario: Scenario, most: int = MOST) -> Seen:
    loop, dice = asyncio.get_running_loop(), random.Random(scenario.seed)
    server = QueueingProvider(**scenario.server, seed=scenario.seed)
    limiter = Limiter(RateLimits(most, scenario.start), chance=dice.random)
    deadlines = Deadlines(scenario.timeout * server.mean_s, clock=loop.time)
    call = deadlines.within(
        retried(
            admitted(attempting(server.call), limiter, deadlines),
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
    Scenario("no order", {"slots": 16, "sigma": 0.3, "shuffled": True}, 1500, timeout=60, seed=2),
    Scenario("halved", {"slots": 32, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 1.0}),
    Scenario("doubled", {"slots": 8, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 1.0}),
    Scenario(
        "slower", {"slots": 16, "sigma": 0.3}, 3000, change={"slots": 16, "mean_s": 2.5}, share=0.93
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_server_that_queues_is_kept_busy_and_no_more(scenario: Scenario) -> None:
    """0.95 of what is possible, at most twice the slots and 8 in flight, and no row times out."""
    seen = run_virtually(observe(scenario))
    slots = scenario.change.get("slots", scenario.server["slots"])
    assert seen.share >= scenario.share
    assert seen.in_flight <= 2 * slots + 8
    assert seen.late == 0


def virtual_limiter(start: int, most: int = MOST) -> Limiter:
    return Limiter(RateLimits(most, start), chance=lambda: 0.5)


async def fill(limiter: Limiter, many: int) -> list[Ticket]:
    return [await limiter.admit(1) for _ in range(many)]


LATE = [TimedOut("late"), Overloaded("a gateway's", status=504)]


@pytest.mark.parametrize("error", LATE, ids=lambda error: error.kind)
def test_one_time_out_is_enough_to_send_less(error: ProviderError) -> None:
    """Of 60 in flight 9 were answered in the time limit: 3 are answered well within it. Those
    that were on their way change nothing more, and nothing is sent until there is room."""

    async def trial() -> None:
        limiter = virtual_limiter(start=60, most=60)
        tickets = await fill(limiter, 60)
        for ticket in tickets[:9]:
            await asyncio.sleep(1)
            limiter.settle(ticket, Completion("done"))
        limiter.settle(tickets[9], error)
        assert limiter.allowed.in_flight == 3
        for ticket in tickets[10:58]:
            limiter.settle(ticket, error)
            assert limiter.try_admit(1) is None or limiter.in_flight <= 3
        assert limiter.allowed.in_flight == 3

    run_virtually(trial())


def test_an_error_that_comes_at_once_has_not_waited() -> None:
    """A 408 after a moment is no sign of a queue, whatever the server calls it: taken for one,
    it leaves so few slots that some requests that hang hold up all."""

    async def trial() -> None:
        limiter = virtual_limiter(start=60, most=60)
        tickets = await fill(limiter, 60)
        await asyncio.sleep(0.01)
        limiter.settle(tickets[0], Overloaded("at once", status=408))
        assert limiter.allowed.in_flight == 60

    run_virtually(trial())


def test_a_time_out_among_many_answers_is_not_the_queue() -> None:
    """One that hangs while hundreds are answered says nothing about the others."""

    async def trial() -> None:
        limiter = virtual_limiter(start=8, most=8)
        hung = await limiter.admit(1)
        for _ in range(200):
            ticket = await limiter.admit(1)
            await asyncio.sleep(0.1)
            limiter.settle(ticket, Completion("done"))
        limiter.settle(hung, TimedOut("late"))
        assert limiter.allowed.in_flight == 8

    run_virtually(trial())


def test_the_users_number_holds_until_a_time_out() -> None:
    """With -c 40 at 4 slots 40 are sent at once; it stays so, since none times out."""
    scenario = Scenario("-c 40", {"slots": 4}, 500, timeout=15, start=40)
    seen = run_virtually(observe(scenario, most=40))
    assert seen.late == 0
    assert seen.share == pytest.approx(1.0)
    assert seen.in_flight == pytest.approx(40, abs=1)


def test_a_users_number_that_is_too_high_costs_few_rows() -> None:
    """With -c 100 at 4 slots, where 40 are in time, the rows that time out are those of the
    beginning; then it goes on below, and loses nothing (661 of 1,800 were answered)."""
    scenario = Scenario("-c 100", {"slots": 4, "sigma": 0.3}, 1000, start=100)
    seen = run_virtually(observe(scenario, most=100))
    assert seen.late <= 70
    assert seen.share >= 0.95
    assert seen.in_flight <= 16


def test_a_slow_input_shows_nothing() -> None:
    """With two rows a second at 1 s each nothing is learned, up or down."""

    async def trial() -> None:
        limiter, server = virtual_limiter(start=8), QueueingProvider(4)
        call = admitted(server.call, limiter)
        rows = []
        for _ in range(300):
            await asyncio.sleep(0.5)
            rows.append(asyncio.ensure_future(call(new(REQUEST))))
        assert limiter.allowed.in_flight == 8
        await asyncio.gather(*rows)

    run_virtually(trial())


def test_a_model_that_always_loses_its_races_is_not_held_back() -> None:
    """What is cancelled because another model was faster is no answer, and no reason to wait."""

    async def trial() -> None:
        limiter = virtual_limiter(start=3, most=64)

        async def lose() -> None:
            for _ in range(30):
                ticket = await limiter.admit(1)
                await asyncio.sleep(1)
                limiter.settle(ticket, None)

        await asyncio.gather(*(lose() for _ in range(80)))
        assert limiter.allowed.in_flight == 64

    run_virtually(trial())


def test_two_runs_share_a_server() -> None:
    """Neither is starved, hardly a row times out, and the server is busy."""

    async def trial() -> None:
        loop, server = asyncio.get_running_loop(), QueueingProvider(16, sigma=0.3, seed=1)
        done, late = [0, 0], [0, 0]

        async def rows(run: int, call: Call) -> None:
            while loop.time() < 200:
                try:
                    await call(new(REQUEST))
                    done[run] += 1
                except TimedOut:
                    late[run] += 1

        def one() -> Call:
            deadlines = Deadlines(10, clock=loop.time)
            limiter = virtual_limiter(start=3)
            return deadlines.within(admitted(attempting(server.call), limiter, deadlines))

        pair = [one(), one()]
        await asyncio.gather(*(rows(i % 2, pair[i % 2]) for i in range(400)))
        assert sum(done) > 0.95 * 16 * 200
        assert min(done) > 0.25 * sum(done)
        assert sum(late) < 0.02 * sum(done)

    run_virtually(trial())
