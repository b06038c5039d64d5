"""Rows from Python values, pulled as they are needed."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Observer, ignore
from llmbatch_cli.core.types import Prompt, Row
from llmbatch_cli.rows.input.first_rows import FirstRows
from llmbatch_cli.rows.input.misspelt import Misspelt
from llmbatch_cli.rows.input.parse import parse_value
from llmbatch_cli.rows.input.pump import pumped

AHEAD: Final = 64
"""Values that may be pulled before there is room for them."""
CLOSES_WITHIN_S: Final = 1.0

Values = Iterable[object] | AsyncIterable[object]


def from_values(values: Values, observe: Observer = ignore) -> AsyncGenerator[Row, None]:
    """Yield a row for each text, list of messages, mapping or Prompt, pulled as needed.

    All but a list or tuple is pulled in a thread of its own, as each step may take its time, and
    an async iterable in the loop. Generators are closed at the end.

    A Prompt keeps everything but its index. Raises UsageError for a single prompt, and where the
    first twenty are all invalid alike.
    """
    if isinstance(values, str | bytes | Mapping | Prompt):
        raise UsageError("prompts is one prompt, but must be several", hint="put it in a list")
    return _from_values(values, _Beginning(isinstance(values, list | tuple), observe))


class _Beginning:
    """Looks at the first rows, and at fields that are misspelt parameters."""

    def __init__(self, may_hold: bool, observe: Observer) -> None:
        self._may_hold = may_hold
        self._first, self._misspelt = FirstRows(), Misspelt(observe)
        self.release = self._first.release

    def rows_of(self, value: object, index: int) -> Iterable[Row]:
        """The rows to go on with: the value's own, and those held back before it."""
        row = _row_of(value, index)
        if row.metadata:
            self._misspelt.look_at(row)
        if not self._first.are_invalid:
            return (row,)
        return self._first.taken([row], may_hold=self._may_hold)


async def _from_values(values: Values, beginning: _Beginning) -> AsyncGenerator[Row, None]:
    index = 0
    if isinstance(values, list | tuple):
        for index, value in enumerate(values):
            for row in beginning.rows_of(value, index):
                yield row
        for row in beginning.release():
            yield row
        return
    async with AsyncExitStack() as stack:
        if not isinstance(values, AsyncIterable):
            values = _in_a_thread(values)
        if isinstance(values, AsyncGenerator):  # an early end cancels what it awaits
            await stack.enter_async_context(aclosing(values))
        async for value in values:
            for row in beginning.rows_of(value, index):
                yield row
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
    return parse_value(value, index=index)
