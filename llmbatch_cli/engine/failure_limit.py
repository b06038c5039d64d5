"""Ends a run that no longer makes sense: too many failures, or nothing but failures."""

import re
from typing import Final, Self

from llmbatch_cli.core.errors import RunStopped, UsageError
from llmbatch_cli.core.events import Event, Finished, Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.core.types import Failure, Outcome
from llmbatch_cli.engine.run import Stop

MIN_ROWS: Final = 20
"""A share of failed rows is not judged on fewer rows."""
ALL_FAILED: Final = 50
"""So many failures in a row, without one answer between, and the provider is taken for dead."""
PROVIDERS_FAULT: Final = frozenset(
    (
        *("unreachable", "interrupted", "overloaded", "rate_limited", "timed_out", "bad_reply"),
        "unauthorized",
    )
)
"""Failures that no row is to blame for. A 403 for a revoked key alone stops no run, so
unauthorized is among them."""
ALIKE: Final = 20
"""So many rows that have failed with the same words, and not one answer before: what is wrong is
not the rows'."""
SUSPECT: Final = frozenset(("rejected", "unknown_model", "unknown_path", "bad_reply"))
"""Failures that may be a row's fault or that of the whole run: a parameter, the model, the URL."""
_VARIES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\w*\d\w*")
"""What may differ from row to row in the same message: quoted text, numbers, identifiers."""


@frozen
class FailureLimit:
    """How many rows may fail. None is no limit."""

    rows: int | None = None
    share: float | None = None
    """Of the rows so far, from 0 to 1; judged from MIN_ROWS rows on."""
    in_a_row: int = ALL_FAILED
    """Rows that fail one after the other by the provider's own fault."""

    @classmethod
    def parse(cls, value: str | int | None) -> Self:
        """`20` or `5%`, as --max-errors has it; None is no limit. Raises UsageError."""
        text = "" if value is None else str(value)
        try:
            if value is None:
                return cls()
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 <= share < 1:
                    return cls(share=share)
            elif (rows := int(text)) >= 1:
                return cls(rows=rows)
        except ValueError:
            pass
        raise UsageError(
            f"--max-errors {text!r} is not a number of rows or a percentage",
            hint="as in --max-errors 100 or --max-errors 5%",
        )


class Breaker:
    """An observer that drains the run once its failure limit is reached.

    `error` then says why. Rows that cannot be read count as failed. It passes all events on.
    """

    def __init__(self, limit: FailureLimit, stop: Stop, observe: Observer = ignore) -> None:
        self.error: RunStopped | None = None
        self._limit = limit
        self._stop = stop
        self._observe = observe
        self._rows = 0
        self._failed = 0
        self._in_a_row = 0
        self._answered = False
        self._alike = 0
        self._words = ""
        """What the last of them have in common."""

    def __call__(self, event: Event) -> None:
        self._observe(event)
        if type(event) is not Finished or self.error is not None:
            return
        self._rows += 1
        failure = event.outcome.error
        if failure is None:
            self._in_a_row, self._answered = 0, True
            return
        self._failed += 1
        if failure.kind in PROVIDERS_FAULT:
            self._in_a_row += 1
        if not self._answered and event.outcome.part[0] == 1:
            self._compare(event.outcome, failure)
        if (reason := self._reason()) is not None:
            message = without_prompt(failure.message, failure.messages)
            self.error = RunStopped(
                f"{reason}; the last one: {failure.kind}: {message}",
                hint=_ALIKE_HINT
                if self._alike >= ALIKE
                else "--resume goes on with the rows that are left",
            )
            self._stop.drain(self.error)

    def _compare(self, outcome: Outcome, failure: Failure) -> None:
        """Count the rows that fail as the one before did; unreadable ones do not matter."""
        if failure.kind == "invalid_row":
            return
        kinds = {one.error.kind for one in outcome.race if one.error is not None} or {failure.kind}
        words = _VARIES.sub("", failure.message)
        self._alike = (self._alike + 1 if words == self._words else 1) * (kinds <= SUSPECT)
        self._words = words

    def _reason(self) -> str | None:
        limit = self._limit
        if limit.rows is not None and self._failed >= limit.rows:
            return f"{self._failed:,} rows failed (--max-errors {limit.rows})"
        share = self._failed / self._rows
        if limit.share is not None and self._rows >= MIN_ROWS and share > limit.share:
            return (
                f"{self._failed:,} of {self._rows:,} rows failed "
                f"(--max-errors {limit.share * 100:g}%)"
            )
        if self._in_a_row >= limit.in_a_row:
            return f"{self._in_a_row:,} rows failed one after the other"
        if self._alike >= ALIKE and limit == FailureLimit(in_a_row=limit.in_a_row):
            return f"{self._alike:,} rows failed alike, and none was answered"
        return None


_ALIKE_HINT: Final = (
    "mend what the message names, such as a parameter or the model, then --resume; "
    "--max-errors 1000 goes on regardless"
)
