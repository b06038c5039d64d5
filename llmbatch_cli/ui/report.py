"""Numbers and the summary of a run, in words."""

from collections.abc import Mapping
from typing import Final

from llmbatch_cli.core.events import Holder
from llmbatch_cli.ui.totals import Totals, mean_rows_per_s


def summary(totals: Totals, *, repeated_ids: int = 0, cancelled: bool = False) -> str:
    """What a run has come to: one line, and an indented one for each thing to know.

    Args:
        totals: of the run, at its end.
        repeated_ids: rows whose id an earlier row had.
        cancelled: whether the dropped rows were cancelled in flight, so that they may be billed.
    """
    told = [_result(totals)]
    if repeated_ids:
        told.append(f"{format_rows(repeated_ids)} repeated the id of an earlier row")
    if totals.skipped:
        told.append(f"{format_rows(totals.skipped)} of the input were done before")
    if missing := _missing(totals):
        told.append(missing)
    if cancelled and totals.dropped:
        told.append(f"up to {format_rows(totals.dropped)} dropped in flight may have been billed")
    if totals.billed_tries:
        told.append(_billed(totals))
    return "\n  ".join(told)


HOLDERS: Final[Mapping[Holder, str]] = {
    "slots": "",
    "rpm": "held by requests a minute",
    "tpm": "held by tokens a minute",
    "cool-down": "told to wait",
    "input": "waiting for input",
    "output": "waiting for the output",
}
"""What a run waits for, in words; requests in flight speak for themselves."""


def held(totals: Totals) -> str:
    """What holds the run back now; often nothing."""
    holder = totals.held_by()
    return HOLDERS[holder] if holder is not None else ""


def format_count(n: int) -> str:
    """1,200."""
    return f"{n:,}"


def format_rows(n: int) -> str:
    """1 row, or 1,200 rows."""
    return f"{format_count(n)} {'row' if n == 1 else 'rows'}"


def format_compact(n: int) -> str:
    """A count in at most four characters up to 999 billion: 950, 1.2k, 35k, 1.2M."""
    if n < 1_000:
        return str(n)
    size = float(n)
    for unit in "kMGT":
        size /= 1_000
        if size < 9.95:
            return f"{size:.1f}{unit}"
        if size < 999.5:
            break
    return f"{size:.0f}{unit}"


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


def format_duration(seconds: float, *, whole: bool = False) -> str:
    """0.42 s, 38.2 s, 2 min 5 s, 1 h 3 min; with `whole`, 38 s. Below 0 is 0."""
    seconds = max(0.0, seconds)
    if seconds < 59.95 and not whole:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    count = int(seconds) if whole else round(seconds)
    if count < 60:
        return f"{count} s"
    for unit, name, part, part_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if count >= unit:
            return _two(count // unit, name, count % unit // part, part_name)
    return _two(count // 60, "min", count % 60, "s")


def format_about(seconds: float) -> str:
    """A guess at a time: 38 s, 2 min, 1 h 3 min."""
    if seconds < 59.5:
        return f"{max(0, round(seconds))} s"
    return format_duration(round(seconds / 60) * 60)


def _two(large: int, large_name: str, small: int, small_name: str) -> str:
    return f"{large} {large_name}" + (f" {small} {small_name}" if small else "")


def _result(totals: Totals) -> str:
    if not (totals.rows or totals.has_begun or totals.total):
        return "no rows to answer" if totals.skipped else "no rows"
    told = f"{format_rows(totals.rows)}: {format_count(totals.answered)} answered"
    if totals.failed:
        told += f", {format_count(totals.failed_rows)} failed ({_kinds(totals)})"
    told += f" in {format_duration(totals.elapsed_s)}"
    told += f", {format_rate(mean_rows_per_s(totals))} rows/s"
    if totals.tokens:
        told += f", {format_count(totals.tokens)} tokens"
        if totals.unknown_usage:
            told += f" and those of {format_rows(totals.unknown_usage)} unknown"
    if totals.truncated:
        told += f", {format_count(totals.truncated)} cut off by length"
    return told


def _kinds(totals: Totals) -> str:
    kinds = sorted(totals.failed.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{format_count(n)} {kind}" for kind, n in kinds)


def _missing(totals: Totals) -> str:
    """What is told of rows of the input without an outcome; nothing where there are none."""
    dropped = totals.dropped + totals.in_flight
    if totals.total is not None or not totals.cut_short:
        missing = max(dropped, (totals.total or 0) - totals.rows)
        return f"{format_rows(missing)} not answered: the run ended first" if missing else ""
    if dropped:
        return f"at least {format_rows(dropped)} not answered: the run ended before its input"
    return "the run ended before its input; how many rows were left is not known"


def _billed(totals: Totals) -> str:
    tries = "try" if totals.billed_tries == 1 else "tries"
    told = f"{format_count(totals.billed_tries)} failed {tries} may have been billed"
    return (
        f"{told}; {format_rows(totals.billed_rows)} got no answer" if totals.billed_rows else told
    )
