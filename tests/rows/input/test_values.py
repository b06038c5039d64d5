"""Rows from Python values."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.values import AHEAD, from_values


def texts(rows: Sequence[Row]) -> list[str | None]:
    """The rows' last texts; None for bad rows."""
    return [None if isinstance(row, BadRow) else row.messages[-1]["content"] for row in rows]


async def test_values_are_rows() -> None:
    """Texts, mappings, lists of messages and prompts; a bad value is a bad row, in its place."""
    own = Prompt(99, [{"role": "user", "content": "d"}], "mine", metadata={"a": 1})
    values = ["a", {"prompt": "b", "id": "x"}, [{"role": "user", "content": "c"}], own, 5]
    rows = [row async for row in from_values(values)]
    assert texts(rows) == ["a", "b", "c", "d", None]
    assert [row.id for row in rows] == [0, "x", 2, "mine", 4]
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert isinstance(rows[4], BadRow)
    assert rows[4].place == "row 4"


async def test_values_are_pulled_as_needed_and_closed() -> None:
    """An endless source is fine; when reading ends early, a generator is closed."""
    ended: list[str] = []

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            ended.append("async")

    def forever() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            ended.append("sync")

    for values in (endless(), forever()):
        async with aclosing(from_values(values)) as rows:
            assert texts([await anext(rows) for _ in range(3)]) == ["a"] * 3
    assert ended == ["async", "sync"]


@pytest.mark.parametrize("values", ["one prompt", {"prompt": "a"}, b"bytes"])
def test_one_prompt_in_the_place_of_many_is_refused(values: Any) -> None:
    """A text is not taken for a list of letters."""
    with pytest.raises(UsageError, match="one prompt"):
        from_values(values)


async def test_an_iterable_that_blocks_holds_up_nobody() -> None:
    """It is pulled in a thread, as a slow database cursor must be; leaving does not wait for it."""
    release = threading.Event()

    def slow() -> Iterator[str]:
        yield "a"
        release.wait(20)
        yield "b"

    rows = from_values(slow())
    first = await anext(rows)
    waiting = asyncio.ensure_future(anext(rows))
    await asyncio.sleep(0.05)
    assert (texts([first]), waiting.done()) == (["a"], False)
    release.set()
    assert texts([await waiting]) == ["b"]
    await rows.aclose()

    release.clear()
    began = time.monotonic()
    async with aclosing(from_values(slow())) as rows:
        await anext(rows)
    assert time.monotonic() - began < 10
    release.set()


async def test_values_are_pulled_a_bounded_way_ahead() -> None:
    """What nobody takes is not pulled for ever; all come once and in order; an error comes last."""
    pulled = 0

    def some() -> Iterator[str]:
        nonlocal pulled
        for pulled in range(1, 301):
            yield str(pulled)
        raise ValueError("no more")

    found: list[Row] = []
    with pytest.raises(ValueError, match="no more") as caught:
        async for row in from_values(some()):
            if not found:
                await asyncio.sleep(0.05)
                assert pulled <= AHEAD + 1
            found.append(row)
    assert texts(found) == [str(number) for number in range(1, 301)]
    assert "a thread of their own" in caught.value.__notes__[0]
