"""What only waits ends with the run."""

import asyncio

import pytest

from llmbatch_cli.engine.waits import Postponed, Waits


async def wait(waits: Waits) -> None:
    with waits.waiting():
        await asyncio.sleep(3600)


async def test_all_that_wait_are_ended_and_nothing_waits_after() -> None:
    """The tasks go on, as after any exception; a wait that begins later does not begin."""
    waits = Waits()
    tasks = [asyncio.ensure_future(wait(waits)) for _ in range(3)]
    await asyncio.sleep(0)
    waits.end()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in ended] == [Postponed] * 3
    assert not any(task.cancelling() for task in tasks)
    with pytest.raises(Postponed):
        await wait(waits)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """Also in the same moment."""
    waits = Waits()
    first, both = (asyncio.ensure_future(wait(waits)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    both.cancel()
    waits.end()
    await asyncio.wait([both])
    assert first.cancelled()
    assert both.cancelled()


async def test_what_does_not_wait_goes_on() -> None:
    """What is on the wire is not touched."""
    waits = Waits()

    async def work() -> str:
        with waits.waiting():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return "done"

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.005)
    waits.end()
    assert await task == "done"
