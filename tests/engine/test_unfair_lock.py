"""Turns at pulling rows: one at a time, nobody forgotten, and no queue that never ends."""

import asyncio
from collections.abc import AsyncGenerator

from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Completion, Outcome, Prompt, Row
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.engine.unfair_lock import UnfairLock

WORKERS = 64
ROWS = 64 * 50


async def rows_after_a_stall() -> AsyncGenerator[Row, None]:
    """All at once, but for one wait in which every worker comes to stand in the queue."""
    for index in range(ROWS):
        if index == WORKERS:
            await asyncio.sleep(0.01)
        yield Prompt(index=index, id=index, messages=[{"role": "user", "content": "?"}])


async def one_round(row: Prompt) -> tuple[Outcome, ...]:
    await asyncio.sleep(0)
    return (Outcome(row.index, row.id, "m", "p", completion=Completion("")),)


async def test_a_stall_of_the_input_leaves_no_queue_behind() -> None:
    """A round of the event loop serves many rows; where workers queued for turns, it served one."""
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    outcomes = run(
        rows_after_a_stall(),
        one_round,
        window=lambda: WORKERS,
        most_open=4 * WORKERS,
        stop=Stop(),
        observe=ignore,
    )
    found = 0
    counter: asyncio.Task[None] | None = None
    async for outcome in outcomes:
        found += 1
        if counter is None and outcome.index >= WORKERS:
            counter = asyncio.create_task(count())
    assert counter is not None
    counter.cancel()
    assert found == ROWS
    assert rounds < ROWS / 4


@given(
    holds=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    cancelled=st.dictionaries(st.integers(0, 11), st.integers(0, 12)),
)
def test_one_has_it_at_a_time_and_none_is_forgotten(
    holds: list[int], cancelled: dict[int, int]
) -> None:
    """However long each keeps it, and whoever gives up waiting or having it, and when."""

    async def scene() -> None:
        turn = UnfairLock()
        having = most = 0
        served: set[int] = set()

        async def one(number: int) -> None:
            nonlocal having, most
            for _ in range(2):
                await turn.take()
                having += 1
                most = max(most, having)
                try:
                    for _ in range(holds[number]):
                        await asyncio.sleep(0)
                finally:
                    having -= 1
                    turn.give_back()
            served.add(number)

        tasks = [asyncio.create_task(one(number)) for number in range(len(holds))]
        for moment in range(13):
            for number, when in cancelled.items():
                if when == moment and number < len(tasks):
                    tasks[number].cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 1
        assert turn.waiting == 0
        assert served >= set(range(len(holds))) - set(cancelled)

    asyncio.run(scene())
