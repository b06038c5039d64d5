"""One row of an output, as far as its values are what they should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.rows.output.render import dump_value, well_formed

TOKENS: Final = (
    "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip
_MOST: Final = 1e12
"""Beyond any count, price or time of a run."""
_LAST_SECOND: Final = 1e11
_STATUSES: Final = range(100, 1000)
_NAME_CHARS: Final = 120


@dataclass(slots=True)
class Row:
    """Numbers are finite; None is unknown."""

    id: str | int
    """Its own, else its place in the file."""
    model: str
    """`provider/model`."""
    text: str | None
    data: Any
    has_data: bool
    kind: str | None
    """Of its failure; None for an answer."""
    message: str
    status: int | None
    retryable: bool
    finish_reason: str | None
    usage: Mapping[str, int] | None
    cost_usd: float | None
    latency_s: float | None
    attempts: int
    finished_at: float | None
    fields: Mapping[str, Any] = field(repr=False)
    """The row as it is."""

    @property
    def is_unpriced(self) -> bool:
        """Whether its cost is unknown; what was never sent has cost nothing."""
        return self.cost_usd is None and not (self.kind is not None and not self.attempts)

    @property
    def maybe_billed(self) -> tuple[int, float | None]:
        """Attempts that may have been billed beside the cost, and the most that they cost."""
        unseen = self.fields.get("maybe_billed")
        if not isinstance(unseen, dict):
            return 0, 0.0
        attempts = number(unseen.get("attempts"))
        return int(attempts or 0), number(unseen.get("up_to"))

    @property
    def racers(self) -> Sequence[Mapping[str, Any]]:
        """Of the row's race; it stands in each outcome of the row, and counts in the first."""
        return _objects(self.fields.get("race")) if self.part == 1 else ()

    @property
    def part(self) -> int:
        """Which of the row's outcomes this is, from 1, as with --all."""
        part = self.fields.get("part")
        first = part[0] if isinstance(part, list) and part else 1
        return first if isinstance(first, int) else 1

    @property
    def failed_attempts(self) -> Sequence[Mapping[str, Any]]:
        return _objects(self.fields.get("failed_attempts"))

    @property
    def is_empty(self) -> bool:
        """Whether an answer says nothing."""
        others = ("tool_calls", "images", "audio", "data")
        return not (self.text or "").strip() and not any(self.fields.get(name) for name in others)


def row_of(fields: Mapping[str, Any], place: int) -> Row:
    """The row; `place` is its number in the file, from 0."""
    own_id, error, usage = fields.get("id"), fields.get("error"), fields.get("usage")
    if own_id is None or isinstance(own_id, bool) or not isinstance(own_id, str | int):
        own_id = index if isinstance(index := fields.get("index"), int) else place
    failed = error is not None
    said = error if isinstance(error, dict) else {"message": error}
    attempts = fields.get("attempts")
    finished_at = number(fields.get("finished_at"))
    return Row(
        id=own_id,
        model=model_of(fields),
        text=text if isinstance(text := fields.get("text"), str) else None,
        data=fields.get("data"),
        has_data="data" in fields,
        kind=name(said.get("type") or "unknown") if failed else None,
        message=str(said.get("message") or "") if failed else "",
        status=status if (status := said.get("status")) in _STATUSES else None,
        retryable=said.get("retryable") is True,
        finish_reason=name(reason) if (reason := fields.get("finish_reason")) else None,
        usage=_usage(usage) if isinstance(usage, dict) else None,
        cost_usd=number(fields.get("cost")),
        latency_s=number(fields.get("latency")),
        attempts=attempts if isinstance(attempts, int) and 0 <= attempts <= _MOST else 1,
        finished_at=finished_at if finished_at and finished_at < _LAST_SECOND else None,
        fields=fields,
    )


def number(value: Any) -> float | None:
    """The value where it is a number that a run can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= _MOST else None


def name(value: Any) -> str:
    """A short name that a row gives, fit to be shown."""
    return _name(str(value)[: _NAME_CHARS + 1])


@lru_cache(4_096)
def _name(text: str) -> str:
    return " ".join(shown(text, _NAME_CHARS).split())


def model_of(fields: Mapping[str, Any]) -> str:
    """`provider/model`, as far as it is known."""
    model, provider = fields.get("model"), fields.get("provider")
    return name("/".join(str(one) for one in (provider, model) if one)) or "unknown"


def shown(text: str, max_chars: int) -> str:
    """The text without power over whoever shows it, cut where it is too long; lines are kept."""
    cut = len(text) > max_chars
    text = well_formed(clean_for_terminal(text[: max_chars - 1] if cut else text))
    return f"{text}…" if cut else text


def answer_text(row: Row) -> str:
    """What the row answers, as text: its data, its text, its tool calls."""
    if row.has_data and row.data is not None and not row.text:
        return dump_value(row.data).decode()
    if row.text:
        return row.text
    calls = row.fields.get("tool_calls")
    return dump_value(calls).decode() if calls else ""


def _usage(usage: Mapping[str, Any]) -> Mapping[str, int]:
    return {one: int(count) for one in TOKENS if (count := number(usage.get(one))) is not None}


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()
