"""How the models of a race have fared, in numbers and as a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmbatch_cli.core.events import Event, Finished
from llmbatch_cli.core.types import Racer
from llmbatch_cli.ui.report import format_count, format_duration
from llmbatch_cli.ui.text import clean

REMEMBERED: Final = 100_000
"""Times a model that its median and p95 are taken of; later ones are not kept."""

HEADINGS: Final = ("model", "wins", "races", "median", "p95", "failed", "cancelled", "tokens")
SPARED: Final = ("cancelled", "races", "tokens")
"""Columns that a narrow terminal does without, in this order."""
SHORTEST_NAME: Final = 12
GAP: Final = "  "


@dataclass(slots=True)
class Standing:
    """One model's races. Times are of its answers, good or not, that came to their end."""

    wins: int = 0
    races: int = 0
    failed: int = 0
    cancelled: int = 0
    cut: int = 0
    """Those of `cancelled` whose request was on the way."""
    tokens: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def add(self, racer: Racer) -> None:
        self.races += 1
        self.wins += racer.status == "won"
        self.failed += racer.status == "failed"
        self.cancelled += racer.status == "cancelled"
        self.cut += racer.cancelled_in_flight
        if racer.status in ("won", "lost") and len(self.latencies_s) < REMEMBERED:
            self.latencies_s.append(racer.latency_s)
        if racer.usage is not None:
            self.tokens += (racer.usage.prompt_tokens or 0) + (racer.usage.completion_tokens or 0)

    def quantile_s(self, share: float) -> float | None:
        """The time within which this share of the answers was there; None without any."""
        if not self.latencies_s:
            return None
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Standings:
    """An observer that counts races, by model."""

    def __init__(self) -> None:
        self.models: dict[str, Standing] = {}
        self._last: Sequence[Racer] = ()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Finished) or not event.outcome.race:
            return
        race = event.outcome.race
        if race is self._last:  # a further winner of the same race
            return
        self._last = race
        seen: Counter[str] = Counter()
        for racer in race:
            name = f"{racer.provider}/{racer.model}"
            seen[name] += 1
            if seen[name] > 1:  # a model that races against itself
                name = f"{name} ({seen[name]})"
            self.models.setdefault(name, Standing()).add(racer)

    @property
    def cut(self) -> int:
        """Requests that were cancelled on their way, as another was faster: maybe billed."""
        return sum(standing.cut for standing in self.models.values())

    def rows(self) -> list[tuple[str, ...]]:
        """One row of texts a model, the most wins first, in the order of HEADINGS."""
        ranked = sorted(self.models.items(), key=lambda item: (-item[1].wins, item[0]))
        return [
            (
                name,
                format_count(one.wins),
                format_count(one.races),
                _time(one.quantile_s(0.5)),
                _time(one.quantile_s(0.95)),
                format_count(one.failed),
                format_count(one.cancelled),
                format_count(one.tokens),
            )
            for name, one in ranked
        ]


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def as_lines(standings: Standings, columns: int | None = None) -> list[str]:
    """The standings as aligned columns.

    Args:
        standings: of at least one model.
        columns: of the terminal; None for a pipe or a file, which has room for everything.
            A narrow terminal goes without the columns SPARED and the ends of long names.
    """
    table = [HEADINGS, *([clean(row[0], 200), *row[1:]] for row in standings.rows())]
    by_column = dict(zip(HEADINGS, zip(*table, strict=True), strict=True))
    if columns is not None:
        _fit(by_column, columns)
    texts = [_aligned(name, column) for name, column in by_column.items()]
    lines = [GAP.join(cells).rstrip() for cells in zip(*texts, strict=True)]
    if columns is not None:
        lines.insert(1, "-" * max(map(len, lines)))
    return lines


def _fit(by_column: dict[str, tuple[str, ...]], columns: int) -> None:
    for name in SPARED:
        if _width(by_column) > columns:
            del by_column[name]
    models = by_column["model"]
    room = max(SHORTEST_NAME, columns - _width(by_column) + max(map(len, models)))
    by_column["model"] = tuple(clean(model, room) for model in models)


def _width(by_column: dict[str, tuple[str, ...]]) -> int:
    widths = [max(map(len, column)) for column in by_column.values()]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _aligned(name: str, column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    return [text.ljust(width) if name == "model" else text.rjust(width) for text in column]
