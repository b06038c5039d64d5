"""`llmbatch prices`: what models cost, as far as the table of prices knows."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import orjson
import typer

from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.models.options import longest_answer
from llmbatch_cli.pricing.price import Price, Rate
from llmbatch_cli.pricing.sellers import TABLE_IDS
from llmbatch_cli.pricing.table import Listed, listed, newest, version

EXAMPLES = """\b
Examples:
  llmbatch prices gpt-5 mini
  llmbatch prices anthropic haiku --json | jq .batch.input
"""

HEADS = (
    "model",
    "input",
    "cached",
    "write",
    "output",
    "batch in",
    "batch out",
    "context",
    "answer",
)
"""Prices in US dollars a million tokens; lengths in tokens."""

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WORD]...",
        help="Show models whose PROVIDER/MODEL has all of these in it.  [default: all]",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def prices(words: Words = None, json: AsJson = False) -> int:
    """Print what models cost, in US dollars a million tokens.

    From the table that comes with the program; nothing is asked of a provider. --price on batch
    and race overrides it.
    """
    found = list(_matching(words or ()))
    with printing():
        if json:
            for name, one in found:
                sys.stdout.buffer.write(orjson.dumps(_as_json(name, one)) + b"\n")
            sys.stdout.buffer.flush()
        else:
            _print([(name, *_cells(name, one)) for name, one in found])
    if not found:
        say("no model with a known price has all of these words in its name")
    if not json:
        say(f"genai-prices {version()}, whose newest price is of {newest():%Y-%m-%d}")
    return ExitStatus.OK if found else ExitStatus.SOME_FAILED


def _matching(words: Sequence[str]) -> "list[tuple[str, Listed]]":
    """Our names of the models, and what the table has on them, by name."""
    ours: dict[str, list[str]] = {}
    for name, table_id in TABLE_IDS.items():
        ours.setdefault(table_id, []).append(name)
    wanted = [word.lower() for word in words]
    named = [
        (f"{provider}/{one.model}", one)
        for one in listed()
        for provider in ours.get(one.provider, ())
    ]
    matching = [pair for pair in named if all(word in pair[0].lower() for word in wanted)]
    return sorted(matching, key=lambda pair: pair[0])


def _as_json(name: str, one: Listed) -> Mapping[str, Any]:
    provider, _, model = name.partition("/")
    return {
        "provider": provider,
        "model": model,
        **(_rates(one.price) if one.price else {}),
        "batch": None if one.batch is None else _rates(one.batch),
        "context": one.limits.context_tokens,
        "longest_answer": longest_answer(model),
        "data": {"genai-prices": version(), "newest": newest().isoformat()},
    }


def _rates(price: Price) -> dict[str, Any]:
    rates = {
        "input": price.input,
        "cached": price.cached,
        "cache_write": price.cache_write,
        "output": price.output,
    }
    found: dict[str, Any] = {name: rate and float(rate.base) for name, rate in rates.items()}
    steps: dict[str, dict[str, float]] = {}
    for name, rate in rates.items():
        for above, usd in rate.steps if rate is not None else ():
            steps.setdefault(str(above), {})[name] = float(usd)
    return {**found, "with_input_above": steps} if steps else found


def _cells(name: str, one: Listed) -> tuple[str, ...]:
    price, batch = one.price, one.batch
    answer = longest_answer(name.partition("/")[2])
    return (
        _usd(None if price is None else price.input),
        _usd(None if price is None else price.cached),
        _usd(None if price is None else price.cache_write),
        _usd(None if price is None else price.output),
        _usd(None if batch is None else batch.input),
        _usd(None if batch is None else batch.output),
        "-" if one.limits.context_tokens is None else format_count(one.limits.context_tokens),
        "-" if answer is None else format_count(answer),
    )


def _usd(rate: Rate | None) -> str:
    """0.15, or 2+ where a long input is dearer; - where none is known."""
    if rate is None:
        return "-"
    return f"{rate.base.normalize():f}{'+' if rate.steps else ''}"


def _print(rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    if sys.stdout.isatty():
        _print_table(rows)
        return
    shown = [[clean_for_terminal(cell) for cell in row] for row in (HEADS, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for name, *cells in shown:
        numbers = map(str.rjust, cells, widths[1:])
        sys.stdout.write("  ".join([name.ljust(widths[0]), *numbers]).rstrip() + "\n")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wide = shutil.get_terminal_size().columns >= 100
    kept = range(len(HEADS)) if wide else (0, 1, 2, 4, 5, 6)
    table = Table(*(HEADS[place] for place in kept), box=box.SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in rows:
        table.add_row(*(Text(row[place]) for place in kept))
    Console(highlight=False).print(table)
