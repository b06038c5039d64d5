"""`llmbatch prices`: what models cost, as far as the table of prices knows."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import orjson
import typer

from llmbatch_cli.cli.say import Voice, printing, say
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
WIDE: Final = 110
"""Columns of a terminal that has room for all of them."""
NARROW: Final = (0, 1, 4, 5, 6)
"""Those that are left on another."""

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
            _print([row for pair in found for row in _rows(*pair)])
    if not found:
        say("no model with a known price has all of these words in its name")
        Voice().hint("--price MODEL=IN,OUT gives a run the price of its model")
    if not json:
        table = f"genai-prices {version()}, whose newest price is of {newest():%Y-%m-%d}"
        say(f"in US dollars a million tokens, by {table}" if found else table)
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


def _rows(name: str, one: Listed) -> Iterator[Sequence[str]]:
    """The model's line, and one for each length of input from which on its tokens cost more."""
    context, answer = one.limits.context_tokens, longest_answer(name.partition("/")[2])
    lengths = ["-" if tokens is None else format_count(tokens) for tokens in (context, answer)]
    yield name, *_cells(one, 0), *lengths
    prices = [price for price in (one.price, one.batch) if price is not None]
    rates = [rate for price in prices for rate in (price.input, price.output)]
    for start in sorted({start for rate in rates for start, _ in rate.steps}):
        yield f"  input above {start:,}", *_cells(one, start + 1), "", ""


def _cells(one: Listed, tokens: int) -> Iterator[str]:
    """The rates with an input of so many tokens."""
    if (price := one.price) is None:
        rates: Sequence[Rate | None] = (None,) * 4
    else:
        rates = (price.input, price.cached, price.cache_write, price.output)
    batch = (None, None) if one.batch is None else (one.batch.input, one.batch.output)
    for rate in (*rates, *batch):
        yield "-" if rate is None else f"{rate.at(tokens).normalize():f}"


def _print(rows: Sequence[Sequence[str]]) -> None:
    """A table; on a terminal that is too narrow a long name has a line of its own."""
    if not rows:
        return
    columns = (sys.stdout.isatty() and os.get_terminal_size(1).columns) or sys.maxsize
    kept = range(len(HEADS)) if columns >= WIDE else NARROW
    shown = [[clean_for_terminal(row[place]) for place in kept] for row in (HEADS, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    longest = min(widths[0], columns - sum(width + 2 for width in widths[1:]))
    for name, *cells in shown:
        if len(name) > longest:
            sys.stdout.write(f"{name}\n")
            name = ""
        numbers = map(str.rjust, cells, widths[1:])
        sys.stdout.write("  ".join([name.ljust(longest), *numbers]).rstrip() + "\n")
