"""What was read of each row beside its answer: `--include-input`, and the columns of a table."""

from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, NamedTuple, Protocol

import orjson

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.types import Message, Outcome, Prompt, Row
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.output.render import dump

_NOWHERE: Final = 2**64 - 1


class Given(NamedTuple):
    """What an outcome is given of its row."""

    messages: Sequence[Message] | None
    """Only where they are asked for; none of a row that could not be read."""
    fields: Mapping[str, Any] | None


class _Store(Protocol):
    """By the rows' indexes."""

    def put(self, index: int, given: Given) -> None:
        """Keep it."""

    def get(self, index: int) -> Given | None:
        """What was kept."""

    def forget(self, index: int) -> None:
        """It is not needed any more."""

    def close(self) -> None:
        """Nothing is."""


class _InMemory:
    """For rows that are answered soon."""

    def __init__(self) -> None:
        self._given: dict[int, Given] = {}

    def put(self, index: int, given: Given) -> None:
        self._given[index] = given

    def get(self, index: int) -> Given | None:
        return self._given.get(index)

    def forget(self, index: int) -> None:
        self._given.pop(index, None)

    def close(self) -> None:
        self._given.clear()


class _OnDisk:
    """For millions of rows that wait for hours: 8 bytes of memory each.

    The file has no name, so nothing is left of it after a kill.
    """

    def __init__(self, output: Path) -> None:
        """The file lies beside `output`. Raises OutputError where it cannot be made."""
        self._folder = output.parent
        self._places = array("Q")
        self._end = 0
        self._is_at_end = True
        try:
            self._file = TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._failed(error) from error

    def put(self, index: int, given: Given) -> None:
        line = dump(given._asdict())
        try:
            if not self._is_at_end:
                self._file.seek(self._end)
                self._is_at_end = True
            self._file.write(line)
        except OSError as error:
            raise self._failed(error) from error
        while len(self._places) <= index:
            self._places.append(_NOWHERE)
        self._places[index] = self._end
        self._end += len(line)

    def get(self, index: int) -> Given | None:
        if index >= len(self._places) or self._places[index] == _NOWHERE:
            return None
        try:
            self._is_at_end = False
            self._file.seek(self._places[index])
            line = self._file.readline()
        except OSError as error:
            raise self._failed(error) from error
        return Given(**with_big_ints(orjson.loads(line), line))

    def forget(self, index: int) -> None:
        """The file goes as a whole."""

    def close(self) -> None:
        self._file.close()

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot keep the rows' fields until they are answered: {error.strerror or error}",
            hint=f"free some disk space in {self._folder}, then --resume",
        )


class WithInput:
    """Remembers rows from their reading until their outcome is written."""

    def __init__(self, output: Path | None, *, messages: bool) -> None:
        """
        Args:
            output: beside which they are kept on the disk, as they wait for hours; None keeps
                them in memory.
            messages: whether outcomes get the messages too, not only the fields.
        """
        self._messages = messages
        self._store: _Store = _InMemory() if output is None else _OnDisk(output)

    async def rows(self, rows: AsyncGenerator[Row, None]) -> AsyncGenerator[Row, None]:
        """The rows, remembered as they were read: files by their names."""
        async with aclosing(rows):
            async for row in rows:
                self._store.put(row.index, self._given(row))
                yield row

    def _given(self, row: Row) -> Given:
        messages: Sequence[Message] | None = None
        if self._messages:
            messages = row.messages if isinstance(row, Prompt) else ()
        return Given(messages, fields_of(row))

    def rendering(self, render: Callable[[Outcome], bytes]) -> Callable[[Outcome], bytes]:
        """Renders outcomes that have been given what was read of their rows."""

        def rendered(outcome: Outcome) -> bytes:
            self.add(outcome)
            return render(outcome)

        return rendered

    def forget(self, index: int) -> None:
        """The row is not sent."""
        self._store.forget(index)

    def add(self, outcome: Outcome) -> None:
        """Give the outcome what was read of its row."""
        number, of = outcome.part
        given = self._store.get(outcome.index)
        if given is None:
            given = Given(() if self._messages else None, None)
        outcome.input, outcome.fields = given
        if number == of:
            self.forget(outcome.index)

    def close(self) -> None:
        """No row is awaited any more."""
        self._store.close()


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
