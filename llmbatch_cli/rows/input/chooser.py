"""Choosing among rows as they come. No I/O."""

import random
from collections.abc import Container, Iterator
from dataclasses import replace

from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.input.choose import Choice


def sampled(rows: int, size: int) -> Container[int]:
    """So many of these places, or all, always the same ones."""
    if size >= rows:
        return range(rows)
    return frozenset(random.Random(0).sample(range(rows), size))


class Chooser:
    """Chooses among rows as they come, and numbers them anew.

    A row without an id of its own keeps its place in the input as its id.
    """

    def __init__(
        self, choice: Choice, limit: int | None, sample: Container[int] | None = None
    ) -> None:
        """`limit`: the most rows after the offset; `sample`: the places of those that are taken."""
        self._choice = choice
        self._sample = sample
        self._end = None if limit is None else choice.offset + limit
        self._seen = 0
        self._index = 0

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
        if place >= 0 and (self._sample is None or place in self._sample):
            for one in repeated(row, self._choice.repeat, self._index):
                self._index += 1
                yield one


def repeated(row: Row, times: int, index: int) -> Iterator[Row]:
    """The row so many times, or once where it cannot be read, numbered from `index`."""
    if times == 1 or isinstance(row, BadRow):
        row.index = index
        yield row
        return
    for number in range(1, times + 1):
        yield replace(row, index=index + number - 1, repeat=number)
