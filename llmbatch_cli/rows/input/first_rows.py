"""An input whose first rows are all invalid in the same way ends the run before it begins."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import BadRow, Row

ALIKE: Final = 20
_OF_ONE_ROW: Final = re.compile(r"[:;(]| has |, not |\d")
"""Where a reason begins to speak of its row alone."""


class FirstRows:
    """Holds rows back while all are invalid alike: where the input has another field for its
    prompts, a million error rows help nobody."""

    def __init__(self) -> None:
        self.are_invalid = True
        """Whether all rows so far are invalid alike."""
        self._held: list[Row] = []
        self._count = 0
        self._kind: str | None = None
        self._first: BadRow | None = None

    def taken(self, rows: Iterable[Row], *, may_hold: bool = True) -> Iterator[Row]:
        """The rows to go on with; all of these, unless they may be held.

        Raises UsageError at the last of ALIKE rows.
        """
        for row in rows:
            yield from self._take(row) if self.are_invalid else (row,)
        if not may_hold:  # whoever writes the input may wait for their outcomes
            yield from self.release()

    def _take(self, row: Row) -> Sequence[Row]:
        if isinstance(row, BadRow) and self._kind in (None, kind := _kind_of(row.reason)):
            self._kind, self._first = kind, self._first or row
            self._count += 1
            self._held.append(row)
            if self._count < ALIKE:
                return ()
            first = self._first or row
            raise UsageError(
                f"the first {ALIKE} rows are all invalid, so nothing was sent; "
                f"{first.place}: {first.reason}"
            )
        self.are_invalid = False
        return [*self.release(), row]

    def release(self) -> Sequence[Row]:
        """The rows held back, which are held no longer."""
        held, self._held = self._held, []
        return held


def _kind_of(reason: str) -> str:
    return _OF_ONE_ROW.split(reason)[0]
