"""How the models of a race have fared, in numbers and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmbatch_cli.events import Event, Finished
from llmbatch_cli.types import Racer
from llmbatch_cli.ui.report import format_count, format_duration

REMEMBERED: Final = 100_000
"""Times a model that its median and p95 are taken of; later ones are not kept."""

HEADINGS: Final = ("model", "wins", "races", "median", "p95", "failed", "cancelled", "tokens")


@dataclass(slots=True)
class Standing:
    """One model's races. Times are of its answers, good or not, that came to their end."""

    wins: int = 0
    races: int = 0
    failed: int = 0
    cancelled: int = 0
    tokens: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def add(self, racer: Racer) -> None:
        self.races += 1
        self.wins += racer.status == "won"
        self.failed += racer.status == "failed"
        self.cancelled += racer.status == "cancelled"
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
        for racer in race:
            name = f"{racer.provider}/{racer.model}"
            self.models.setdefault(name, Standing()).add(racer)

    @property
    def cancelled(self) -> int:
        """Requests that were cancelled because another was faster; they may be billed."""
        return sum(standing.cancelled for standing in self.models.values())

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


def as_lines(standings: Standings) -> list[str]:
    """The standings as aligned columns."""
    table = [HEADINGS, *standings.rows()]
    widths = [max(len(row[place]) for row in table) for place in range(len(HEADINGS))]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
