"""Many races at once leave nothing behind, and lose no time."""

import asyncio
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from support.client import client, race

from llmbatch_cli.core.options import Retries
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.engine.race_work import Rules

SERVER = Path(__file__).parents[1] / "support" / "race_server.py"
DESCRIPTORS = Path("/proc/self/fd")
SERIAL = itertools.count()
LOOSE_S = 1.0
"""For the worst of many on a machine that is busy with other things."""

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc"),
]


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """The address of race_server.py in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.terminate()
        await process.wait()


def book(url: str) -> dict[str, Any]:
    """What the server has seen."""
    with urlopen(f"{url}/book", timeout=10) as reply:
        seen: dict[str, Any] = json.load(reply)
        return seen


async def prompts(count: int, pause_s: float) -> AsyncIterator[str]:
    """So many prompts; the server tells their races apart by the first word."""
    for _ in range(count):
        yield f"race{next(SERIAL)} go"
        if pause_s:
            await asyncio.sleep(pause_s)


async def races(
    url: str,
    models: Sequence[str],
    *,
    count: int,
    in_flight: int,
    stream: bool = False,
    pause_s: float = 0,
) -> list[Outcome]:
    return await race(
        client(url, in_flight=in_flight, retries=Retries(max_errors=1000)),
        prompts(count, pause_s),
        [f"openai/{model}" for model in models],
        rules=Rules(stream=stream),
    )


def open_descriptors() -> int:
    gc.collect()
    return len(list(DESCRIPTORS.iterdir()))


async def until(condition: Any) -> None:
    """Wait a little for what comes within moments, as a socket's end at the other side."""
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.02)


def losers_closed_s(seen: dict[str, Any]) -> list[float]:
    """How long after each race's first answer the server saw each loser hang up."""
    won: dict[str, float] = seen["won"]
    closed: dict[str, list[float]] = seen["closed"]
    return [at - won[race] for race, times in closed.items() for at in times]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thousand_races_leave_nothing_behind(stream: bool) -> None:
    """Three models, 300 requests in flight: one winner a row; no task, socket or file is left."""
    kind = "streams" if stream else "after"
    count = 300 if stream else 1_000
    async with server() as url:
        await races(url, ["after-0", "after-1"], count=3, in_flight=6)  # what is made once, is
        tasks, descriptors = asyncio.all_tasks(), open_descriptors()
        models = [f"{kind}-0.05", f"{kind}-3", f"{kind}-4"]
        outcomes = await races(url, models, count=count, in_flight=300, stream=stream)
        assert asyncio.all_tasks() == tasks
        await until(lambda: open_descriptors() <= descriptors)
        assert open_descriptors() <= descriptors
        await until(lambda: book(url)["open"] <= 1)
        seen = book(url)
    assert seen["open"] == 1  # the one that asks
    assert sorted(outcome.index for outcome in outcomes) == list(range(count))
    for outcome in outcomes:
        assert outcome.completion is not None, outcome.error
        assert [racer.status for racer in outcome.race] == ["won", "cancelled", "cancelled"]
    losers = sum(map(len, seen["closed"].values()))
    assert 2 * count <= losers <= 2 * count + 3  # those of the first three may not have begun


@pytest.mark.parametrize("models", [("after-0.1", "after-1"), ("after-1", "after-0.1")])
async def test_two_hundred_races_begun_at_once_are_won_by_their_fast_model(
    models: Sequence[str],
) -> None:
    """0.1 s against 1 s, in both orders: every row the fast one's, long before the slow one's."""
    async with server() as url:
        outcomes = await races(url, models, count=200, in_flight=400)
        await until(lambda: book(url)["open"] <= 1)
        closed = losers_closed_s(book(url))
    times = sorted(outcome.latency_s or 9.0 for outcome in outcomes)
    assert times[0] >= 0.1
    assert times[int(0.95 * len(times))] < 0.6
    assert [racer.status for outcome in outcomes for racer in outcome.race].count("won") == 200
    assert len(closed) == 200
    assert max(closed) < LOOSE_S


async def test_losers_are_closed_at_once_under_two_hundred_races() -> None:
    """Races that begin one by one, about 200 under way: the server sees losers go within 50 ms."""
    async with server() as url:
        outcomes = await races(
            url, ["after-8", "after-0.8"], count=500, in_flight=800, pause_s=0.003
        )
        await until(lambda: book(url)["open"] <= 1)
        closed = losers_closed_s(book(url))
    times = sorted(outcome.latency_s or 9.0 for outcome in outcomes)
    assert len(closed) == 500
    assert statistics.median(closed) < 0.05
    assert max(closed) < LOOSE_S
    assert statistics.median(times) < 0.8 + 0.05
    assert times[int(0.95 * len(times))] < 0.8 + LOOSE_S


async def alone(url: str, models: Sequence[str], *, stream: bool = False) -> float:
    """The best time of single races, one after the other: what is slower is the machine."""
    times = []
    for _ in range(5):
        (outcome,) = await races(url, models, count=1, in_flight=9, stream=stream)
        assert outcome.completion is not None
        times.append(outcome.ttft_s if stream and outcome.ttft_s else outcome.latency_s or 9.0)
    return min(times)


@pytest.mark.parametrize(
    "models",
    [
        ("after-0.1", "after-1"),
        ("after-1", "after-0.1"),
        ("fails-0.01", "after-0.1", "after-1"),
        ("after-0.1", "after-0.1", "after-0.1"),
    ],
)
async def test_a_race_takes_as_long_as_its_fastest_alone(models: Sequence[str]) -> None:
    """In any order, with a failure before it, or against itself: within 30 ms."""
    async with server() as url:
        fast = await alone(url, ["after-0.1"])
        raced = await alone(url, models)
    assert raced - fast < 0.03


async def test_a_streamed_race_takes_as_long_as_the_first_to_speak() -> None:
    """Its first text is there within 30 ms of that model's alone; the loser is closed then."""
    async with server() as url:
        fast = await alone(url, ["streams-0.1"], stream=True)
        raced = await alone(url, ["streams-1", "streams-0.1"], stream=True)
        (outcome,) = await races(
            url, ["streams-1", "streams-0.1"], count=1, in_flight=2, stream=True
        )
        assert outcome.completion is not None
        closed = losers_closed_s(book(url))
    assert raced - fast < 0.03
    assert closed
    assert statistics.median(closed) < 0.05


async def test_when_all_fail_the_race_ends_with_the_last() -> None:
    """No answer, no wait beyond the slowest failure, nothing left open."""
    async with server() as url:
        started = time.monotonic()
        outcomes = await races(url, ["fails-0.05", "fails-0.2"], count=100, in_flight=200)
        took_s = time.monotonic() - started
        await until(lambda: book(url)["open"] <= 1)
        assert book(url)["open"] == 1
    assert all(outcome.error is not None for outcome in outcomes)
    assert {racer.status for outcome in outcomes for racer in outcome.race} == {"failed"}
    assert 0.2 <= took_s < 0.2 + LOOSE_S
