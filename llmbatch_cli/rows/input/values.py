"""Rows from Python values, pulled as they are needed."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Prompt, Row
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.input.pump import pumped

AHEAD: Final = 64
"""Values that may be pulled before there is room for them."""
CLOSES_WITHIN_S: Final = 1.0

Values = Iterable[object] | AsyncIterable[object]


def from_values(values: Values) -> AsyncGenerator[Row, None]:
    """Yield a row for each text, list of messages, mapping or Prompt, pulled as needed.

    All but a list or tuple is pulled in a thread of its own, as each step may take its time, and
    an async iterable in the loop. Generators are closed at the end.

    A Prompt keeps everything but its index. Raises UsageError for a single prompt.
    """
    if isinstance(values, str | bytes | Mapping | Prompt):
        raise UsageError("prompts is one prompt, but must be several", hint="put it in a list")
    return _from_values(values)


async def _from_values(values: Values) -> AsyncGenerator[Row, None]:
    index = 0
    if isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield _row_of(value, index)
        return
    async with AsyncExitStack() as stack:
        if not isinstance(values, AsyncIterable):
            values = _in_a_thread(values)
        if isinstance(values, AsyncGenerator):  # an early end cancels what it awaits
            await stack.enter_async_context(aclosing(values))
        async for value in values:
            yield _row_of(value, index)
            index += 1


async def _in_a_thread(values: Iterable[object]) -> AsyncGenerator[object, None]:
    pulled = pumped(iter(values), ahead=AHEAD, closes_within_s=CLOSES_WITHIN_S)
    async with aclosing(pulled):
        try:
            async for value in pulled:
                yield value
        except Exception as error:  # a sqlite3 cursor's, which knows its thread
            error.add_note("raised by the prompts, which are read in a thread of their own")
            raise


def _row_of(value: object, index: int) -> Row:
    if isinstance(value, Prompt):
        return replace(value, index=index)
    return parse_row(value, index=index)
