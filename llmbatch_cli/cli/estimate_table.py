"""An estimate as a table for people."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.result import Estimated
from llmbatch_cli.ui.money import format_usd
from llmbatch_cli.ui.report import format_about

HEADS: Final = ("model", "rows", "input", "output", "cost", "batch", "time")
UNKNOWN: Final = "unknown"
NONE: Final = "-"


def print_estimate(heads: Iterable[str], found: Sequence[Estimated], notes: Iterable[str]) -> None:
    """On a terminal a table, else aligned text."""
    for line in heads:
        sys.stdout.write(f"{clean_for_terminal(line)}\n")
    if sys.stdout.isatty():
        _print_table(found, notes)
        return
    rows = [HEADS, *(_cells(one, " ") for one in found)]
    shown = [[clean_for_terminal(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for name, *cells in shown:
        numbers = map(str.rjust, cells, widths[1:])
        sys.stdout.write("  ".join([name.ljust(widths[0]), *numbers]).rstrip() + "\n")
    for note in notes:
        sys.stdout.write(f"{clean_for_terminal(note)}\n")


def _print_table(found: Sequence[Estimated], notes: Iterable[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heads = (head for head in HEADS if head != "rows")
    table = Table(*heads, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for one in found:
        name, rows, *cells = _cells(one, "\n")
        cells[3] = cells[3].partition("\n")[0]  # its range is that of the cost
        cells[4] = cells[4].replace("-", " to\n")
        named = f"{name.replace('/', '/' + chr(10), 1)}\n{rows} rows"
        table.add_row(*(Text(clean_for_terminal(cell)) for cell in (named, *cells)))
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print()
    for note in notes:
        console.print(Text(clean_for_terminal(note)), style="dim")


def _cells(one: Estimated, between: str) -> tuple[str, ...]:
    """`between`: stands between a likely value and its range."""

    def cell(range_: Range | None, form: Callable[[float], str], unknown: str) -> str:
        return unknown if range_ is None else _ranged(range_, form, between)

    return (
        one.model,
        f"{one.rows:,}",
        cell(one.input, tokens, NONE),
        cell(one.output, tokens, NONE),
        cell(one.cost, format_usd, UNKNOWN),
        cell(one.batch, format_usd, NONE),
        cell(one.time_s, format_about, UNKNOWN),
    )


def _ranged(range_: Range, form: Callable[[float], str], between: str) -> str:
    likely, low, high = form(range_.likely), form(range_.low), form(range_.high)
    if low == high:
        return likely
    return f"{likely}{between}({low.removeprefix('$')}-{high.removeprefix('$')})"


def tokens(count: float) -> str:
    """950, 12.3k or 4.56M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g}{unit}"
    return f"{count:.0f}"
