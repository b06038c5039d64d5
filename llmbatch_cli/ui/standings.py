"""The results of the models of a race, in numbers and as a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.events import Event, Finished, Racing
from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.core.types import Racer
from llmbatch_cli.ui.money import format_usd
from llmbatch_cli.ui.report import format_duration

if TYPE_CHECKING:
    from decimal import Decimal

EXACT_LATENCIES: Final = 10_000
"""With more of one model, its median and p95 are right to 0.5 %."""

OPTIONAL: Final = ("cancelled", "races", "tokens")
"""Columns that a narrow terminal leaves out, in this order; after long names p95, then cost."""
_NAME_CHARS: Final = 200
SHORTEST_NAME: Final = 12
GAP: Final = "  "


@dataclass(slots=True)
class Standing:
    """One model's races. Times are of its complete answers, whether they won or not."""

    races: Counter[str] = field(default_factory=Counter)
    """By the racer's status."""
    cut: int = 0
    """Those cancelled with a request in flight."""
    tokens: int = 0
    latencies_s: Quantiles = field(default_factory=lambda: Quantiles(EXACT_LATENCIES))
    cost_usd: "Decimal | int" = 0
    unpriced: int = 0
    """Attempts whose cost is not known."""

    def add(self, racer: Racer) -> None:
        self.races[racer.status] += 1
        self.cut += racer.cancelled_in_flight
        if racer.status in ("won", "lost") and not racer.cached:
            self.latencies_s.add(racer.latency_s)
        for attempt in racer.ledger.attempts if racer.ledger is not None else ():
            self.cost_usd += attempt.cost_usd or 0
            self.unpriced += attempt.cost_usd is None
        if racer.usage is not None:
            self.tokens += (racer.usage.prompt_tokens or 0) + (racer.usage.completion_tokens or 0)

    def quantile(self, share: float) -> str:
        """The time within which this share of the answers arrived; - without any."""
        (seconds,) = self.latencies_s.at(share)
        return "-" if seconds is None else format_duration(seconds)

    @property
    def cost(self) -> str:
        """What all its attempts have cost; with a + where that of some is not known."""
        if self.unpriced:
            return f"{format_usd(self.cost_usd)}+" if self.cost_usd else "unknown"
        return format_usd(self.cost_usd)


class Standings:
    """An observer that counts races, by model."""

    def __init__(self) -> None:
        self.models: dict[str, Standing] = {}
        self._last: Sequence[Racer] = ()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Racing):  # so that one that is never started has its line, too
            for name in _numbered(event.names):
                self.models.setdefault(name, Standing())
        if not isinstance(event, Finished) or not event.outcome.race:
            return
        race = event.outcome.race
        if race is self._last:  # another winner of the same race
            return
        self._last = race
        names = _numbered([f"{racer.provider}/{racer.model}" for racer in race])
        for name, racer in zip(names, race, strict=True):
            self.models.setdefault(name, Standing()).add(racer)

    @property
    def cut(self) -> int:
        """Requests cancelled in flight, as another model was faster; they may be billed."""
        return sum(standing.cut for standing in self.models.values())

    def table(self) -> dict[str, list[str]]:
        """The texts of each column by its heading, the model with the most wins first."""
        ranked = sorted(self.models.items(), key=lambda item: (-item[1].races["won"], item[0]))
        models = [model for _, model in ranked]
        table = {
            "model": [clean(name, _NAME_CHARS) for name, _ in ranked],
            "wins": [format_count(model.races["won"]) for model in models],
            "races": [format_count(model.races.total()) for model in models],
            "median": [model.quantile(0.5) for model in models],
            "p95": [model.quantile(0.95) for model in models],
            "failed": [format_count(model.races["failed"]) for model in models],
            "cancelled": [format_count(model.races["cancelled"]) for model in models],
            "tokens": [format_count(model.tokens) for model in models],
        }
        if any(model.cost_usd or model.unpriced for model in models):
            table["cost"] = [model.cost for model in models]
        return table


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number from the second on of a model that races against itself."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return numbered


def as_lines(standings: Standings, columns: int | None = None) -> list[str]:
    """The standings as aligned columns.

    Args:
        standings: of at least one model.
        columns: of the terminal; None for a pipe or a file, which has room for everything.
            On a narrow terminal the columns OPTIONAL are left out and long names are cut.
    """
    table = {name: [name, *cells] for name, cells in standings.table().items()}
    widths = {name: max(map(len, cells)) for name, cells in table.items()}
    if columns is not None:
        _narrow(widths, columns)
    table["model"] = _shortened(table["model"], widths["model"])
    lines = []
    for model, *cells in zip(*(table[name] for name in widths), strict=True):
        numbers = map(str.rjust, cells, list(widths.values())[1:])
        lines.append(GAP.join([model.ljust(widths["model"]), *numbers]))
    return lines if columns is None else [lines[0], "-" * len(lines[0]), *lines[1:]]


def _shortened(names: Sequence[str], width: int) -> list[str]:
    """The names, cut where no two become alike: in the middle, in front or at the end."""
    short: list[str] = []
    for head in (width // 2, 0, width - 1):
        tail = width - 1 - head
        short = [
            name if len(name) <= width else f"{name[:head]}…{name[len(name) - tail :]}"
            for name in names
        ]
        if len({*short}) == len({*names}):
            break
    return short


def _narrow(widths: dict[str, int], columns: int) -> None:
    """Leave out columns, then narrow that of the models, until the table fits."""

    def excess() -> int:
        return sum(widths.values()) + len(GAP) * (len(widths) - 1) - columns

    for name in OPTIONAL:
        if excess() > 0:
            del widths[name]
    model = widths["model"]
    for name in ("p95", "cost"):
        if excess() > max(0, model - SHORTEST_NAME):
            widths.pop(name, None)
    widths["model"] = min(model, max(SHORTEST_NAME, model - excess()))
