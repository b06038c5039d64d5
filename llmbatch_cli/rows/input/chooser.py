"""Choosing among rows as they come. No I/O."""

import random
from collections.abc import Iterator
from dataclasses import replace

from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.input.choose import Choice


class Chooser:
    """Chooses among rows as they come, and numbers them anew.

    A row without an id of its own keeps its place in the input as its id.
    """

    def __init__(self, choice: Choice, limit: int | None) -> None:
        """`limit`: the most rows after the offset."""
        self._choice = choice
        self._end = None if limit is None else choice.offset + limit
        self._seen = 0
        self._index = 0
        self._sampled: list[tuple[int, Row]] = []
        self._random = random.Random(0)

    @property
    def is_done(self) -> bool:
        """Whether no further row is wanted."""
        return self._seen == self._end

    def taken(self, row: Row) -> Iterator[Row]:
        """The rows to go on with after this one."""
        if self.is_done:
            return
        self._seen += 1
        place = self._seen - 1 - self._choice.offset
        if place < 0:
            return
        if self._choice.sample is None:
            yield from self._repeated(row)
        elif place < self._choice.sample:
            self._sampled.append((place, row))
        elif (other := self._random.randrange(place + 1)) < self._choice.sample:
            self._sampled[other] = (place, row)

    def rest(self) -> Iterator[Row]:
        """The rows that were held back, in the order of the input."""
        sampled, self._sampled = self._sampled, []
        for _, row in sorted(sampled, key=lambda one: one[0]):
            yield from self._repeated(row)

    def _repeated(self, row: Row) -> Iterator[Row]:
        times = self._choice.repeat
        if times == 1 or isinstance(row, BadRow):
            row.index = self._index
            self._index += 1
            yield row
            return
        for number in range(1, times + 1):
            yield replace(row, index=self._index, repeat=number)
            self._index += 1
