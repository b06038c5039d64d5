"""Ends a run that no longer makes sense: too many failures, or nothing but failures."""

from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import RunStopped, UsageError
from llmbatch_cli.core.events import Event, Finished
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.engine.run import Stop

FEWEST_ROWS: Final = 20
"""A share of errors is not judged on fewer rows."""
ALL_FAILED: Final = 50
"""So many rows in a row without one answer, and the provider is taken for dead."""
PROVIDERS_FAULT: Final = frozenset(
    ("unreachable", "interrupted", "overloaded", "timed_out", "bad_reply", "unauthorized")
)
"""What speaks of no row; a revoked key may be refused by a 403, which alone stops no run."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many rows may fail. None is no limit."""

    rows: int | None = None
    share: float | None = None
    """Of the rows so far, from 0 to 1; judged from FEWEST_ROWS rows on."""
    in_a_row: int = ALL_FAILED
    """Rows that fail one after the other by the provider's own fault."""

    @classmethod
    def parse(cls, value: str | int | None) -> "FailureLimit":
        """`20`, `"20"` or `"5%"`; None is no limit. Raises UsageError."""
        if value is None:
            return cls()
        text = str(value)
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if not 0 <= share < 1:
                    raise ValueError
                return cls(share=share)
            if (rows := int(text)) < 1:
                raise ValueError
            return cls(rows=rows)
        except ValueError as error:
            raise UsageError(
                f"--max-errors {text!r} is not a number of rows or a percentage",
                hint="as in --max-errors 100 or --max-errors 5%",
            ) from error


class Breaker:
    """An observer that drains the run once its tolerance is used up.

    `error` then says why. Rows that cannot be read count as failed.
    """

    def __init__(self, tolerance: FailureLimit, stop: Stop) -> None:
        self.error: RunStopped | None = None
        self._tolerance = tolerance
        self._stop = stop
        self._rows = 0
        self._failed = 0
        self._in_a_row = 0

    def __call__(self, event: Event) -> None:
        if type(event) is not Finished or self.error is not None:
            return
        self._rows += 1
        failure = event.outcome.error
        if failure is None:
            self._in_a_row = 0
            return
        self._failed += 1
        if failure.kind in PROVIDERS_FAULT:
            self._in_a_row += 1
        if (reason := self._reason()) is not None:
            message = without_prompt(failure.message, failure.asked)
            told = f"{reason}; the last one: {failure.kind}: {message}"
            self.error = RunStopped(told, hint="--resume goes on with the rows that are left")
            self._stop.drain()

    def _reason(self) -> str | None:
        allowed = self._tolerance
        if allowed.rows is not None and self._failed >= allowed.rows:
            return f"{self._failed:,} rows have failed (--max-errors {allowed.rows})"
        share = self._failed / self._rows
        if allowed.share is not None and self._rows >= FEWEST_ROWS and share > allowed.share:
            return (
                f"{self._failed:,} of {self._rows:,} rows have failed "
                f"(--max-errors {allowed.share * 100:g}%)"
            )
        if self._in_a_row >= allowed.in_a_row:
            return f"{self._in_a_row:,} rows one after the other have failed"
        return None
