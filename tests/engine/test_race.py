"""The race itself: who wins, who is cancelled, what is left."""

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import Overloaded, ProviderError, Refused
from llmbatch_cli.core.types import Completion
from llmbatch_cli.engine.race import RaceResult, Start, race


def rejection(place: int, completion: Completion) -> ProviderError | None:
    return None if completion.text else Refused("empty")


def after(turns: int, result: str | ProviderError, ended: list[int] | None = None) -> Start:
    """A request that ends after so many turns of the loop."""

    async def start(leads: Callable[[], None]) -> Completion:
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if isinstance(result, ProviderError):
                raise result
            return Completion(result)
        finally:
            if ended is not None:
                ended.append(turns)

    return start


async def run(*starts: Start, wins: int = 1) -> list[RaceResult]:
    return await race(starts, wins=wins, rejection=rejection, clock=time.monotonic)


def statuses(results: list[RaceResult]) -> list[str]:
    return [result.status for result in results]


async def test_the_first_good_answer_wins_whatever_the_order() -> None:
    """Not the first listed, and not the last to come: the first there; the rest is cancelled."""
    fast, slow = after(2, "fast"), after(100, "slow")
    assert statuses(await run(fast, slow)) == ["won", "cancelled"]
    assert statuses(await run(slow, fast)) == ["cancelled", "won"]


async def test_a_failure_leaves_the_race() -> None:
    """Failing fast is not winning; nor is an answer that is no good."""
    failing, empty = after(1, Overloaded("busy")), after(2, "")
    results = await run(failing, empty, after(9, "good"), after(99, "late"))
    assert statuses(results) == ["failed", "failed", "won", "cancelled"]
    assert isinstance(results[0].error, Overloaded)
    assert isinstance(results[1].error, Refused)


async def test_a_tie_goes_to_the_preferred() -> None:
    """Of answers that are there in the same turn the first listed wins; the other has lost."""
    assert statuses(await run(after(5, "a"), after(5, "b"))) == ["won", "lost"]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["text", "", "error"])), min_size=1),
    st.integers(1, 4),
)
async def test_any_race_ends_with_everybody_accounted_for(
    entries: list[tuple[int, str]], wins: int
) -> None:
    """As many winners as there can be, none running, every request ended, no task left."""
    before = asyncio.all_tasks()
    ended: list[int] = []
    starts = [
        after(turns, Overloaded("busy") if what == "error" else what, ended)
        for turns, what in entries
    ]
    results = await run(*starts, wins=wins)
    good = sum(what == "text" for _, what in entries)
    assert sum(result.status == "won" for result in results) == min(good, wins)
    assert not {"running", "waiting"} & set(statuses(results))
    assert asyncio.all_tasks() == before
    if good < wins:
        assert "cancelled" not in statuses(results)
        assert len(ended) == len(entries)


async def test_a_cancelled_race_leaves_nothing() -> None:
    """When the row itself is cancelled all its requests are."""
    ended: list[int] = []
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(run(after(10**6, "a", ended), after(10**6, "b", ended)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == 2
    assert asyncio.all_tasks() == before


def timed(seconds: float, result: str | ProviderError) -> Start:
    async def start(leads: Callable[[], None]) -> Completion:
        await asyncio.sleep(seconds)
        if isinstance(result, ProviderError):
            raise result
        return Completion(result)

    return start


async def test_a_hedge_starts_the_next_only_when_the_first_is_late() -> None:
    """In time: one request. Late: two. Failed: the next at once."""

    async def hedged(*starts: Start) -> list[str]:
        results = await race(starts, hedge_s=lambda: 0.1, rejection=rejection, clock=time.monotonic)
        return statuses(results)

    assert await hedged(timed(0.01, "a"), timed(0.01, "b")) == ["won", "waiting"]
    assert await hedged(timed(5, "a"), timed(0.01, "b")) == ["cancelled", "won"]
    started = time.monotonic()
    assert await hedged(timed(0, Overloaded("x")), timed(0, "b")) == ["failed", "won"]
    assert time.monotonic() - started < 0.1


async def test_a_hedge_without_a_time_waits_for_a_failure() -> None:
    """As long as nothing is known of latencies only a failure brings the next one."""
    results = await race(
        [timed(0.05, Overloaded("x")), timed(0.01, "b"), timed(0, "c")],
        hedge_s=lambda: None, rejection=rejection, clock=time.monotonic,
    )  # fmt: skip
    assert statuses(results) == ["failed", "won", "waiting"]


async def test_the_first_text_ends_a_streaming_race() -> None:
    """Who streams first is alone from then on, though its answer is not whole yet."""
    cancelled = asyncio.Event()

    async def streams(leads: Callable[[], None]) -> Completion:
        await asyncio.sleep(0.01)
        leads()
        await asyncio.wait_for(cancelled.wait(), 5)
        return Completion("streamed")

    async def slow(leads: Callable[[], None]) -> Completion:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return Completion("never")

    assert statuses(await run(slow, streams)) == ["cancelled", "won"]


async def test_a_leader_that_breaks_leaves_no_winner() -> None:
    """The others are closed at the first text, so a stream that breaks then fails the race."""

    async def breaks(leads: Callable[[], None]) -> Completion:
        leads()
        await asyncio.sleep(0.01)
        raise Overloaded("broke")

    assert statuses(await run(breaks, timed(9, "x"))) == ["failed", "cancelled"]
