"""Numbers as text, and the summary of a run."""

from collections.abc import Mapping
from typing import Final

from llmbatch_cli.core.clock import time_after
from llmbatch_cli.core.events import Holder
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.ui.money import format_cost, format_rows, format_unseen
from llmbatch_cli.ui.totals import Totals

HOLDERS: Final[Mapping[Holder | None, str]] = {
    "rpm": "limited by requests per minute",
    "tpm": "limited by tokens per minute",
    "cool-down": "rate limited, waiting",
    "input": "waiting for input",
    "output": "waiting for output",
    "budget": "held back by --max-cost",
}
"""What a run waits for; nothing to say where all its slots are in flight."""


QUOTED_CHARS: Final = 160
"""The most of a failed row's message in the summary."""


def summary(totals: Totals, *, failed_before: int = 0, told: bool = False) -> str:
    """The result of a run: one line, and an indented one for each thing to know.

    Args:
        totals: of the run, at its end.
        failed_before: rows skipped because an earlier run has failed them.
        told: whether a message has said what earlier runs have done.
    """
    before = _before(totals.skipped - failed_before, failed_before)
    if before and not (totals.rows or totals.has_begun or totals.total):
        return "nothing to send" if told else f"nothing to send: {before}"
    nothing = _missing(totals) and not (totals.rows or totals.undone.paid)
    lines = [] if nothing else [_result(totals)]
    lines += [*_messages(totals), *notes_of(totals, failed_before)]
    if unseen := format_unseen(totals):
        lines.append(unseen)
    return "\n  ".join(lines)


def notes_of(totals: Totals, failed_before: int = 0) -> list[str]:
    """What to know beside the figures: earlier runs, missing rows, bills without answers."""
    before = _before(totals.skipped - failed_before, failed_before)
    lines = [line for line in (before, _missing(totals)) if line]
    if cut := min(totals.dropped_in_flight, totals.dropped):
        lines.append(f"up to {format_rows(cut)} dropped in flight may have been billed")
    if totals.billed_attempts:
        attempts = format_count(totals.billed_attempts, "failed attempt")
        rows = f"; {format_rows(totals.billed_rows)} got no answer" if totals.billed_rows else ""
        lines.append(f"{attempts} may have been billed{rows}")
    return lines


def _result(totals: Totals) -> str:
    if not (totals.rows or totals.has_begun or totals.total):
        return "no rows"
    failed = f"{format_count(totals.failed_rows)} failed ({_kinds(totals)})"
    tokens = f"{format_count(totals.tokens)} tokens"
    if totals.unknown_usage:
        tokens += f" (unknown for {format_rows(totals.unknown_usage)})"
    answered = f"{format_count(totals.answered)} answered"
    fields = [
        f"{answered}, {failed}" if totals.failed else answered,
        f" in {format_duration(totals.elapsed_s)}",
        f", {format_rate(totals.rows_per_s)} rows/s" if totals.answered and totals.rows > 1 else "",
        f", {tokens}" if totals.tokens else "",
        f", {cost}" if (cost := format_cost(totals)) else "",
        f", {format_count(totals.cached)} cached" if totals.cached else "",
        f", {format_count(totals.truncated)} cut off by length" if totals.truncated else "",
        f", {format_count(totals.empty)} empty" if totals.empty else "",
    ]
    return f"{format_rows(totals.rows)}: {''.join(fields)}"


def _before(answered: int, failed: int) -> str:
    """What earlier runs have done with rows of this input."""
    if not failed:
        were = "was" if answered == 1 else "were"
        return f"{format_rows(answered)} {were} answered before" if answered else ""
    return f"{format_rows(answered)} answered before, {format_count(failed)} failed before"


def _kinds(totals: Totals) -> str:
    return ", ".join(f"{format_count(n)} {kind}" for kind, n in by_count(totals))


def _messages(totals: Totals) -> list[str]:
    """One message of each kind of failure, on a line."""
    said = [(kind, totals.said[kind]) for kind, _ in by_count(totals) if totals.said.get(kind)]
    return [clean(f"{kind}: {message}", QUOTED_CHARS) for kind, message in said]


def by_count(totals: Totals) -> list[tuple[str, int]]:
    """The kinds of failures, the most frequent first."""
    return sorted(totals.failed.items(), key=lambda item: (-item[1], item[0]))


def _missing(totals: Totals) -> str:
    """The rows of the input that have no outcome; empty where there are none."""
    if totals.jobs:
        rows = sum(job.rows for job in totals.jobs)
        if totals.total is not None:  # of a job that was being collected some have their outcome
            rows = min(rows, totals.total - totals.rows)
        are = "is" if rows == 1 else "are"
        return f"{format_rows(rows)} {are} in {format_count(len(totals.jobs), 'open job')}"
    missing = missing_rows(totals)
    if missing is not None:
        return f"{format_rows(missing)} not answered: the run ended early" if missing else ""
    if dropped := _dropped(totals):
        return f"at least {format_rows(dropped)} not answered: the run ended before its input"
    return "the run ended before its input; how many rows were left is unknown"


def missing_rows(totals: Totals) -> int | None:
    """Rows of the input that have no outcome, at the end of a run; None where that is unknown."""
    if totals.total is None and totals.cut_short:
        return None
    left = (totals.total or 0) - totals.rows if totals.cut_short else 0
    return max(_dropped(totals), left)


def _dropped(totals: Totals) -> int:
    return totals.dropped + totals.in_flight + totals.waiting


def held(totals: Totals) -> str:
    """What limits the run right now; often nothing."""
    holder, cooling_s = totals.held_by, totals.gauges.cooling_s()
    until = f" until {time_after(cooling_s)}" if holder == "cool-down" and cooling_s >= 1 else ""
    return HOLDERS.get(holder, "") + until


def format_rate(per_s: float) -> str:
    """1,090 or 31.4 or 0.25, without a unit."""
    if per_s >= 99.95:
        return f"{per_s:,.0f}"
    return f"{per_s:.1f}" if per_s >= 0.995 or per_s == 0 else f"{per_s:.2f}"


def format_bytes(n: float) -> str:
    """98.1 MB, 640 kB."""
    size, unit = n / 1_000, "kB"
    for larger in ("MB", "GB", "TB"):
        if size < 999.5:
            break
        size, unit = size / 1_000, larger
    return f"{size:.0f} kB" if unit == "kB" else f"{size:.1f} {unit}"


_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def format_duration(seconds: float, *, whole: bool = False) -> str:
    """0.42 s, 38.2 s, 2 min 5 s, 1 h 3 min; with `whole`, 38 s. Below 0 is 0."""
    seconds = max(0.0, seconds)
    if seconds < 59.95 and not whole:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    count = int(seconds) if whole else round(seconds)
    for unit, name, part, part_name in _UNITS:
        if count >= unit:
            rest = count % unit // part
            return f"{count // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{count} s"


def format_about(seconds: float) -> str:
    """An estimate: 38 s, 2 min, 1 h 3 min."""
    if seconds < 59.5:
        return f"{max(0, round(seconds))} s"
    return format_duration(round(seconds / 60) * 60)
