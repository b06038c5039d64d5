"""What a benchmark found, and the one table that shows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["met", "MISSED", "not measured", ""]
HEAD = ("what", "figure", "unit", "target", "met?")


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that a figure has to keep; the bound itself is good enough."""

    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {number(self.bound)}"


def at_least(bound: float) -> Target:
    """A target for figures of which more is better."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """A target for figures of which less is better."""
    return Target(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    value: float | None
    """None is not measured; `what` then says why."""
    unit: str
    target: Target | None = None

    @property
    def verdict(self) -> Verdict:
        """How the figure stands to its target; empty for a figure that has none."""
        if self.value is None:
            return "not measured"
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.value) else "MISSED"


@dataclass(frozen=True, slots=True)
class Section:
    """The figures of one scenario under its title."""

    name: str
    title: str
    figures: Sequence[Figure]


def number(value: float) -> str:
    """Three significant digits, whole above 100, thousands set apart by commas."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def render(sections: Iterable[Section]) -> str:
    """The table as plain text, its columns of one width over all sections."""
    sections = list(sections)
    rows = {id(figure): _cells(figure) for section in sections for figure in section.figures}
    widths = [max(map(len, column)) for column in zip(HEAD, *rows.values(), strict=True)]
    lines = [_line(HEAD, widths)]
    for section in sections:
        lines += ["", f"{section.name}: {section.title}"]
        lines += [_line(rows[id(figure)], widths) for figure in section.figures]
    return "\n".join([*lines, "", _count(sections)])


def missed(sections: Iterable[Section]) -> bool:
    """Whether any target was missed; a figure that was not measured misses nothing."""
    return any(figure.verdict == "MISSED" for section in sections for figure in section.figures)


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    shown = "-" if figure.value is None else number(figure.value)
    return figure.what, shown, figure.unit, str(figure.target or ""), figure.verdict


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    what, shown, *rest = cells
    padded = [f"{what:<{widths[0]}}", f"{shown:>{widths[1]}}"]
    padded += [f"{cell:<{width}}" for cell, width in zip(rest, widths[2:], strict=True)]
    return "  " + "  ".join(padded).rstrip()


def _count(sections: Sequence[Section]) -> str:
    verdicts = [figure.verdict for section in sections for figure in section.figures]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in ("met", "MISSED", "not measured"))
