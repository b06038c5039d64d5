"""An output is put in the order of its input."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

import orjson

from llmbatch_cli.core.errors import OutputError, UsageError
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.output.outfile import OutputLines, is_packed, replacing

_NONE: Final = 2**32 - 1


def put_in_order(path: Path, finished: FinishedRows | None = None) -> bool:
    """Rewrite an output in input order; returns whether that changed anything.

    The rows that the run itself has written stand by their own index. `finished` tells
    where those before them belong, which must all have been claimed; rows of no input row
    go last, in the order they had. No row is changed. Holds 16 bytes a row, and 4 for each
    row of input; a `.gz` is unpacked into a temporary file beside it first.

    Nobody may be writing the file. The old file stays until the new one is whole and on the
    disk. Blocks for some seconds a million rows. Raises OutputError, the old file untouched.
    """
    real = Path(os.path.realpath(path))
    try:
        return _put_in_order(real, finished or FinishedRows())
    except (OSError, UsageError, ValueError, TypeError, LookupError) as error:
        reason = error.message if isinstance(error, UsageError) else str(error)
        raise OutputError(
            f"cannot put {path} in order: {reason}", hint="its rows are whole, in another order"
        ) from error


def _put_in_order(real: Path, finished: FinishedRows) -> bool:
    with TemporaryFile(dir=real.parent) if is_packed(real) else real.open("rb") as rows:
        starts, places = _read_places(OutputLines(real), rows, finished)
        if _is_ascending(places):
            return False
        with replacing(real) as write:
            for number in _in_order(places):
                rows.seek(starts[number])
                write(rows.read(starts[number + 1] - starts[number]))
    return True


def _read_places(
    lines: OutputLines, copy: BinaryIO, finished: FinishedRows
) -> tuple["array[int]", "array[int]"]:
    """Where each row starts, with the end of the last one, and which place it should have."""
    starts, places = array("Q", (0,)), array("I")
    at = rows = 0
    for line in lines:
        if copy.writable():
            copy.write(line)
        at += len(line)
        starts.append(at)
        row = orjson.loads(line)
        if places and "part" in row and row["part"][0] != 1:  # it stays with the first
            places.append(places[-1])
            continue
        places.append(_place(row, rows, finished))
        rows += 1
    return starts, places


def _place(row: Any, number: int, finished: FinishedRows) -> int:
    place = row["index"]
    if number < finished.rows:
        place = finished.take_place(row["key"], place)
    return place if place is not None and 0 <= place < _NONE else _NONE


def _is_ascending(places: "array[int]") -> bool:
    return all(places[i] <= places[i + 1] for i in range(len(places) - 1))


def _in_order(places: "array[int]") -> Iterator[int]:
    """The numbers of the rows by their places, equal ones as they stood; uses `places` up."""
    most = max((place for place in places if place != _NONE), default=-1)
    heads = array("I", (_NONE,)) * (most + 2)
    for number in range(len(places) - 1, -1, -1):  # backwards, as the last one put in is first
        place = min(places[number], most + 1)
        places[number] = heads[place]
        heads[place] = number
    for number in heads:
        while number != _NONE:
            yield number
            number = places[number]
