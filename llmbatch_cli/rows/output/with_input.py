"""What was read of each row beside its answer: `--include-input`, and the columns of a table."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from llmbatch_cli.core.types import Outcome, Prompt, Row


class WithInput:
    """Remembers rows from their reading until their outcome is written."""

    def __init__(self, *, messages: bool) -> None:
        """`messages`: whether outcomes get the messages too, not only the fields."""
        self._messages = messages
        self._rows: dict[int, Row] = {}

    async def rows(self, rows: AsyncGenerator[Row, None]) -> AsyncGenerator[Row, None]:
        """The rows, remembered as they were read: files by their names."""
        async with aclosing(rows):
            async for row in rows:
                self._rows[row.index] = row
                yield row

    def rendering(self, render: Callable[[Outcome], bytes]) -> Callable[[Outcome], bytes]:
        """Renders outcomes that have been given what was read of their rows."""

        def rendered(outcome: Outcome) -> bytes:
            self.add(outcome)
            return render(outcome)

        return rendered

    def forget(self, index: int) -> None:
        """The row is not sent."""
        self._rows.pop(index, None)

    def add(self, outcome: Outcome) -> None:
        """Give the outcome what was read of its row."""
        number, of = outcome.part
        row = self._rows.get(outcome.index)
        if self._messages:
            outcome.input = row.messages if isinstance(row, Prompt) else ()
        outcome.fields = None if row is None else fields_of(row)
        if number == of:
            self.forget(outcome.index)


def fields_of(row: Row) -> Mapping[str, Any] | None:
    """The row's fields as they were read, and which answer to it this is; a text or a list is its
    prompt."""
    value: Mapping[str, Any]
    if isinstance(row.value, Mapping):
        value = row.value
    elif isinstance(row.value, str):
        value = {"prompt": row.value}
    elif isinstance(row.value, list):
        value = {"messages": row.value}
    else:
        return None
    if row.repeat is None:
        return value
    name = "repeat" if "repeat" not in value else "repeat_2"
    return {**value, name: row.repeat}
