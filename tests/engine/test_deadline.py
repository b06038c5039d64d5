"""A time limit for many calls at once."""

import asyncio

import pytest
from support.attempts import new

from llmbatch_cli.core.errors import Overloaded, RateLimited, TimedOut
from llmbatch_cli.core.ledger import CANCELLED
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.deadline import Deadlines

REQUEST = Request("m", [{"role": "user", "content": "?"}], {})


async def never(request: Request) -> Completion:
    await asyncio.sleep(3600)
    return Completion("late")


async def test_each_call_has_its_own_time() -> None:
    """Calls begun at different times end at different times, each after its own limit."""
    loop = asyncio.get_running_loop()
    call = Deadlines(0.2).within(never)

    async def timed(after_s: float) -> float:
        await asyncio.sleep(after_s)
        started = loop.time()
        with pytest.raises(TimedOut, match=r"no answer within 0\.2 s"):
            await call(REQUEST)
        return loop.time() - started

    spans = await asyncio.gather(*(timed(after_s) for after_s in (0, 0.1, 0.1, 0.3)))
    assert all(0.19 <= span < 1 for span in spans)


async def test_a_deferred_call_has_its_time_from_its_beginning() -> None:
    """What waits before its first request is not given up; then it has its whole time."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.1)

    async def queued(request: Request) -> Completion:
        deadlines.defer()
        await asyncio.sleep(0.3)
        deadlines.begin()
        await asyncio.sleep(0.4)
        return Completion("late")

    started = loop.time()
    with pytest.raises(TimedOut):
        await deadlines.within(queued)(REQUEST)
    assert 0.39 <= loop.time() - started < 0.6


async def test_a_call_in_time_is_left_alone() -> None:
    """An answer in time comes through, and nothing is left that cancels the task later."""

    async def soon(request: Request) -> Completion:
        await asyncio.sleep(0.01)
        return Completion("in time")

    call = Deadlines(0.1).within(soon)
    for _ in range(3):
        assert (await call(REQUEST)).text == "in time"
    await asyncio.sleep(0.2)


async def test_a_cancelled_call_is_cancelled_not_timed_out() -> None:
    """Cancelling from elsewhere stays a cancellation, also in the moment of the limit."""
    call = Deadlines(0.1).within(never)
    task = asyncio.ensure_future(call(REQUEST))
    asyncio.get_running_loop().call_later(0.1, task.cancel)
    await asyncio.wait([task])
    early = asyncio.ensure_future(call(REQUEST))
    await asyncio.sleep(0.01)
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early


async def test_a_task_goes_on_after_a_timeout() -> None:
    """A timed out call does not leave its task marked as cancelled."""
    call = Deadlines(0.05).within(never)
    for _ in range(2):
        with pytest.raises(TimedOut):
            await call(REQUEST)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0.01)


async def test_what_kept_failing_is_the_error_at_the_end() -> None:
    """A row whose time is over between two tries says why it was tried again."""
    request = new(REQUEST)

    async def refused(request: Request) -> Completion:
        for number in (1, 2):
            request.ledger.begin(number)
            request.ledger.end(number, "rate_limited", 429)
        request.ledger.cause = RateLimited("slow down", status=429)
        return await never(request)

    with pytest.raises(RateLimited) as raised:
        await Deadlines(0.05).within(refused)(request)
    assert (raised.value.message, raised.value.status) == ("slow down (2 tries in 0.05 s)", 429)


async def test_a_request_that_timed_out_says_what_went_before() -> None:
    """What was on the wire at the end has timed out; the cause of the tries before stays."""
    request = new(REQUEST)

    async def silent(request: Request) -> Completion:
        request.ledger.begin(1)
        request.ledger.end(1, "overloaded", 503)
        request.ledger.cause = Overloaded("busy", status=503)
        request.ledger.begin(2)
        try:
            return await never(request)
        finally:
            request.ledger.end(3, CANCELLED)

    with pytest.raises(TimedOut) as raised:
        await Deadlines(0.05).within(silent)(request)
    expected = "no answer within 0.05 s; before that overloaded: busy (2 tries in 0.05 s)"
    assert (raised.value.message, raised.value.status) == (expected, 503)


async def test_a_time_in_which_nothing_ran_does_not_count() -> None:
    """After SIGSTOP, or a sleep of the machine, a row has the time left that it had before
    (anthropics/claude-code 32116)."""
    skipped_s = 0.0
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.4, clock=lambda: loop.time() + skipped_s)
    lefts: list[float] = []

    async def paused(request: Request) -> Completion:
        nonlocal skipped_s
        await asyncio.sleep(0.05)
        skipped_s += 100
        lefts.append(deadlines.left_s())
        await asyncio.sleep(0.15)
        return Completion("in time")

    assert (await deadlines.within(paused)(REQUEST)).text == "in time"
    assert lefts[0] > 0.3


async def test_a_paused_call_loses_no_time() -> None:
    """A wait in its middle does not count, and those begun later are not cut off for it."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.6)

    async def waiting(request: Request) -> Completion:
        await asyncio.sleep(0.1)
        with deadlines.paused():
            await asyncio.sleep(1.0)
        await asyncio.sleep(0.1)
        return Completion("in time")

    async def later() -> float:
        await asyncio.sleep(0.6)
        started = loop.time()
        with pytest.raises(TimedOut):
            await deadlines.within(never)(new(REQUEST))
        return loop.time() - started

    answer, span = await asyncio.gather(deadlines.within(waiting)(REQUEST), later())
    assert answer.text == "in time"
    assert 0.59 <= span < 2
