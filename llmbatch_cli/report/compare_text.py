"""A comparison of two runs in words, and as lines of at most 80 characters."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbatch_cli.core.text import clean
from llmbatch_cli.report.numbers import UNKNOWN, count, seconds, share, usd

COLUMNS: Final = 80
_NAME: Final = 44
_SHOWN: Final = 5
Figures = Mapping[str, Any]

_ROWS: Final = {
    "in_both": "rows in both",
    "only_in_first": "only in the first",
    "only_in_second": "only in the second",
    "repeated_ids": "left out, as their id was there before",
    "both_answered": "answered in both",
    "both_failed": "failed in both",
    "failed_only_in_first": "failed only in the first",
    "failed_only_in_second": "failed only in the second",
}


def rows(figures: Figures) -> Iterator[tuple[str, str]]:
    """How the rows of both are matched, and which of them failed."""
    for name, word in _ROWS.items():
        if figures[name] or name != "repeated_ids":
            yield word, count(figures[name])


def agreement(figures: Figures) -> Iterator[tuple[str, int, int]]:
    """What is compared, in how many rows it is the same, and in how many both have it."""
    for name, word in (("data", "data"), ("text", "text, where there is no data")):
        if figures[name]["rows"]:
            yield word, figures[name]["agree"], figures[name]["rows"]
    for one in figures["fields"]:
        yield f"data: {one['field']}", one["agree"], one["rows"]


def sides(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """What each run took for the rows that both have."""
    first, second = figures["first"], figures["second"]
    yield "failed", count(first["failed"]), count(second["failed"])
    yield "cost", _cost(first, figures), _cost(second, figures)
    if first["unknown_cost_rows"] or second["unknown_cost_rows"]:
        name = "unknown_cost_rows"
        yield "rows of unknown cost", count(first[name]), count(second[name])
    if first["maybe_billed"]["attempts"] or second["maybe_billed"]["attempts"]:
        yield "may have been billed besides, up to", _unseen(first), _unseen(second)
    yield "mean length in characters", _chars(first), _chars(second)
    yield "median latency", seconds(first["p50"]), seconds(second["p50"])
    yield "p95 latency", seconds(first["p95"]), seconds(second["p95"])
    yield "faster in", count(figures["faster_in_first"]), count(figures["faster_in_second"])


def _cost(side: Figures, figures: Figures) -> str:
    return usd(None if side["unknown_cost_rows"] == figures["in_both"] else side["usd"])


def _unseen(side: Figures) -> str:
    found = side["maybe_billed"]
    return UNKNOWN if found["unknown_attempts"] else usd(found["up_to"])


def _chars(side: Figures) -> str:
    mean = side["mean_chars"]
    return UNKNOWN if mean is None else f"{mean:,.1f}"


def text_comparison(figures: Figures) -> Iterator[str]:
    """The lines."""
    yield clean(f"first   {figures['first_file']}", COLUMNS)
    yield clean(f"second  {figures['second_file']}", COLUMNS)
    yield ""
    for name, value in rows(figures):
        yield f"{name:<{_NAME}}{value:>12}"
    yield from _agreement(figures)
    yield ""
    yield f"{'rows in both':<{_NAME}}{'first':>12}{'second':>12}"
    for name, *values in sides(figures):
        yield f"{name:<{_NAME}}" + "".join(f"{value:>12}" for value in values)
    yield from _examples(figures)


def _agreement(figures: Figures) -> Iterator[str]:
    found = [*agreement(figures)]
    if not found:
        return
    yield ""
    yield f"{'where both have an answer':<{_NAME}}{'the same':>12}{'of':>12}{'':>10}".rstrip()
    for name, same, of in found:
        name = clean(name, _NAME - 1)
        yield f"{name:<{_NAME}}{count(same):>12}{count(of):>12}{share(same, of):>10}"


def _examples(figures: Figures) -> Iterator[str]:
    if figures["examples"]:
        yield ""
        yield "the first answers that differ"
    for one in figures["examples"][:_SHOWN]:
        yield clean(f"  {one['id']}", COLUMNS)
        yield clean(f"    first   {one['first']}", COLUMNS)
        yield clean(f"    second  {one['second']}", COLUMNS)
