"""The figures as HTML: each section is whole without a script."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from llmbatch_cli.core.quantiles import EXACT_VALUES
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.report import compare_text as compared
from llmbatch_cli.report.numbers import (
    UNKNOWN,
    count,
    moment,
    per_s,
    seconds,
    share,
    unseen,
    usd,
)

Figures = Mapping[str, Any]
_PERCENTILES: Final = ("p50", "p90", "p95", "p99", "mean", "max")
_TOKEN_WORDS: Final = {
    "prompt_tokens": "in",
    "cached_tokens": "of these read from the provider's cache",
    "cache_write_tokens": "of these written to the provider's cache",
    "completion_tokens": "out",
    "reasoning_tokens": "of these reasoning",
}


def section(title: str, *parts: str, name: str) -> str:
    """A part of the page that assistive technology can jump to."""
    body = "\n".join(filter(None, parts))
    head = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{head}\n{body}\n</section>'


def note(text: str) -> str:
    """A line about what the figures are."""
    return f'<p class="note">{escape(text)}</p>' if text else ""


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; a heading that ends in # is of numbers. The first cell of a row is its heading."""
    numeric = [head.endswith("#") for head in heads]
    names = [head.removesuffix("#") for head in heads]

    def cell(place: int, value: object) -> str:
        kind = ' class="number"' if numeric[place] else ""
        text = f"<bdi>{escape(str(value))}</bdi>"
        return f'<th scope="row"{kind}>{text}</th>' if not place else f"<td{kind}>{text}</td>"

    head = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>{escape(one)}</th>'
        for one, is_number in zip(names, numeric, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(cell(place, value) for place, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    label = escape(caption, quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def chart(name: str, says: str) -> str:
    """A place for a drawing of figures that stand in a table, too."""
    label = escape(says, quote=True)
    return f'<div class="chart"><canvas id="{name}" role="img" aria-label="{label}"></canvas></div>'


def folded(summary: str, content: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def totals(figures: Figures) -> str:
    """The main figures, large."""
    tokens, latency, time = figures["tokens"], figures["latency"], figures["time"]
    attempts = figures["attempts"]
    unknown = tokens["unknown_rows"]
    cards = {
        "Rows": (count(figures["rows"]), _odd_rows(figures)),
        "Answered": (count(figures["answered"]), share(figures["answered"], figures["rows"])),
        "Failed": (count(figures["failed"]), share(figures["failed"], figures["rows"])),
        "Cost": (usd(figures["cost"]["usd"]), _cost_note(figures)),
        "Tokens in": (count(tokens.get("prompt_tokens")), _unknown_for(unknown)),
        "Tokens out": (count(tokens.get("completion_tokens")), _unknown_for(unknown)),
        "Median latency": (seconds(latency["p50"]), f"p95 {seconds(latency['p95'])}"),
        "Rate": (per_s(time["rows_per_s"]), _elapsed(figures)),
        "Requests sent": (
            count(attempts["sent"]),
            f"{format_count(attempts['rows_retried'], 'row')} tried again",
        ),
    }
    items = "\n".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd><dd class=note>{escape(more)}</dd></div>"
        for name, (value, more) in cards.items()
    )
    return section("Totals", f'<dl class="cards">\n{items}\n</dl>', name="totals")


def _odd_rows(figures: Figures) -> str:
    words = {
        "cached": "from the cache", "truncated": "cut off by length", "empty": "empty",
        "fallback": "by a fallback",
    }  # fmt: skip
    found = [f"{figures[name]:,} {word}" for name, word in words.items() if figures[name]]
    return ", ".join(found)


def _unknown_for(rows: int) -> str:
    return f"unknown for {format_count(rows, 'row')}" if rows else ""


def _cost_note(figures: Figures) -> str:
    unknown = _unknown_for(figures["cost"]["unknown_rows"])
    return "; ".join(filter(None, (unknown, unseen(figures))))


def _elapsed(figures: Figures) -> str:
    elapsed = figures["time"]["elapsed_s"]
    return "" if elapsed is None else f"{seconds(elapsed)} in all"


def throughput(figures: Figures) -> str:
    """What was done when."""
    time = figures["time"]
    points, span_s = time["points"], time["span_s"]
    title, name = "Throughput over time", "throughput"
    if not points:
        said = "Unknown: these rows do not say when they ended (finished_at)."
        return section(title, note(said), name=name)
    untimed = time["rows_without_time"]
    missing = f" {format_count(untimed, 'row')} without a time left out." if untimed else ""
    says = f"From {moment(time['first'])} to {moment(time['last'])}, by {span_s} s.{missing}"
    rows = [[moment(at), count(ok), count(bad), count(tokens)] for at, ok, bad, tokens in points]
    heads = ("time", "answered#", "failed#", "tokens#")
    listed = folded("As a table", table(f"Rows by {span_s} s", heads, rows))
    drawn = chart("throughput-chart", "Rows per second over time; the table below has the figures")
    return section(title, note(says), drawn, listed, name=name)


def latency(figures: Figures) -> str:
    """How long answers took."""
    found = figures["latency"]
    if not found["rows"]:
        return section("Latency", note("No answer has a latency."), name="latency")
    exact = "" if found["is_exact"] else f" Beyond {EXACT_VALUES:,} rows percentiles are to 0.5 %."
    says = f"Of {format_count(found['rows'], 'answer')}, without the wait for limits.{exact}"
    values = [["all", *(seconds(found[one]) for one in _PERCENTILES)]]
    bars = found["histogram"]
    listed = folded("As a table", table("Histogram", ("from", "to", "answers#"), _bars(bars)))
    drawn = chart("latency-chart", "Histogram of latencies; the table below has the figures")
    percentiles = table("Percentiles", ("answers", *(f"{one}#" for one in _PERCENTILES)), values)
    return section("Latency", note(says), percentiles, drawn, listed, name="latency")


def _bars(histogram: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    edges = histogram["edges"]
    ends = [*(f"{edge:g} s" for edge in edges[1:]), "more"]
    for begin, end, number in zip(edges, ends, histogram["counts"], strict=False):
        yield f"{begin:g} s", end, count(number)


def models(figures: Figures) -> str:
    """A line for each model."""
    heads = ("model", "rows#", "failed#", "tokens#", "cost#", "median#", "p95#")
    rows = [
        [
            *(one["model"], count(one["rows"]), count(one["failed"]), count(one["tokens"])),
            *(_model_cost(one), seconds(one["p50"]), seconds(one["p95"])),
        ]
        for one in figures["models"]
    ]
    return section("Models", table("By model", heads, rows), name="models") if rows else ""


def _model_cost(model: Mapping[str, Any]) -> str:
    rows = model["unknown_cost_rows"]
    return usd(model["usd"]) + (f" (+ {rows:,} rows)" if rows and model["usd"] is not None else "")


def race(figures: Figures) -> str:
    """How the models of a race fared."""
    heads = ("model", "races#", "won#", "won %#", "lost#", "cancelled#", "failed#", "median#")
    rows = [
        [
            *(one["model"], count(one["races"]), count(one["won"])),
            share(one["won"], one["races"]),
            *(count(one[name]) for name in ("lost", "cancelled", "failed")),
            seconds(one["p50"]),
        ]
        for one in figures["race"]
    ]
    if not rows:
        return ""
    return section("Race", table("Standings", heads, rows), name="race")


def tokens(figures: Figures) -> str:
    """What was read and written."""
    found = figures["tokens"]
    rows = [[word, count(found[name])] for name, word in _TOKEN_WORDS.items() if name in found]
    unknown = _unknown_for(found["unknown_rows"])
    body = table("Tokens", ("tokens", "count#"), rows) if rows else note("No usage was reported.")
    return section("Tokens", note(unknown.capitalize()), body, name="tokens")


def finish_reasons(figures: Figures) -> str:
    """Why answers ended."""
    found = figures["finish_reasons"]
    rows = [[name, count(n), share(n, figures["answered"])] for name, n in found.items()]
    if not rows:
        return ""
    listed = table("Of the answers", ("reason", "answers#", "share#"), rows)
    return section("Finish reasons", listed, name="reasons")


def failures(figures: Figures) -> str:
    """What went wrong, with examples."""
    found = figures["failures"]
    if not found:
        return section("Failures", note("None."), name="failures")
    rows = [
        [
            one["type"],
            *(count(one["count"]), share(one["count"], figures["rows"])),
            "yes" if one["retryable"] else "no",
            ", ".join(map(str, one["statuses"])),
        ]
        for one in found
    ]
    heads = ("kind", "rows#", "of all#", "retryable", "HTTP status")
    listed = table("By kind", heads, rows)
    shown = [
        [one["type"], example["id"], example["message"]]
        for one in found
        for example in one["examples"]
    ]
    examples = table("The first three of each", ("kind", "id", "message"), shown)
    return section("Failures", listed, examples, name="failures")


def schema(figures: Figures) -> str:
    """How often answers had the form that was asked for."""
    found = figures["schema"]
    if found is None:
        return ""
    words = {
        "with_data": "answers of the form that was asked for",
        "repaired": "of these mended, as they were only nearly JSON",
        "fit_after_retry": "of these only at a further attempt",
        "invalid_output": "rows failed, as no attempt had the form",
    }
    rows = [[word, count(found[name])] for name, word in words.items()]
    return section("Schema", table("Answers of a form", ("answers", "rows#"), rows), name="schema")


def extremes(figures: Figures) -> str:
    """The slowest rows and the dearest."""
    parts = [
        table(f"The {name} {len(rows)}", heads, [_extreme(row, name) for row in rows])
        for name, heads in _EXTREMES.items()
        if (rows := figures[name])
    ]
    return section("Slowest and dearest rows", *parts, name="extremes") if parts else ""


_EXTREMES: Final = {
    "slowest": ("id", "latency#", "model", "tokens out#", "answer"),
    "dearest": ("id", "cost#", "model", "tokens out#", "answer"),
}


def _extreme(row: Mapping[str, Any], name: str) -> Sequence[object]:
    value = seconds(row["latency"]) if name == "slowest" else usd(row["usd"])
    out = row["completion_tokens"]
    return row["id"], value, row["model"], UNKNOWN if out is None else count(out), row["excerpt"]


def comparison(figures: Figures) -> str:
    """Two runs."""
    first, second = (clean(figures[f"{one}_file"], 200) for one in ("first", "second"))
    says = f"The first is {first}, the second {second}. Rows are matched by their ids."
    rows = table("Rows", ("which", "rows#"), compared.rows(figures))
    agreement = table("Where both have an answer", ("what", "the same#", "of#", "%#"), (
        [name, count(same), count(of), share(same, of)]
        for name, same, of in compared.agreement(figures)
    ))  # fmt: skip
    sides = table("Rows in both", ("what", "first#", "second#"), compared.sides(figures))
    shown = [[one["id"], one["first"], one["second"]] for one in figures["examples"]]
    heads = ("id", "first", "second")
    examples = table("The first answers that differ", heads, shown) if shown else ""
    return section("Comparison", note(says), rows, agreement, sides, examples, name="comparison")


ALL: Final = (
    totals, throughput, latency, models, race, tokens, finish_reasons, failures, schema, extremes,
)  # fmt: skip
"""The sections of the figures in their order."""
