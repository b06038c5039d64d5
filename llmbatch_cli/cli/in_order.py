"""Formats whose lines do not name their row: they say it by their place."""

from typing import Final

from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Failure, Outcome
from llmbatch_cli.drivers.delivery import Render

NOT_ANSWERED: Final = Failure("not_answered", "the run ended before this row")


class InOrder:
    """Renders outcomes that come in input order, and failures in the place of missing ones.

    So line N of `--format text` stays the answer to row N also where the run was interrupted.
    """

    def __init__(self, render: Render, *, text: bool, one_line: bool) -> None:
        self._render = render
        self._text = text
        self._one_line = one_line
        self._next = 0
        self._folded = 0
        self._silent = 0

    def __call__(self, outcome: Outcome) -> bytes:
        """The outcome, with all that is missing before it."""
        missing = range(self._next, outcome.index)
        self._next = outcome.index + 1
        lines = [self._render(_missing(index)) for index in missing]
        if outcome.completion is not None:
            self._folded += "\n" in (outcome.text or "")
            self._silent += outcome.text is None
        return b"".join((*lines, self._render(outcome)))

    @property
    def notice(self) -> str | None:
        """What of the answers the text does not show."""
        if not self._text:
            return None
        notes = []
        if self._folded and not self._one_line and self._next > 1:
            has = "has" if self._folded == 1 else "have"
            answers = format_count(self._folded, "answer")
            notes.append(f"{answers} {has} several lines (--one-line writes one line per row)")
        if self._silent:
            have = "has" if self._silent == 1 else "have"
            answers = format_count(self._silent, "answer")
            notes.append(f"{answers} {have} no text but tool calls (--format jsonl shows them)")
        return "; ".join(notes) or None


def _missing(index: int) -> Outcome:
    return Outcome(index, index, None, None, None, NOT_ANSWERED)
