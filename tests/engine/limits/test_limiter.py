"""Admission: what is promised whatever the rows, the replies and the cancellations are."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import attempting, new
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import (
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Unreachable,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, RateInfo, Request
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.buckets import Pace
from llmbatch_cli.engine.limits.estimate import Estimate
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.retry import RetryPolicy, retried

REQUEST = Request("m", [{"role": "user", "content": "?"}], {})
REPLIES: list[Callable[[int], Completion | ProviderError]] = [
    lambda tokens: Completion("yes", usage=Usage(1, tokens - 1, tokens)),
    lambda tokens: Completion("yes", usage=Usage(1, tokens - 1, tokens)),
    lambda tokens: Completion("unknown usage"),
    lambda tokens: Completion("told", limits=RateInfo(90, 30, 2.0, 9000, 100, 3.0)),
    lambda tokens: RateLimited("slow", status=429),
    lambda tokens: RateLimited("slow", status=429, retry_after_s=7.0),
    lambda tokens: Overloaded("busy", status=503),
    lambda tokens: Unreachable("down"),
]

rows = st.lists(
    st.tuples(
        st.floats(0, 30),  # when it comes
        st.integers(1, 400),  # its tokens as estimated
        st.floats(0, 20),  # how long the provider takes
        st.sampled_from(REPLIES),
        st.integers(1, 800),  # its tokens as the provider counts them
        st.none() | st.floats(0, 60),  # after how long it is cancelled
    ),
    max_size=60,
)


class Traffic:
    """Rows at one limiter, and what of them was in flight when."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.sent: list[list[float]] = []
        """When, and the tokens counted for it: as estimated, and once known as they were."""
        self.at_once = 0
        self.most_at_once = 0
        self.most_tokens = 0.0

    async def send(self, row: tuple[Any, ...]) -> None:
        loop = asyncio.get_running_loop()
        comes_s, tokens, takes_s, reply, really, patience_s = row
        await asyncio.sleep(comes_s)
        task = asyncio.ensure_future(self._one(tokens, takes_s, reply(really), really))
        if patience_s is not None:
            loop.call_later(patience_s, task.cancel)
        await asyncio.gather(task, return_exceptions=True)

    async def _one(
        self, tokens: int, takes_s: float, result: Completion | ProviderError, really: int
    ) -> None:
        loop = asyncio.get_running_loop()
        ticket = await self.limiter.admit(tokens)
        entry = [loop.time(), tokens]
        self.sent.append(entry)
        recent = sum(n for at, n in self.sent if at > entry[0] - 60)
        self.most_tokens = max(self.most_tokens, recent)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        ended: Completion | ProviderError | None = None
        try:
            await asyncio.sleep(takes_s)
            ended = result
        finally:
            self.at_once -= 1
            self.limiter.settle(ticket, ended)
            if isinstance(ended, RateLimited | Unreachable):
                entry[1] = 0
            elif isinstance(ended, Completion) and ended.usage is not None:
                entry[1] = really


@given(
    rows, st.integers(1, 20), st.none() | st.integers(1, 120), st.none() | st.integers(400, 3000),
    st.booleans(), st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_limit_is_ever_passed(
    script: list[tuple[Any, ...]], most: int, rpm: int | None, tpm: int | None,
    adaptive: bool, seed: int,
) -> None:  # fmt: skip
    """Whatever comes, never more at once than -c, never more in any minute than --rpm, never more
    tokens in the minute before a request, itself counted, than --tpm; and nothing is left over."""

    async def trial() -> None:
        limits = RateLimits(most, rpm=rpm, tpm=tpm)
        limiter = Limiter(limits, adaptive=adaptive, chance=random.Random(seed).random)
        traffic = Traffic(limiter)
        await asyncio.gather(*(traffic.send(row) for row in script))
        assert (limiter.in_flight, limiter.holding) == (0, None)
        assert traffic.most_at_once <= most
        if rpm is not None:
            times = [at for at, _ in traffic.sent]
            assert all(late - early >= 60 for early, late in zip(times, times[rpm:], strict=False))
        if tpm is not None:
            assert traffic.most_tokens <= tpm
        await asyncio.wait_for(limiter.admit(1), 4000)

    run_virtually(trial())


def virtually(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """The test, in simulated time."""

    def wrapped() -> None:
        async def main() -> None:
            await test()

        run_virtually(main())

    wrapped.__doc__, wrapped.__name__ = test.__doc__, test.__name__
    return wrapped


@virtually
async def test_a_free_slot_costs_no_turn_of_the_loop() -> None:
    """With a slot free and no pace to keep, a request goes at once, without a task or a timer."""

    async def answer(request: Request) -> Completion:
        return Completion("at once")

    call = admitted(answer, Limiter(RateLimits(4)))(REQUEST)
    with pytest.raises(StopIteration) as returned:
        call.__await__().send(None)
    assert returned.value.value.text == "at once"


@virtually
async def test_those_who_wait_go_in_turn() -> None:
    """Slots and pace are given in the order in which they were asked for, large or small."""
    limiter, order = Limiter(RateLimits(1, tpm=1000)), list[int]()

    async def one(place: int) -> None:
        ticket = await limiter.admit(900 if place % 3 == 0 else 1)
        order.append(place)
        await asyncio.sleep(1)
        limiter.settle(ticket, Completion("done"))

    await asyncio.gather(*(one(place) for place in range(12)))
    assert order == list(range(12))


@given(st.integers(1, 900), st.lists(st.floats(0, 1) | st.floats(0, 200), max_size=200))
def test_a_pace_holds_in_any_minute_however_late_its_timers(rpm: int, late_s: list[float]) -> None:
    """No minute, its end not counted, has more requests than the pace, late as they may come."""
    pace, now, went = Pace(rpm, "rpm"), 1000.0, list[float]()
    for late in [*late_s, *[0.0] * (rpm + 1)]:
        now = max(now, pace.ready_at(now, 1)) + late
        pace.take(now, 1)
        went.append(now)
    assert all(late - early >= 60 for early, late in zip(went, went[rpm:], strict=False))


@virtually
async def test_a_timer_a_little_late_costs_nothing() -> None:
    """A pace is kept on average although each of its timers is some milliseconds late."""
    pace, now = Pace(600, "rpm"), 0.0
    for _ in range(600):
        now = max(now, pace.ready_at(now, 1)) + 0.02
        pace.take(now, 1)
    assert now <= 60.3


@virtually
async def test_cancelled_in_the_moment_of_its_turn() -> None:
    """One that is let go and cancelled in the same moment gives back slot, pace and tokens."""
    limiter = Limiter(RateLimits(1, rpm=2, tpm=100))
    first = await limiter.admit(10)
    waiting = asyncio.ensure_future(limiter.admit(90))
    await asyncio.sleep(31)
    limiter.settle(first, Completion("done"))
    assert limiter.in_flight == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert limiter.in_flight == 0
    assert limiter.try_admit(90) is not None


@virtually
async def test_a_request_over_the_token_limit_is_refused() -> None:
    """What can never fit into a minute fails at once, and says why and what to do."""
    limiter = Limiter(RateLimits(4, tpm=1000))
    with pytest.raises(Rejected, match=r"about 1,001 tokens, and the limit is 1,000") as caught:
        await limiter.admit(1001)
    assert "--tpm" in str(caught.value.hint)
    assert limiter.in_flight == 0
    await limiter.admit(1000)


@virtually
async def test_one_refusal_makes_all_wait() -> None:
    """After a 429 nobody goes before its Retry-After is over, nor much later, nor all at once."""
    limiter = Limiter(RateLimits(32, start_in_flight=32))
    loop, went = asyncio.get_running_loop(), list[float]()
    tickets = [await limiter.admit(1) for _ in range(10)]
    limiter.settle(tickets[0], RateLimited("slow", status=429, retry_after_s=20))

    async def one() -> None:
        assert limiter.try_admit(1) is None
        ticket = await limiter.admit(1)
        went.append(loop.time())
        await asyncio.sleep(1)
        limiter.settle(ticket, Completion("done"))

    waiting = [asyncio.ensure_future(one()) for _ in range(8)]
    await asyncio.sleep(0)
    assert limiter.holding == "cool-down"
    await asyncio.gather(*waiting)
    assert 20 <= went[0] <= 22
    assert len(set(went)) == len(went)


@virtually
async def test_nobody_waits_for_a_quota_of_hours() -> None:
    """Those that wait and those that come are told so at once, with the provider's words, and
    once the rest is bearable it is waited for."""
    loop, limiter = asyncio.get_running_loop(), Limiter(RateLimits(2), patience_s=600)
    tickets = [await limiter.admit(1) for _ in range(2)]
    waiting = [asyncio.ensure_future(limiter.admit(1)) for _ in range(3)]
    await asyncio.sleep(0)
    limiter.settle(tickets[0], RateLimited("per day", status=429, retry_after_s=7200))
    limiter.settle(tickets[1], None)
    for one in (*waiting, asyncio.ensure_future(limiter.admit(1))):
        with pytest.raises(RateLimited, match="per day") as raised:
            await one
        assert 7200 <= (raised.value.retry_after_s or 0) <= 7230  # else it tells a wrong hour
    assert (limiter.in_flight, limiter.holding) == (0, None)
    await asyncio.sleep(limiter.cooling_s - 500)
    await limiter.admit(1)
    assert 7200 <= loop.time() <= 7230


@virtually
async def test_one_episode_shrinks_once() -> None:
    """Requests that were on their way at the first 429 do not make the run slower still."""
    limiter = Limiter(RateLimits(40, start_in_flight=40))
    tickets = [await limiter.admit(1) for _ in range(40)]
    limiter.settle(tickets[30], RateLimited("slow", status=429))
    assert limiter.allowed.in_flight == 40  # one alone may have another cause
    for ticket in tickets[31:34]:
        limiter.settle(ticket, RateLimited("slow", status=429))
    once = limiter.allowed
    for ticket in tickets[34:]:
        limiter.settle(ticket, RateLimited("slow", status=429))
    assert limiter.allowed == once
    assert once.in_flight == 30


@virtually
async def test_other_failures_do_not_slow_down() -> None:
    """No quota, a busy provider, a broken line: none of them is a matter of speed."""
    limiter = Limiter(RateLimits(8, start_in_flight=8))
    before = limiter.allowed
    for error in (OutOfQuota("no money"), Overloaded("busy"), Unreachable("down"), None):
        limiter.settle(await limiter.admit(1), error)
    assert limiter.allowed == before
    assert limiter.try_admit(1) is not None


@virtually
async def test_a_server_that_refuses_most_is_full() -> None:
    """One without a queue refuses by 503 or a reset what is too many: 134 of 1,000 rows failed
    for eight slots. One in twenty refused may have any cause."""
    answer = Completion("hi", "stop")
    for error in (Overloaded("full", status=503), Interrupted("reset")):
        limiter = Limiter(RateLimits(40, start_in_flight=40))
        for place in range(200):
            limiter.settle(await limiter.admit(1), answer if place % 20 else error)
        assert limiter.allowed.in_flight == 40
        for ticket in [await limiter.admit(1) for _ in range(40)]:
            limiter.settle(ticket, error)
        assert limiter.allowed.in_flight < 40


@pytest.mark.parametrize(("workers", "most"), [(200, 100), (9, 12)])
def test_the_number_grows_while_throughput_follows(workers: int, most: int) -> None:
    """The run begins with few and grows up to -c, but only while so many are really sent."""

    async def trial() -> list[int]:
        limiter = Limiter(RateLimits(100))

        async def work() -> None:
            while True:
                ticket = await limiter.admit(1)
                await asyncio.sleep(1)
                limiter.settle(ticket, Completion("done"))

        tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
        sizes = [limiter.allowed.in_flight]
        for _ in range(20):
            await asyncio.sleep(1)
            if limiter.allowed.in_flight != sizes[-1]:
                sizes.append(limiter.allowed.in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return sizes

    expected = [size for size in (3, 6, 12, 36, 100) if size <= most]
    assert run_virtually(trial()) == expected


@virtually
async def test_slots_still_grow_after_a_refusal_of_speed() -> None:
    """Being too fast once says nothing about how many at once, so slow answers get their slots."""
    limiter = Limiter(RateLimits(64, start_in_flight=8))
    for _ in range(20):
        tickets = [await limiter.admit(1) for _ in range(8)]
        await asyncio.sleep(1)
        for ticket in tickets:
            limiter.settle(ticket, Completion("done"))
    limiter.settle(await limiter.admit(1), RateLimited("slow", status=429))

    async def work() -> None:
        while True:
            ticket = await limiter.admit(1)
            await asyncio.sleep(30)
            limiter.settle(ticket, Completion("done"))

    tasks = [asyncio.ensure_future(work()) for _ in range(80)]
    await asyncio.sleep(600)
    assert limiter.in_flight == 64
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@virtually
async def test_what_replies_say_is_kept_and_followed() -> None:
    """A told limit becomes the pace, another one replaces it, and the flags are kept besides."""
    limiter = Limiter(RateLimits(8, rpm=1000))
    for limit, expected in ((600, 588), (1200, 1000), (60, 58.8)):
        told = RateInfo(limit_requests=limit, remaining_requests=limit - 1, reset_requests_s=2)
        limiter.settle(await limiter.admit(1), Completion("done", limits=told))
        assert limiter.allowed.rpm == pytest.approx(expected)


@virtually
async def test_a_limit_by_the_second_is_known_for_one() -> None:
    """Where a much used budget is always whole within a second, its limit is no minute's."""
    limiter = Limiter(RateLimits(8))
    for left in (9, 1):
        told = RateInfo(limit_requests=10, remaining_requests=left, reset_requests_s=1 - left / 10)
        limiter.settle(await limiter.admit(1), Completion("done", limits=told))
    assert limiter.allowed.rpm == pytest.approx(588)


@virtually
async def test_without_adapting_only_flags_and_pauses_hold() -> None:
    """With adaptive off, a 429 makes all wait, and nothing is learned from it."""
    limiter = Limiter(RateLimits(4, start_in_flight=4), adaptive=False)
    before = limiter.allowed
    limiter.settle(await limiter.admit(1), RateLimited("slow", retry_after_s=3))
    assert limiter.allowed == before
    assert limiter.try_admit(1) is None
    await asyncio.sleep(3.4)
    assert limiter.try_admit(1) is not None


def test_tokens_are_estimated_from_text_and_answers() -> None:
    """A fourth of the text's bytes, and the answer: max_tokens at first, then what is usual."""
    estimate = Estimate()
    request = Request("m", [{"role": "user", "content": "x" * 400}], {"max_tokens": 1000})
    assert estimate(request) == 4 + 100 + 1000
    estimate.learn(Completion("short", usage=Usage(104, 20, 124)))
    assert estimate(request) == 4 + 100 + 20
    parts = [{"type": "text", "text": "ä" * 200}, {"type": "image_url", "image_url": {}}]
    assert estimate(Request("m", [{"role": "user", "content": parts}], {})) == 4 + 100 + 800 + 20


@virtually
async def test_a_tries_time_is_the_requests_own() -> None:
    """What a row tells of its tries is how long the provider took, not how long it was made to
    wait for its turn, which the row's own latency tells."""
    limiter = Limiter(RateLimits(1, rpm=60))

    async def slow_then_busy(request: Request) -> Completion:
        await asyncio.sleep(3)
        raise Overloaded("busy", status=503)

    once = attempting(slow_then_busy, asyncio.get_running_loop().time)
    policy = RetryPolicy(max_attempts=2, base_s=0)
    call = retried(admitted(once, limiter), policy, sleep=asyncio.sleep)
    requests = [new(REQUEST), new(REQUEST)]
    await asyncio.gather(*map(call, requests), return_exceptions=True)
    for request in requests:
        times_s = [attempt.latency_s for attempt in request.ledger.attempts]
        assert times_s == pytest.approx([3, 3])


@virtually
async def test_so_is_the_time_of_a_request_that_is_cancelled() -> None:
    """It may be billed, and is told with the time since it was sent."""
    limiter = Limiter(RateLimits(1))

    async def never(request: Request) -> Completion:
        await asyncio.sleep(1000)
        raise AssertionError

    once = attempting(never, asyncio.get_running_loop().time)
    call = retried(admitted(once, limiter), RetryPolicy(), sleep=asyncio.sleep)
    ticket = await limiter.admit(1)
    request = new(REQUEST)
    task = asyncio.ensure_future(call(request))
    await asyncio.sleep(50)
    limiter.settle(ticket, Completion("done"))
    await asyncio.sleep(7)
    task.cancel()
    await asyncio.wait([task])
    assert request.ledger.cancelled_in_flight
    (attempt,) = request.ledger.attempts
    assert attempt.latency_s == pytest.approx(7)
    assert attempt.maybe_billed
