"""Answers whose row of input was edited since: another row has their id now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import REQUEST_DIGITS
from llmbatch_cli.rows.output.outfile import OutputLines

MOST: Final = 100_000
"""More answers that are not of the input come from another input or model, not from editing."""


def superseded(real: Path, finished: FinishedRows) -> set[int]:
    """The numbers of answers that no row has claimed, and whose own id another row has.

    An answer of the same row by another model or with other options is none of them: its key's
    second part is the same. Reads the output twice, where there may be any.
    """
    if not 0 < finished.untaken_answers <= MOST:
        return set()
    old: dict[Any, list[tuple[int, str]]] = {}
    for number, row in _numbered(real):
        own_id = row["id"] != row["index"]
        if own_id and row["error"] is None and not _is_current(number, finished):
            old.setdefault(row["id"], []).append((number, row["key"][REQUEST_DIGITS:]))
    found: set[int] = set()
    for number, row in _numbered(real) if old else ():
        if _is_current(number, finished):
            row = {**row, **_new_fields(number, finished)}
            digits = row["key"][REQUEST_DIGITS:]
            found.update(one for one, other in old.get(row["id"], ()) if other != digits)
    return found


def _is_current(number: int, finished: FinishedRows) -> bool:
    return number >= finished.rows or finished.is_claimed(number)


def _new_fields(number: int, finished: FinishedRows) -> dict[str, Any]:
    return finished.new_fields(number) if number < finished.rows else {}


def _numbered(real: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their numbers; of several outcomes of one row the first."""
    number = -1
    for line in OutputLines(real):
        row = orjson.loads(line)
        if "part" not in row or row["part"][0] == 1:
            number += 1
            yield number, row
