"""The rows that a page shows one by one: the first, and those that failed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.report.figures import shown_id
from llmbatch_cli.report.row import Row, answer_text, shown
from llmbatch_cli.rows.output.render import dump_value

FIRST_ROWS: Final = 1_000
MOST_FAILURES: Final = 5_000
"""Of those behind the first rows."""
_MOST_CHARS: Final = 16 * 2**20
"""Of all texts together."""
_ANSWER_CHARS: Final = 4_000
_OTHER_CHARS: Final = 1_000


class Gallery:
    """Takes the rows of an output one by one, and keeps those to be looked at."""

    def __init__(self, first_rows: int = FIRST_ROWS, most_failures: int = MOST_FAILURES) -> None:
        self._first_rows = first_rows
        self._failures_left = most_failures
        self._chars_left = _MOST_CHARS
        self._taken = 0
        self.left_out_failures = 0
        self.rows: list[Mapping[str, Any]] = []

    def add(self, row: Row) -> None:
        """Keep the row if it is one to be looked at."""
        self._taken += 1
        is_first = self._taken <= self._first_rows
        if not is_first and row.kind is None:
            return
        if self._chars_left <= 0 or not (is_first or self._failures_left):
            self.left_out_failures += row.kind is not None
            return
        self._failures_left -= not is_first
        shown_row = _shown(row)
        self._chars_left -= sum(len(one) for one in shown_row.values() if isinstance(one, str))
        self.rows.append(shown_row)

    def says(self) -> str:
        """Which rows these are."""
        if self._taken == len(self.rows) == 1:
            return "The only row."
        if self._taken == len(self.rows):
            return f"All {self._taken:,} rows."
        failures = sum(row["status"] == "failed" for row in self.rows)
        first = min(self._taken, self._first_rows, len(self.rows))
        said = f"The first {first:,} of {self._taken:,} rows, and "
        if self.left_out_failures:
            return f"{said}{failures:,} of {failures + self.left_out_failures:,} that failed."
        return f"{said}all {failures:,} that failed."


def _shown(row: Row) -> Mapping[str, Any]:
    """A row as the page's script has it; texts are cut, and have no power over a reader."""
    usage = row.usage or {}
    found: dict[str, Any] = {
        "id": shown_id(row.id),
        "model": row.model,
        "status": "answered" if row.kind is None else "failed",
        "reason": row.kind or row.finish_reason or "unknown",
        "text": shown(answer_text(row), _ANSWER_CHARS),
        "tokens": usage.get("completion_tokens"),
        "usd": row.cost_usd,
        "latency": row.latency_s,
        "attempts": row.attempts,
    }
    details = {
        "error": row.message,
        "prompt": _prompt(row.fields),
        "reasoning": _as_text(row.fields.get("reasoning")),
        "data": _as_text(row.data) if row.has_data and row.text else "",
    }
    found.update({name: shown(text, _OTHER_CHARS) for name, text in details.items() if text})
    return found


def _prompt(fields: Mapping[str, Any]) -> str:
    """The last message of the row's input, where it was written."""
    messages = fields.get("input")
    if isinstance(messages, Sequence) and messages and isinstance(messages[-1], Mapping):
        return _as_text(messages[-1].get("content"))
    return ""


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dump_value(value).decode()
