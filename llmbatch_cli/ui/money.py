"""What a run costs, as it goes on and at its end, for people and for programs."""

from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.text import format_count
from llmbatch_cli.ui.bill import Bill
from llmbatch_cli.ui.totals import Totals

if TYPE_CHECKING:
    from decimal import Decimal

ENOUGH_ROWS: Final = 20
"""With fewer, or fewer than are in flight, the whole cost is not projected: the short answers
come first."""


def known_usd(bill: Bill) -> float | None:
    """The cost of all rows whose cost is known; None where that is nothing, and unknown of some."""
    return None if bill.unknown_cost and not bill.cost_usd else float(bill.cost_usd)


def paid_usd(totals: Totals) -> float | None:
    """The same with what rows without an outcome have cost."""
    unknown = totals.unknown_cost + totals.undone.unknown_cost
    usd = totals.cost_usd + totals.undone.cost_usd
    return None if unknown and not usd else float(usd)


def projected_usd(totals: Totals) -> float | None:
    """What all rows of this run will cost, if those to come cost as those of a known cost.

    None while the number of rows is not known, or too few are done.
    """
    rows, total = totals.rows, totals.total
    priced, usd = rows - totals.unknown_cost, known_usd(totals)
    if total is None or usd is None or priced <= 0:
        return None
    left = max(0, total - rows)
    if left and priced < max(ENOUGH_ROWS, totals.in_flight):
        return None
    return usd + usd / priced * left


def money_fields(totals: Totals, usd_per_hour: float) -> dict[str, str]:
    """The same for people; all empty where nothing costs anything and nothing is capped."""
    fields = dict.fromkeys(("cost", "cost_alone", "projected", "per_hour", "unpriced"), "")
    usd, unknown, cap = paid_usd(totals), totals.unknown_cost, totals.gauges.cap_usd
    if not (usd or unknown or cap):
        return fields
    if usd is not None:
        fields["cost"] = fields["cost_uncapped"] = fields["cost_alone"] = format_usd(usd)
        if cap is not None:
            fields["cost"] += f" of {format_usd(cap)}"
            fields["cost_alone"] += f"/{format_usd(cap)}"
        fields["per_hour"] = f"{format_usd(usd_per_hour)}/h"
    projected = projected_usd(totals)
    if projected is not None and totals.rows < (totals.total or 0):
        fields["projected"] = f"about {format_usd(projected)} in all"
        fields["projected_alone"] = f"~{format_usd(projected)}"
    if unknown:
        fields["unpriced"] = f"cost unknown for {format_rows(unknown)}"
        fields["unpriced_alone"] = f"{format_count(unknown)} unknown"
    return fields


def format_cost(totals: Totals, cap_usd: float | None = None) -> str:
    """`$0.0123`, with the rows whose cost is not known; empty where nothing costs anything."""
    usd, undone = paid_usd(totals), totals.undone
    rows = totals.unknown_cost + undone.unknown_cost
    if not usd:
        return f"cost unknown for {format_rows(rows)}" if rows else ""
    notes = [f"unknown for {format_rows(rows)}"] if rows else []
    if undone.cost_usd:
        left = format_rows(undone.paid)
        were = "was" if undone.paid == 1 else "were"
        notes.append(f"{format_usd(undone.cost_usd)} of it for {left} that {were} not finished")
    cap = f" of {format_usd(cap_usd)}" if cap_usd is not None else ""
    return format_usd(usd) + cap + (f" ({'; '.join(notes)})" if notes else "")


def format_usd(usd: "Decimal | float") -> str:
    """$1,234.56, $0.0123, $0.00004: two digits, or the first two that are not 0."""
    amount = float(usd)
    digits = 2
    while 0 < amount < 10 ** (1 - digits) and digits < 12:
        digits += 1
    return f"${amount:,.{digits}f}"


def format_unseen(totals: Totals) -> str:
    """What may have been billed beside the cost."""
    undone = totals.undone
    if not (totals.unseen or undone.unseen):
        return ""
    usd = totals.unseen_usd + undone.unseen_usd
    most = f"up to {format_usd(usd)} more" if usd else ""
    unknown = totals.unknown_unseen + undone.unknown_unseen
    if unknown:
        most += f"{' and ' if most else ''}an unknown amount for {format_count(unknown, 'attempt')}"
    return f"may have been billed unseen: {most}"


def format_rows(n: int) -> str:
    """1 row, or 1,200 rows."""
    return format_count(n, "row")
