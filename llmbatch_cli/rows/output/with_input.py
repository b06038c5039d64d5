"""`--include-input`: each row's messages beside its answer."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from llmbatch_cli.core.types import Message, Outcome, Prompt, Row


class WithInput:
    """Remembers the messages of rows from their reading until their outcome is written."""

    def __init__(self) -> None:
        self._messages: dict[int, Sequence[Message]] = {}

    async def rows(self, rows: AsyncGenerator[Row, None]) -> AsyncGenerator[Row, None]:
        """The rows, their messages remembered as they were read: files by their names."""
        async with aclosing(rows):
            async for row in rows:
                if isinstance(row, Prompt):
                    self._messages[row.index] = row.messages
                yield row

    def forget(self, index: int) -> None:
        """The row is not sent."""
        self._messages.pop(index, None)

    def add(self, outcome: Outcome) -> None:
        """Give the outcome its row's messages; a row that could not be read has none."""
        number, of = outcome.part
        outcome.input = self._messages.get(outcome.index, ())
        if number == of:
            self.forget(outcome.index)
