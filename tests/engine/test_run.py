"""The engine: every row exactly once, within the window, in order when asked."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import RunStopped
from llmbatch_cli.core.events import Dropped, Event, Finished, Started, ignore
from llmbatch_cli.core.types import BadRow, Completion, Outcome, Prompt, Row
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.engine.waits import Postponed, Waits

MOST_OPEN = 16


def prompt(index: int) -> Prompt:
    return Prompt(index=index, id=index, messages=[{"role": "user", "content": "?"}])


async def rows(values: Iterable[Row]) -> AsyncGenerator[Row, None]:
    for value in values:
        yield value


def outcome(row: Prompt, text: str = "") -> Outcome:
    return Outcome(row.index, row.id, "m", "p", completion=Completion(text))


class Work:
    """Work whose rows take as many turns of the loop as told, and counts those at work."""

    def __init__(self, turns: list[int], stops: int | None = None) -> None:
        self.turns = turns
        self.stops = stops
        self.at_work = 0
        self.most = 0
        self.begun: list[int] = []

    async def __call__(self, row: Prompt) -> tuple[Outcome, ...]:
        self.begun.append(row.index)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            for _ in range(self.turns[row.index % len(self.turns)] if self.turns else 0):
                await asyncio.sleep(0)
            if row.index == self.stops:
                raise RunStopped("enough")
            return (outcome(row),)
        finally:
            self.at_work -= 1


async def collect(
    work: Work,
    values: list[Row],
    *,
    window: int,
    ordered: bool = False,
    stop: Stop | None = None,
    events: list[Event] | None = None,
) -> list[int]:
    observe = ignore if events is None else events.append
    found: list[int] = []
    outcomes = run(
        rows(values),
        work,
        window=lambda: window,
        most_open=4 * window,
        ordered=ordered,
        stop=stop or Stop(),
        observe=observe,
    )
    async with aclosing(outcomes):
        async for one in outcomes:
            found.append(one.index)
    return found


turns = st.lists(st.integers(0, 20), max_size=10)


@given(st.lists(st.booleans(), max_size=60), turns, st.integers(1, 10), st.booleans())
async def test_every_row_comes_out_exactly_once(
    readable: list[bool], turns: list[int], window: int, ordered: bool
) -> None:
    """Any rows, any speeds, any window: each row once, never more at work than allowed."""
    values: list[Row] = [
        prompt(index) if good else BadRow(index, "bad", index)
        for index, good in enumerate(readable)
    ]
    events: list[Event] = []
    work = Work(turns)
    found = await collect(work, values, window=window, ordered=ordered, events=events)
    assert sorted(found) == list(range(len(values)))
    assert found == sorted(found) or not ordered
    assert work.most <= window
    assert sum(isinstance(event, Started) for event in events) == len(values)
    assert sum(isinstance(event, Finished) for event in events) == len(values)


@given(turns, st.integers(1, 10), st.integers(0, 29), st.booleans())
async def test_a_stopped_run_keeps_what_was_at_work(
    turns: list[int], window: int, stops: int, ordered: bool
) -> None:
    """After RunStopped no row begins; those at work come out; the row itself does not."""
    events: list[Event] = []
    found: list[int] = []
    work = Work(turns, stops)
    values: list[Row] = [prompt(index) for index in range(30)]
    outcomes = run(
        rows(values),
        work,
        window=lambda: window,
        most_open=4 * window,
        ordered=ordered,
        stop=Stop(),
        observe=events.append,
    )
    with pytest.raises(RunStopped, match="enough"):
        async with aclosing(outcomes):
            async for one in outcomes:
                found.append(one.index)
    assert sorted(found) == sorted(set(work.begun) - {stops})
    assert [event.index for event in events if isinstance(event, Dropped)] == [stops]


async def test_a_bug_in_the_work_ends_the_run() -> None:
    """An error that nobody expects is raised at once; nothing is left at work."""
    cancelled = asyncio.Event()

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index == 1:
            raise ZeroDivisionError
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ()

    outcomes = run(
        rows(prompt(i) for i in range(9)),
        work,
        window=lambda: 2,
        most_open=MOST_OPEN,
        stop=Stop(),
        observe=ignore,
    )
    with pytest.raises(ZeroDivisionError):
        await anext(outcomes)
    assert cancelled.is_set()


async def test_closing_the_generator_drops_what_is_at_work() -> None:
    """A consumer that stops early leaves no request running and no row pulled."""
    work = Work([0, 1000])
    outcomes = run(
        rows(prompt(i) for i in range(1000)),
        work,
        window=lambda: 4,
        most_open=MOST_OPEN,
        stop=Stop(),
        observe=ignore,
    )
    assert (await anext(outcomes)).index == 0
    await outcomes.aclose()
    assert work.at_work == 0
    assert len(work.begun) <= 8


async def endless(pulled: list[int]) -> AsyncGenerator[Row, None]:
    while True:
        pulled.append(len(pulled))
        yield prompt(len(pulled) - 1)


@pytest.mark.parametrize("ordered", [False, True])
async def test_rows_are_pulled_only_as_fast_as_they_finish(ordered: bool) -> None:
    """A row that hangs holds the run back within bounds: memory does not grow behind it."""
    pulled: list[int] = []

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        await asyncio.sleep(3600 if row.index == 0 else 0)
        return (outcome(row),)

    outcomes = run(
        endless(pulled),
        work,
        window=lambda: 4,
        most_open=MOST_OPEN,
        ordered=ordered,
        stop=Stop(),
        observe=ignore,
    )
    taking = asyncio.ensure_future(anext(outcomes))
    for _ in range(2000):
        await asyncio.sleep(0)
    assert len(pulled) <= MOST_OPEN + 4
    assert taking.done() != ordered
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await outcomes.aclose()


async def test_draining_finishes_what_is_at_work() -> None:
    """A drained run begins no new row, even while its input is silent."""
    stop = Stop()
    begun = asyncio.Event()

    async def silent() -> AsyncGenerator[Row, None]:
        yield prompt(0)
        begun.set()
        await asyncio.sleep(3600)

    work = Work([50])
    outcomes = run(silent(), work, window=lambda: 4, most_open=MOST_OPEN, stop=stop, observe=ignore)
    collecting = asyncio.ensure_future(_indexes(outcomes))
    await begun.wait()
    stop.drain()
    assert await asyncio.wait_for(collecting, 5) == [0]


async def test_an_outcome_says_when_its_row_ended() -> None:
    """Also where it waits for one before it: those that came later ended earlier."""
    may_end = asyncio.Event()

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index == 0:
            await may_end.wait()
            await asyncio.sleep(0.01)
        elif row.index == 3:
            may_end.set()
        return (outcome(row),)

    values: list[Row] = [prompt(index) for index in range(4)]
    outcomes = run(
        rows(values), work, window=lambda: 2, most_open=8, stop=Stop(), observe=ignore, ordered=True
    )
    first, *others = [one.finished_at or 0 async for one in outcomes]
    assert 0 < max(others) < first <= time.time()
    assert others == sorted(others)


async def test_a_postponed_row_stays_undone_and_the_others_go_on() -> None:
    """Its reason ends the run, but only after every other row."""
    done = 0

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index % 3 == 0:
            raise Postponed(RunStopped(f"no quota for {row.index}"))
        return (outcome(row),)

    values: list[Row] = [prompt(index) for index in range(10)]
    outcomes = run(
        rows(values), work, window=lambda: 2, most_open=8, stop=Stop(), observe=ignore, ordered=True
    )
    with pytest.raises(RunStopped, match="no quota for 0"):
        async with aclosing(outcomes):
            async for _ in outcomes:
                done += 1
    assert done == 6


async def test_a_run_that_is_drained_for_a_reason_ends_with_it() -> None:
    """After every row that was at work."""
    stop, found = Stop(), []

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index == 2:
            stop.drain(RunStopped("too many failed"))
        await asyncio.sleep(0)
        return (outcome(row),)

    values: list[Row] = [prompt(index) for index in range(10)]
    outcomes = run(
        rows(values), work, window=lambda: 3, most_open=8, stop=stop, observe=ignore, ordered=True
    )
    with pytest.raises(RunStopped, match="too many failed"):
        async for one in outcomes:
            found.append(one.index)
    assert found == [0, 1, 2]


async def test_the_end_of_a_run_ends_its_waits() -> None:
    """A row whose work ends the run drains it, so that rows that only wait do not hold it up."""
    stop, waits = Stop(), Waits()
    stop.listen(lambda: waits.end() if stop.draining else None)

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index == 2:
            raise RunStopped("bad key")
        with waits.waiting():
            await asyncio.sleep(3600)
        return (outcome(row),)

    values: list[Row] = [prompt(index) for index in range(5)]
    with pytest.raises(RunStopped, match="bad key"):
        async for _ in run(
            rows(values), work, window=lambda: 3, most_open=8, stop=stop, observe=ignore
        ):
            raise AssertionError("nothing was answered")


@pytest.mark.parametrize("ordered", [False, True])
async def test_cancelling_drops_what_is_at_work(ordered: bool) -> None:
    """A cancelled run ends without error; what was finished is kept."""
    stop = Stop()
    events: list[Event] = []

    async def work(row: Prompt) -> tuple[Outcome, ...]:
        if row.index == 3:
            stop.cancel()
        await asyncio.sleep(0 if row.index < 2 else 3600)
        return (outcome(row),)

    values: list[Row] = [prompt(index) for index in range(9)]
    outcomes = run(
        rows(values),
        work,
        window=lambda: 4,
        most_open=MOST_OPEN,
        ordered=ordered,
        stop=stop,
        observe=events.append,
    )
    found = await asyncio.wait_for(_indexes(outcomes), 5)
    dropped = [event.index for event in events if isinstance(event, Dropped)]
    begun = [event.index for event in events if isinstance(event, Started)]
    assert sorted(found + dropped) == begun
    assert 3 in dropped


async def test_an_error_of_the_input_ends_the_run_after_its_rows() -> None:
    """When reading breaks, what was read is still answered, then the error is raised."""

    async def broken() -> AsyncGenerator[Row, None]:
        yield prompt(0)
        raise OSError("the disk is gone")

    found: list[int] = []
    outcomes = run(
        broken(), Work([3]), window=lambda: 4, most_open=MOST_OPEN, stop=Stop(), observe=ignore
    )
    with pytest.raises(OSError, match="the disk is gone"):
        async for one in outcomes:
            found.append(one.index)
    assert found == [0]


async def _indexes(outcomes: AsyncGenerator[Outcome, None]) -> list[int]:
    async with aclosing(outcomes):
        return [one.index async for one in outcomes]
