"""The results of the models of a race, in numbers and as a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmbatch_cli.core.events import Event, Finished
from llmbatch_cli.core.text import clean
from llmbatch_cli.core.types import Racer
from llmbatch_cli.ui.report import format_count, format_duration

REMEMBERED: Final = 100_000
"""Times kept per model for its median and p95; later ones are ignored."""

HEADINGS: Final = ("model", "wins", "races", "median", "p95", "failed", "cancelled", "tokens")
OPTIONAL: Final = ("cancelled", "races", "tokens")
"""Columns that a narrow terminal leaves out, in this order."""
_NAME_CHARS: Final = 200
SHORTEST_NAME: Final = 12
GAP: Final = "  "


@dataclass(slots=True)
class Standing:
    """One model's races. Times are of its complete answers, whether they won or not."""

    wins: int = 0
    races: int = 0
    failed: int = 0
    cancelled: int = 0
    cut: int = 0
    """Those of `cancelled` with a request in flight."""
    tokens: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def add(self, racer: Racer) -> None:
        self.races += 1
        self.wins += racer.status == "won"
        self.failed += racer.status == "failed"
        self.cancelled += racer.status == "cancelled"
        self.cut += racer.cut
        if racer.status in ("won", "lost") and len(self.latencies_s) < REMEMBERED:
            self.latencies_s.append(racer.latency_s)
        if racer.usage is not None:
            self.tokens += (racer.usage.prompt_tokens or 0) + (racer.usage.completion_tokens or 0)

    def quantile_s(self, share: float) -> float | None:
        """The time within which this share of the answers arrived; None without any."""
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
        """Requests cancelled in flight, as another model was faster; they may be billed."""
        return sum(standing.cut for standing in self.models.values())

    def rows(self) -> list[tuple[str, ...]]:
        """One row of texts per model, most wins first, with the columns of HEADINGS."""
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
            On a narrow terminal the columns OPTIONAL are left out and long names are cut.
    """
    cells = zip(HEADINGS, *standings.rows(), strict=True)
    table = {column[0]: list(column) for column in cells}
    table["model"] = [clean(name, _NAME_CHARS) for name in table["model"]]
    widths = {name: max(map(len, cells)) for name, cells in table.items()}
    if columns is not None:
        _narrow(widths, columns)
    texts = [_aligned(name, table[name], width) for name, width in widths.items()]
    lines = [GAP.join(cells).rstrip() for cells in zip(*texts, strict=True)]
    if columns is not None:
        lines.insert(1, "-" * max(map(len, lines)))
    return lines


def _narrow(widths: dict[str, int], columns: int) -> None:
    """Leave out columns, then narrow that of the models, until the table fits."""

    def excess() -> int:
        return sum(widths.values()) + len(GAP) * (len(widths) - 1) - columns

    for name in OPTIONAL:
        if excess() > 0:
            del widths[name]
    model = widths["model"]
    widths["model"] = min(model, max(SHORTEST_NAME, model - excess()))


def _aligned(name: str, cells: Sequence[str], width: int) -> list[str]:
    if name == "model":
        return [clean(cell, width).ljust(width) for cell in cells]
    return [cell.rjust(width) for cell in cells]
