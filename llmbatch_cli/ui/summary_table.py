"""The summary of a run as a small table on a terminal, drawn by rich."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TextIO, cast

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.ui.money import format_cost, format_rows, format_unseen
from llmbatch_cli.ui.plain import PREFIX
from llmbatch_cli.ui.report import (
    QUOTED_CHARS,
    by_count,
    format_duration,
    format_rate,
)
from llmbatch_cli.ui.stderr import Stderr, terminal_size
from llmbatch_cli.ui.totals import Totals

INDENT: Final = 2


def print_table(
    stream: TextIO | None, environ: Mapping[str, str], totals: Totals, notes: Sequence[str]
) -> None:
    """Print a heading, a line for each figure that there is, and the notes."""
    size = partial(terminal_size, stream, environ)
    console = Console(
        file=cast("TextIO", Stderr(stream)),
        force_terminal=True,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        width=max(20, size().columns),
        _environ=environ,
    )
    console.print(Text(f"{PREFIX}{_heading(totals)}"), soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, count in by_count(totals):
        label = Text(f"{format_count(count)} {clean(kind, 40)}", "red")
        table.add_row(label, Text(clean(totals.said.get(kind, ""), QUOTED_CHARS)))
    for name, value in _figures(totals):
        if value:
            table.add_row(Text(name, "cyan"), Text(value))
    console.print(Padding(table, (0, 0, 0, INDENT)))
    for note in notes:
        console.print(Padding(Text(note), (0, 0, 0, INDENT)))


def _heading(totals: Totals) -> str:
    failed = f", {format_count(totals.failed_rows)} failed" if totals.failed else ""
    took = format_duration(totals.elapsed_s)
    return f"{format_rows(totals.rows)}: {format_count(totals.answered)} answered{failed} in {took}"


def _figures(totals: Totals) -> Iterator[tuple[str, str]]:
    """Each figure by its name; empty where there is nothing to say."""
    yield (
        "answers",
        _joined(
            (totals.cached, "taken from the cache"),
            (totals.truncated, "cut off by length"),
            (totals.empty, "empty"),
        ),
    )
    unknown = totals.unknown_usage
    if totals.tokens or unknown:
        known = totals.tokens > 0
        yield "tokens in", _part(totals.prompt_tokens, totals.cached_tokens, "cached", known)
        out, thoughts = totals.completion_tokens, totals.reasoning_tokens
        yield "tokens out", _part(out, thoughts, "for reasoning", known)
        yield "", f"not reported for {format_count(unknown, 'answer')}" if unknown else ""
    yield "cost", format_cost(totals, totals.gauges.cap_usd).removeprefix("cost ")
    yield "", format_unseen(totals)
    p50, p95 = totals.latencies_s.at(0.5, 0.95)
    if p50 is not None and p95 is not None:
        yield "latency", f"{format_duration(p50)} median, {format_duration(p95)} p95"
    retries = f", {format_count(totals.retries)} of them retries" if totals.retries else ""
    yield "attempts", f"{format_count(totals.attempts)}{retries}" if totals.attempts else ""
    yield "rate", f"{format_rate(totals.rows_per_s)} rows/s"


def _part(whole: int, part: int, what: str, known: bool) -> str:
    if not known:
        return ""
    return format_count(whole) + (f", {format_count(part)} {what}" if part else "")


def _joined(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{format_count(count)} {what}" for count, what in counts if count)
