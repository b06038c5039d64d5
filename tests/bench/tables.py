"""A table as CSV beside the same rows as JSONL: rows a second, and memory at any size."""

import csv
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Run, run_process
from bench.programs import LLMBATCH, RUN_LIMIT_S, Bench
from bench.table import Figure, Section, at_least, at_most

SMALL = 50_000
LARGE = 5_000_000
FULL_LIMIT_S = 3_600


def tables(bench: Bench) -> Section:
    """Through `fake/echo`, so that reading is much of the work."""
    table, lines = bench.folder / "rows.csv", bench.folder / "same-rows.jsonl"
    _write_csv(table, SMALL)
    lines.write_text("".join(json.dumps(row) + "\n" for row in _rows(SMALL)))
    runs = [(_run(bench, table), _run(bench, lines)) for _ in range(bench.pairs)]
    ratio = statistics.median(jsonl.cpu_s / as_csv.cpu_s for as_csv, jsonl in runs)
    base = statistics.median(as_csv.peak_bytes for as_csv, _ in runs) / 1e6
    figures = [
        Figure("CSV / JSONL, rows a second of CPU time", ratio, "x", at_least(0.8)),
        Figure(f"peak, {SMALL:,} rows of CSV", base, "MB", at_most(100)),
    ]
    untold = "" if bench.full else " (--full)"
    grown = None
    if bench.full:
        _write_csv(table, LARGE)
        grown = _run(bench, table).peak_bytes / 1e6
    figures += [
        Figure(f"peak, {LARGE:,} rows of CSV{untold}", grown, "MB", at_most(100)),
        Figure(f"growth{untold}", grown and grown / base, "x", at_most(1.2)),
    ]
    return Section("tables", f"fake/echo, {SMALL:,} rows", figures)


def _rows(count: int) -> Iterator[dict[str, str]]:
    for number in range(count):
        yield {
            "id": str(number),
            "question": f'What is, please, the "capital" of {number}?\nIn one word.',
            "note": "copied as it is",
        }


def _write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("id", "question", "note"))
        writer.writeheader()
        writer.writerows(_rows(count))


def _run(bench: Bench, path: Path) -> Run:
    out = bench.folder / "tables.jsonl"
    command = [LLMBATCH, "batch", str(path), "-m", "fake/echo", "-o", str(out), "--overwrite", "-q"]
    return run_process(command, limit_s=FULL_LIMIT_S if bench.full else RUN_LIMIT_S)
