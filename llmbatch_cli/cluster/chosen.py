"""Which outcome of a row counts, where several files have one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.recount import outcome_of
from llmbatch_cli.cluster.tallies import tally_of
from llmbatch_cli.core.events import Finished, Skipped, Started
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.ui.totals import Totals

Rows = list[dict[str, Any]]


@dataclass(slots=True)
class Earlier:
    """What earlier epochs have of a shard."""

    keys: dict[int, str | None] = field(default_factory=dict)
    """Of the rows that are finished, by their index."""
    failed: int = 0
    """Rows of earlier runs that have failed, and are not sent again."""
    retryable: int = 0
    """Those of them that might succeed."""
    of_this_run: dict[int, Rows] = field(default_factory=dict)
    """Those of this run's epochs, as they stand there."""
    whole: Mapping[str, Any] | None = None
    """What is said of the shard where another worker of this run has published it already."""


@dataclass(slots=True)
class Known:
    """One row, as it counts: its first answer, else its last failure; and those of another row
    that has taken its place, as by an edited attachment, are later than its own."""

    key: str | None
    error: Mapping[str, Any] | None
    source: str
    lines: bytes = b""
    rows: Rows | None = None


def _counts(known: Known | None, key: str | None) -> bool:
    """Whether an outcome which comes after this one takes its place."""
    return known is None or known.error is not None or known.key != key


class Reading:
    """What is finished, by files in the order of their making."""

    def __init__(self, retry_failed: RetryFailed) -> None:
        self._retry_failed = retry_failed
        self._rows: dict[int, Known] = {}

    def read(self, folder: Folder, name: str, *, is_ours: bool) -> None:
        """One more file. `is_ours`: of this run."""
        for _, rows in _groups(folder, name):
            index, key = rows[0]["index"], rows[0].get("key")
            if _counts(self._rows.get(index), key):
                ours = rows if is_ours else None
                self._rows[index] = Known(key, rows[0]["error"], name, rows=ours)

    def result(self) -> Earlier:
        """What is not sent again."""
        earlier = Earlier()
        for index, row in self._rows.items():
            if row.rows is not None:
                earlier.of_this_run[index] = row.rows
            elif row.error is not None:
                is_retryable = bool(row.error.get("retryable"))
                if self._retry_failed == "all" or (
                    self._retry_failed == "retryable" and is_retryable
                ):
                    continue
                earlier.failed += 1
                earlier.retryable += is_retryable
            earlier.keys[index] = row.key
        return earlier


def _groups(folder: Folder, name: str) -> Iterator[tuple[list[bytes], Rows]]:
    """The whole outcomes of each row: its lines, and what they say. Some rows have several."""
    lines: list[bytes] = []
    rows: Rows = []
    for line in folder.lines(name):
        try:
            row = orjson.loads(line)
            part, parts = row.get("part") or (1, 1)
            index, _ = row["index"], row["error"]
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            continue  # of a disk that lost power
        if part == 1:
            lines, rows = [], []
        elif not rows or rows[0]["index"] != index:
            continue
        lines.append(line)
        rows.append(row)
        if part == parts and len(rows) == parts:
            yield lines, rows
            lines, rows = [], []


def chosen_of(folder: Folder, names: Sequence[str]) -> dict[int, Known]:
    """What counts of several files, in the order of their making."""
    chosen: dict[int, Known] = {}
    for name in names:
        for lines, rows in _groups(folder, name):
            index, key = rows[0]["index"], rows[0].get("key")
            if _counts(chosen.get(index), key):
                chosen[index] = Known(key, rows[0]["error"], name, b"".join(lines))
    return chosen


def write(folder: Folder, chosen: Mapping[int, Known], final: str) -> None:
    """One file of them, in input order."""
    with folder.writer(final) as file:
        for index in sorted(chosen):
            file.write(chosen[index].lines)


def recounted(chosen: Mapping[int, Known], ours: set[str]) -> dict[str, Any]:
    """The figures of what was chosen: of this run's files as its own, the others as skipped."""
    totals = Totals()
    failed = retryable = 0
    for index, row in chosen.items():
        if row.error is not None:
            failed += 1
            retryable += bool(row.error.get("retryable"))
        if row.source not in ours:
            totals(Skipped(index))
            totals.failed_before += row.error is not None
            continue
        totals(Started(index))
        for line in row.lines.splitlines():
            totals(Finished(outcome_of(orjson.loads(line))))
    return {"tally": tally_of(totals), "failed": failed, "retryable": retryable}
