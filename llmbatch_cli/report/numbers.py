"""Figures as short texts; what is unknown is said so."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from llmbatch_cli.core.text import format_count
from llmbatch_cli.ui.report import format_duration, format_rate

UNKNOWN: Final = "unknown"


def usd(amount: float | None) -> str:
    """$12.34, $0.0216, $0.000034; four digits below a dollar."""
    if amount is None:
        return UNKNOWN
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.10f}"[: _first_digit(amount) + 6].rstrip("0")


def _first_digit(amount: float) -> int:
    """How many zeros stand between the point and the first digit."""
    digits = f"{amount:.10f}".partition(".")[2]
    return len(digits) - len(digits.lstrip("0"))


def cost(figures: Mapping[str, Any]) -> str:
    """The cost, with the rows of which it is unknown."""
    known, rows = figures["cost"]["usd"], figures["cost"]["unknown_rows"]
    if known is None:
        return UNKNOWN
    return usd(known) + (f", and unknown for {format_count(rows, 'row')}" if rows else "")


def unseen(figures: Mapping[str, Any]) -> str:
    """What may have been billed beside the cost; nothing where that is nothing."""
    found = figures["cost"]["maybe_billed"]
    if not found["attempts"]:
        return ""
    attempts = format_count(found["attempts"], "attempt")
    if found["attempts"] == found["unknown_attempts"]:
        return f"{attempts} may have been billed besides"
    more = found["unknown_attempts"]
    unknown = f", and unknown for {format_count(more, 'attempt')}" if more else ""
    return f"up to {usd(found['up_to'])} more for {attempts}{unknown}"


def seconds(value: float | None) -> str:
    """0.00053 s, 0.421 s, 2.04 s, 2 min 5 s."""
    if value is None:
        return UNKNOWN
    return f"{float(f'{value:.3g}'):.10g} s" if value < 9.995 else format_duration(value)


def per_s(value: float | None) -> str:
    """31.4/s."""
    return UNKNOWN if value is None else f"{format_rate(value)}/s"


def count(value: int | None) -> str:
    """1,200."""
    return UNKNOWN if value is None else format_count(value)


def share(part: int, whole: int) -> str:
    """12.5 %; never 0 % or 100 % for what is not."""
    if not whole:
        return UNKNOWN
    value = min(max(100 * part / whole, 0.1 if part else 0), 100 if part == whole else 99.9)
    return f"{value:.1f}".removesuffix(".0") + " %"


def moment(at_s: float | None) -> str:
    """2026-11-26 14:02:11 UTC."""
    if at_s is None:
        return UNKNOWN
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
