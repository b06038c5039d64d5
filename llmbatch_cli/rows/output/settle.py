"""The end of a resumed run: the output gets the ids, and the order, of its input."""

import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

import orjson

from llmbatch_cli.core.errors import OutputError, UsageError
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.output.outfile import OutputLines, free_name, is_packed, replacing
from llmbatch_cli.rows.output.render import dump
from llmbatch_cli.rows.output.superseded import superseded

_LAST: Final = 2**32 - 1


@dataclass(slots=True)
class Settled:
    """What the end of a run has changed in its output."""

    rewritten: bool = False
    replaced: int = 0
    """Answers of edited rows, which are in `replaced_in` now."""
    replaced_in: Path | None = None

    def __bool__(self) -> bool:
        return self.rewritten


def settle(path: Path, finished: FinishedRows, *, ordered: bool, whole: bool = False) -> Settled:
    """Rewrite an output as `finished` was claimed.

    A row that a renamed, edited or moved row of input has claimed gets its new index, id,
    metadata and key; nothing else of it changes. With `ordered` the rows then stand by their
    index: those that nobody has claimed last, in the order they had. The several outcomes of one
    row stay together. `finished` holds no new fields afterwards.

    `whole`: all rows of the input were read. Then failures that nobody has claimed are removed:
    their rows were corrected, taken out, or sent to another model. Answers are never removed,
    but those of edited rows are moved to `OUT.replaced-<n>`, so that an id stands once.

    Nobody may be writing the file. The old file stays until the new one is whole and on the
    disk: after a kill the next --resume makes the same changes. Holds 12 bytes a row, and 4
    for each row of input; a `.gz` is unpacked into a temporary file beside it first. Blocks for
    some seconds a million rows. Raises OutputError, the old file untouched.
    """
    real = Path(os.path.realpath(path))
    settled = Settled()
    try:
        gone = superseded(real, finished) if whole else set[int]()
        drop = whole and finished.failed > finished.taken_failed
        if finished.changed or ordered or drop or gone:
            _settle(real, finished, settled, ordered=ordered, drop=drop, gone=gone)
    except (OSError, UsageError, ValueError, TypeError, LookupError) as error:
        reason = error.message if isinstance(error, UsageError) else str(error)
        raise OutputError(
            f"cannot rewrite {path} with the new ids and order of its rows: {reason}",
            hint="no answer is lost; --resume tries again and sends nothing twice",
        ) from error
    finally:
        finished.close()
    if drop:
        finished.failed = finished.taken_failed
    return settled


def _settle(
    real: Path,
    finished: FinishedRows,
    settled: Settled,
    *,
    ordered: bool,
    drop: bool,
    gone: set[int],
) -> None:
    with TemporaryFile(dir=real.parent) if is_packed(real) else real.open("rb") as copy:
        starts, places = _read_places(OutputLines(real), copy, finished)
        moved = ordered and any(first > second for first, second in pairwise(places))
        if not (moved or finished.changed or drop or gone):
            return
        with replacing(real) as write, _replaced_file(real, gone, settled) as put_away:
            for number in _in_order(places) if moved else range(len(places)):
                is_old = number < finished.rows
                if drop and is_old and finished.is_left_over(number):
                    continue
                copy.seek(starts[number])
                lines = copy.read(starts[number + 1] - starts[number])
                if is_old and (fields := finished.new_fields(number)):
                    lines = b"".join(_with(fields, line) for line in lines.splitlines(True))
                (put_away if number in gone else write)(lines)
    settled.rewritten, settled.replaced = True, len(gone)


@contextmanager
def _replaced_file(
    real: Path, gone: set[int], settled: Settled
) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes to the first free `OUT.replaced-<n>`; on the disk at the end."""
    if not gone:
        yield lambda lines: None
        return
    name = free_name(real, "replaced")
    with name.open("xb") as file:
        yield file.write
        file.flush()
        os.fsync(file.fileno())
    settled.replaced_in = name


def _with(fields: dict[str, object], line: bytes) -> bytes:
    return dump({**with_big_ints(orjson.loads(line), line), **fields})


def _read_places(
    lines: OutputLines, copy: BinaryIO, finished: FinishedRows
) -> tuple["array[int]", "array[int]"]:
    """Where each row starts, with the end of the last one, and which place it should have.

    The lines of one row count as one.
    """
    starts, places = array("Q"), array("I")
    at = 0
    for line in lines:
        if copy.writable():
            copy.write(line)
        row = orjson.loads(line)
        if not places or "part" not in row or row["part"][0] == 1:
            starts.append(at)
            places.append(_place(row["index"], len(places), finished))
        at += len(line)
    starts.append(at)
    return starts, places


def _place(index: int, number: int, finished: FinishedRows) -> int:
    if number < finished.rows:
        index = finished.new_fields(number).get("index", index)
        if not finished.is_claimed(number):
            return _LAST
    return index if 0 <= index < _LAST else _LAST


def _in_order(places: "array[int]") -> Iterator[int]:
    """The numbers of the rows by their places, equal ones as they stood; uses `places` up."""
    end = max((place for place in places if place != _LAST), default=-1) + 1
    heads = array("I", (_LAST,)) * (end + 1)
    for number in range(len(places) - 1, -1, -1):  # backwards, as the last one put in is first
        place = min(places[number], end)
        places[number] = heads[place]
        heads[place] = number
    for number in heads:
        while number != _LAST:
            yield number
            number = places[number]
