"""The figures of a run as JSON: for `--summary`, at its end."""

from typing import Any

from llmbatch_cli.core.quantiles import ERROR
from llmbatch_cli.ui.bill import Bill
from llmbatch_cli.ui.money import known_usd
from llmbatch_cli.ui.report import missing_rows
from llmbatch_cli.ui.totals import Totals


def summary_figures(totals: Totals) -> dict[str, Any]:
    """Names and meanings are those of `--progress json`; what is unknown is null."""
    p50, p95 = totals.latencies_s.at(0.5, 0.95)
    undone = totals.undone
    return {
        "rows": totals.rows,
        "answered": totals.answered,
        "failed": totals.failed_rows,
        "errors": totals.failed,
        "messages": totals.said,
        "cached": totals.cached,
        "truncated": totals.truncated,
        "empty": totals.empty,
        "skipped": totals.skipped,
        "not_answered": missing_rows(totals),
        "attempts": totals.attempts,
        "retries": totals.retries,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cached_tokens": totals.cached_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "usage_unknown": totals.unknown_usage,
        "cost": known_usd(totals),
        "cost_unknown_rows": totals.unknown_cost,
        "maybe_billed": _maybe_billed(totals),
        "not_finished": {
            "rows": undone.rows,
            "attempts": undone.attempts,
            "prompt_tokens": undone.prompt_tokens,
            "completion_tokens": undone.completion_tokens,
            "cost": known_usd(undone),
            "cost_unknown_rows": undone.unknown_cost,
            "maybe_billed": _maybe_billed(undone),
        },
        "cap": totals.gauges.cap_usd,
        "per_hour": None if known_usd(totals) is None else round(totals.usd_per_hour, 9),
        "latency": {
            "p50": p50,
            "p95": p95,
            "error": 0.0 if totals.latencies_s.is_exact else ERROR,
        },
        "rows_per_s": round(totals.rows_per_s, 3),
        "elapsed_s": round(totals.elapsed_s, 3),
    }


def _maybe_billed(bill: Bill) -> dict[str, Any]:
    up_to = None if bill.unknown_unseen else float(bill.unseen_usd)
    return {"attempts": bill.unseen, "up_to": up_to}
