"""The main figures as lines of at most 80 characters, with a histogram."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.report.numbers import cost, count, per_s, seconds, share, unseen

COLUMNS: Final = 80
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_MOST_NAMES: Final = 8
Figures = Mapping[str, Any]


def text_report(name: str, figures: Figures, *, blocks: bool) -> Iterator[str]:
    """The lines. `blocks`: whether bars are of block characters, else of #."""
    yield clean(name, COLUMNS)
    for head, value in _main(figures):
        yield f"{head:<12}{value}"[:COLUMNS].rstrip()
    for one in figures["failures"][:_MOST_NAMES]:
        yield clean(f"  {one['count']:>8,} {one['type']}: {_example(one)}", COLUMNS)
    if len(figures["models"]) > 1:
        yield from _models(figures["models"])
    yield from _standings(figures["race"])
    yield from _histogram(figures["latency"]["histogram"], blocks=blocks)


def _main(figures: Figures) -> Iterator[tuple[str, str]]:
    tokens, latency, time = figures["tokens"], figures["latency"], figures["time"]
    if time["elapsed_s"] is None:
        yield "rows", count(figures["rows"])
    else:
        within = f"{seconds(time['elapsed_s'])}, {per_s(time['rows_per_s'])}"
        yield "rows", f"{count(figures['rows'])} in {within}"
    odd = (f"{figures[name]:,} {name}" for name in ("cached", "truncated", "empty", "fallback")
           if figures[name])  # fmt: skip
    yield "answered", ", ".join((_part(figures, "answered"), *odd))
    yield "cost", cost(figures)
    if more := unseen(figures):
        yield "", more
    unknown = tokens["unknown_rows"]
    missing = f", unknown for {format_count(unknown, 'row')}" if unknown else ""
    sides = (tokens.get("prompt_tokens"), tokens.get("completion_tokens"))
    yield "tokens", f"{count(sides[0])} in, {count(sides[1])} out{missing}"
    if latency["rows"]:
        points = (f"{name} {seconds(latency[name])}" for name in ("p50", "p90", "p95", "p99"))
        yield "latency", f"{', '.join(points)}, max {seconds(latency['max'])}"
    reasons = (f"{n:,} {reason}" for reason, n in figures["finish_reasons"].items())
    yield "ended by", ", ".join([*reasons][:_MOST_NAMES]) or "nothing"
    if (schema := figures["schema"]) is not None:
        yield (
            "schema",
            ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in schema.items() if n),
        )
    yield "failed", _part(figures, "failed")


def _part(figures: Figures, name: str) -> str:
    return f"{count(figures[name])} ({share(figures[name], figures['rows'])})"


def _example(failures: Figures) -> str:
    return failures["examples"][0]["message"] if failures["examples"] else ""


def _models(models: Sequence[Figures]) -> Iterator[str]:
    yield f"{'model':<36}{'rows':>10}{'failed':>10}{'median':>12}{'p95':>12}"
    for one in models[:_MOST_NAMES]:
        name = clean(one["model"], 35)
        times = "".join(f"{seconds(one[point]):>12}" for point in ("p50", "p95"))
        yield f"{name:<36}{one['rows']:>10,}{one['failed']:>10,}{times}"


def _standings(race: Sequence[Figures]) -> Iterator[str]:
    if not race:
        return
    yield f"{'race':<36}{'won':>10}{'lost':>10}{'cancelled':>12}{'failed':>12}"
    for one in race[:_MOST_NAMES]:
        name = clean(one["model"], 35)
        yield (
            f"{name:<36}{one['won']:>10,}{one['lost']:>10,}{one['cancelled']:>12,}"
            f"{one['failed']:>12,}"
        )


def _histogram(histogram: Figures, *, blocks: bool) -> Iterator[str]:
    edges, counts = histogram["edges"], histogram["counts"]
    if not counts:
        return
    yield "latency histogram"
    labels = [f"{edge:g} s" for edge in edges[: len(counts)]]
    if histogram["is_open"]:
        labels[-1] += " +"
    wide, deep = max(map(len, labels)), max(len(count(number)) for number in counts)
    room = COLUMNS - wide - deep - 3
    for label, number in zip(labels, counts, strict=True):
        bar = _bar(number / max(counts) * room, blocks=blocks)
        yield f"{label:>{wide}} {count(number):>{deep}} {bar}".rstrip()


def _bar(length: float, *, blocks: bool) -> str:
    """A bar so many characters long; of blocks to an eighth; never nothing for something."""
    if not blocks:
        return "#" * max(round(length), length > 0)
    eighths = max(round(length * 8), length > 0)
    return _BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8].strip()
