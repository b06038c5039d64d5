"""The figures of a run, of one pass over its rows, in memory that does not grow with them."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.report.row import TOKENS, Row, answer_text, model_of, number, shown
from llmbatch_cli.report.sketch import Timeline

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
EXAMPLES: Final = 3
TOP_ROWS: Final = 10
MOST_NAMES: Final = 100
"""Of models, kinds of failures, finish reasons; what is beyond is counted as OTHERS."""
OTHERS: Final = "(others)"
_EXCERPT_CHARS: Final = 160
_QUOTED_CHARS: Final = 600


class Named(dict[str, Any]):
    """Counters by name, as many as there is room for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._make = make

    def of(self, name: str) -> Any:
        """The counter of this name."""
        if name not in self:
            if len(self) >= MOST_NAMES:
                name = OTHERS
            self.setdefault(name, self._make())
        return self[name]


class Top:
    """The rows with the highest values."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Mapping[str, Any]]] = []
        self._order = itertools.count()

    def offer(self, value: float | None, row: Row) -> None:
        """Keep the row if its value is among the highest so far."""
        if not value or (len(self._heap) == TOP_ROWS and value <= self._heap[0][0]):
            return
        entry = (value, -next(self._order), _brief(row))
        if len(self._heap) < TOP_ROWS:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def rows(self) -> list[Mapping[str, Any]]:
        """The highest first."""
        return [brief for _, _, brief in sorted(self._heap, key=lambda entry: entry[:2])[::-1]]


@dataclass(slots=True)
class _Failures:
    count: int = 0
    retryable: bool = False
    statuses: set[int] = field(default_factory=set)
    examples: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.count += 1
        self.retryable |= row.retryable
        if row.status is not None and len(self.statuses) < EXAMPLES:
            self.statuses.add(row.status)
        if len(self.examples) < EXAMPLES:
            self.examples.append(
                {"id": shown_id(row.id), "message": shown(row.message, _QUOTED_CHARS)}
            )


@dataclass(slots=True)
class _Model:
    rows: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    tokens: int = 0
    latencies: Quantiles = field(default_factory=lambda: Quantiles(10_000))

    def add(self, row: Row, tokens: int) -> None:
        self.rows += 1
        self.failed += row.kind is not None
        self.cost_usd += row.cost_usd or 0.0
        self.unpriced += row.is_unpriced
        self.tokens += tokens
        if row.kind is None and row.latency_s is not None:
            self.latencies.add(row.latency_s)


@dataclass(slots=True)
class _Racer:
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: Quantiles = field(default_factory=lambda: Quantiles(10_000))

    def add(self, racer: Mapping[str, Any]) -> None:
        status = racer.get("status")
        self.statuses[status if status in ("won", "lost", "cancelled") else "failed"] += 1
        latency_s = number(racer.get("latency"))
        if status in ("won", "lost") and latency_s is not None and not racer.get("cached"):
            self.latencies.add(latency_s)


class Figures:
    """Takes the rows of an output one by one."""

    def __init__(self) -> None:
        self.rows = 0
        self.failed = 0
        self._counts: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._cost_usd = 0.0
        self._unseen_usd = 0.0
        self._latencies = Quantiles()
        self._timeline = Timeline()
        self._first_s: float | None = None
        self._last_s: float | None = None
        self._reasons = Named(Counter)
        self._failures = Named(_Failures)
        self._models = Named(_Model)
        self._racers = Named(_Racer)
        self._slowest, self._dearest = Top(), Top()

    def add(self, row: Row) -> None:
        """Take one more row into account."""
        self.rows += 1
        self._add_state(row)
        tokens = self._add_tokens(row)
        self._add_cost(row)
        self._add_times(row, tokens)
        self._add_attempts(row)
        self._models.of(row.model).add(row, tokens)
        for racer in row.racers:
            self._racers.of(model_of(racer)).add(racer)

    def _add_state(self, row: Row) -> None:
        counts = self._counts
        if row.kind is not None:
            self.failed += 1
            counts["invalid_output"] += row.kind == "invalid_output"
            self._failures.of(row.kind).add(row)
            return
        self._reasons.of(row.finish_reason or "unknown")["rows"] += 1
        counts["truncated"] += row.finish_reason == "length"
        counts["empty"] += row.is_empty
        counts["with_data"] += row.has_data
        counts["repaired"] += row.fields.get("repaired") is True

    def _add_tokens(self, row: Row) -> int:
        """The row's tokens in and out."""
        usage = row.usage
        if usage is None:
            self._counts["unknown_usage"] += row.kind is None
            return 0
        if row.fields.get("cached") is True:  # they were used by an earlier run
            return 0
        self._tokens.update(usage)
        return usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)

    def _add_cost(self, row: Row) -> None:
        self._counts["unpriced"] += row.is_unpriced
        self._counts["priced"] += row.cost_usd is not None
        self._cost_usd += row.cost_usd or 0.0
        self._dearest.offer(row.cost_usd, row)
        attempts, up_to = row.maybe_billed
        self._counts["unseen"] += attempts
        if up_to is None:
            self._counts["unseen_unpriced"] += attempts
        else:
            self._unseen_usd += up_to

    def _add_times(self, row: Row, tokens: int) -> None:
        if row.kind is None and row.latency_s is not None and row.attempts:
            self._latencies.add(row.latency_s)
            self._slowest.offer(row.latency_s, row)
        at_s = row.finished_at
        if at_s is None:
            self._counts["without_time"] += 1
            return
        failed = row.kind is not None
        self._timeline.add(at_s, not failed, failed, tokens)
        began_s = at_s - (row.latency_s or 0)
        self._first_s = began_s if self._first_s is None else min(self._first_s, began_s)
        self._last_s = at_s if self._last_s is None else max(self._last_s, at_s)

    def _add_attempts(self, row: Row) -> None:
        counts, failed = self._counts, row.failed_attempts
        counts["attempts"] += row.attempts
        counts["retried"] += row.attempts > 1
        counts["cached"] += row.fields.get("cached") is True
        counts["fallback"] += row.fields.get("fallback_from") is not None
        unfit = row.kind is None and any(one.get("type") == "invalid_output" for one in failed)
        counts["fit_after_retry"] += unfit

    # Shown

    def as_json(self) -> dict[str, Any]:
        """All figures, as the page, the text and programs have them."""
        counts = self._counts
        return {
            "rows": self.rows,
            "answered": self.rows - self.failed,
            "failed": self.failed,
            **{name: counts[name] for name in ("truncated", "empty", "cached", "fallback")},
            "cost": {
                "usd": round(self._cost_usd, 10) if counts["priced"] else None,
                "unknown_rows": counts["unpriced"],
                "maybe_billed": {
                    "attempts": counts["unseen"],
                    "up_to": round(self._unseen_usd, 10),
                    "unknown_attempts": counts["unseen_unpriced"],
                },
            },
            "tokens": self._token_figures(),
            "attempts": {
                "sent": counts["attempts"],
                "rows_retried": counts["retried"],
            },
            "latency": _latency(self._latencies),
            "time": self._time(),
            "finish_reasons": _by_count({n: c["rows"] for n, c in self._reasons.items()}),
            "failures": self._failure_figures(),
            "schema": self._schema(),
            "models": self._model_figures(),
            "race": self._race(),
            "slowest": self._slowest.rows(),
            "dearest": self._dearest.rows(),
        }

    def _token_figures(self) -> dict[str, Any]:
        found = {name: self._tokens[name] for name in TOKENS if name in self._tokens}
        return {**found, "unknown_rows": self._counts["unknown_usage"]}

    def _time(self) -> dict[str, Any]:
        first, last = self._first_s, self._last_s
        elapsed_s = None if first is None or last is None else last - first
        timed = self.rows - self._counts["without_time"]
        return {
            "first": first,
            "last": last,
            "elapsed_s": elapsed_s,
            "rows_per_s": timed / elapsed_s if elapsed_s else None,
            "rows_without_time": self._counts["without_time"],
            "span_s": self._timeline.width_s,
            "points": self._timeline.points(),
        }

    def _failure_figures(self) -> list[dict[str, Any]]:
        ranked = sorted(self._failures.items(), key=lambda item: (-item[1].count, item[0]))
        return [
            {
                "type": kind,
                "count": found.count,
                "retryable": found.retryable,
                "statuses": sorted(found.statuses),
                "examples": found.examples,
            }
            for kind, found in ranked
        ]

    def _schema(self) -> dict[str, int] | None:
        names = ("with_data", "repaired", "fit_after_retry", "invalid_output")
        found = {name: self._counts[name] for name in names}
        return found if any(found.values()) else None

    def _model_figures(self) -> list[dict[str, Any]]:
        ranked = sorted(self._models.items(), key=lambda item: (-item[1].rows, item[0]))
        return [
            {
                "model": model,
                "rows": found.rows,
                "failed": found.failed,
                "tokens": found.tokens,
                "usd": None if found.unpriced == found.rows else round(found.cost_usd, 10),
                "unknown_cost_rows": found.unpriced,
                **dict(zip(("p50", "p95"), found.latencies.at(0.5, 0.95), strict=True)),
            }
            for model, found in ranked
        ]

    def _race(self) -> list[dict[str, Any]]:
        ranked = sorted(self._racers.items(), key=lambda item: (-item[1].statuses["won"], item[0]))
        return [
            {
                "model": model,
                "races": found.statuses.total(),
                **{one: found.statuses[one] for one in ("won", "lost", "cancelled", "failed")},
                **dict(zip(("p50", "p95"), found.latencies.at(0.5, 0.95), strict=True)),
            }
            for model, found in ranked
        ]


def figures_of(rows: Iterable[Row]) -> Figures:
    """The figures of all these rows."""
    found = Figures()
    for row in rows:
        found.add(row)
    return found


def shown_id(row_id: str | int) -> str:
    """A row's id, fit to be shown."""
    return " ".join(shown(str(row_id), _EXCERPT_CHARS).split())


def _latency(found: Quantiles) -> dict[str, Any]:
    return {
        "rows": found.count,
        **dict(zip(SHARES, found.at(*SHARES.values()), strict=True)),
        "mean": found.total / found.count if found.count else None,
        "max": found.most if found.count else None,
        "is_exact": found.is_exact,
        "histogram": found.histogram(),
    }


def _brief(row: Row) -> Mapping[str, Any]:
    text = row.message if row.kind is not None else answer_text(row)
    usage = row.usage or {}
    return {
        "id": shown_id(row.id),
        "model": row.model,
        "latency": row.latency_s,
        "usd": row.cost_usd,
        "completion_tokens": usage.get("completion_tokens"),
        "excerpt": " ".join(shown(text, _EXCERPT_CHARS).split()),
    }


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
