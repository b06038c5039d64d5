"""The failed rows of an output, and their rows of input."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Prompt, Row, RowId
from llmbatch_cli.rows.input.attachments import attached_now, names_files
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.keys import REQUEST_DIGITS, check_key, row_digits

EXAMPLES: Final = 3


@frozen
class Example:
    """One failed row."""

    index: int
    id: RowId
    message: str


@dataclass(slots=True)
class Kind:
    """The failed rows of one kind."""

    count: int = 0
    retryable: bool = False
    examples: list[Example] = field(default_factory=list)
    """The first three."""


@dataclass(slots=True)
class Failures:
    """The failed rows of an output."""

    rows: int = 0
    """All rows of the output, answered ones too."""
    failed: int = 0
    kinds: dict[str, Kind] = field(default_factory=dict)
    wanted: Counter[str] = field(default_factory=Counter)
    """How often each row of input has failed, by the second part of its key."""
    repeats: set[int] = field(default_factory=set)
    """Which answers to a row have failed, where each was asked several times."""
    keyless: int = 0
    """Failed rows without a key, as in a redirected standard output."""


def failures_in(lines: Iterable[bytes], name: str) -> Failures:
    """Count the failed rows of a jsonl output; an incomplete last line is left out.

    Raises UsageError, with `name` and the line, for any other file.
    """
    found = Failures()
    broken: int | None = None
    for number, line in enumerate(lines, 1):
        if broken is not None:
            raise _not_an_output(name, broken)
        try:
            _take_row(found, orjson.loads(line))
        except orjson.JSONDecodeError:
            broken = number if line.strip() else None
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _not_an_output(name, number) from error
    if broken == 1:
        raise _not_an_output(name, 1)
    return found


def _take_row(found: Failures, row: dict[str, Any]) -> None:
    error, index, row_id = row["error"], row["index"], row["id"]
    found.rows += 1
    if error is None:
        return
    found.failed += 1
    kind = found.kinds.setdefault(str(error["type"]), Kind(retryable=bool(error["retryable"])))
    kind.count += 1
    if len(kind.examples) < EXAMPLES:
        kind.examples.append(Example(index, row_id, str(error["message"])))
    key = row.get("key")
    if key is None:
        found.keyless += 1
    else:
        check_key(key)
        found.wanted[key[REQUEST_DIGITS:]] += 1
        if isinstance(repeat := row.get("repeat"), int):
            found.repeats.add(repeat)


def _not_an_output(name: str, line: int) -> UsageError:
    return UsageError(
        f"{name}:{line}: this is not a row of an output",
        hint="name a file that was written with --format jsonl; a whole table has no failed rows, "
        "any other its journal beside it",
    )


# Their rows of input


def input_rows(
    inputs: Inputs, found: Failures, files: Path | None = None
) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of input, as they are and with a newline, whose rows have failed, each with
    how often it has.

    A row is found by its content, not by its place, so the input may have been reordered
    or added to since; `files` is the folder of the files that rows name. A row that stands on many
    lines, in an array or in a table, is put on one; a text that is one prompt over many lines
    becomes a JSON string.
    """
    left = dict(found.wanted)
    for row, line in inputs.rows_and_lines():
        if isinstance(row, Prompt) and names_files(row.messages):
            row = attached_now(row, files)
        times = sum(
            _take(left, replace(row, repeat=number)) for number in (None, *sorted(found.repeats))
        )
        if times and line is not None:
            yield line + b"\n", times


def _take(left: dict[str, int], row: Row) -> bool:
    """Whether this row is wanted; if so, it is wanted once less."""
    # a number as id may have been the row's index when it failed, or may be it only now
    other = -1 if row.id == row.index else row.id
    for index in (row.index, other) if isinstance(other, int) else (row.index,):
        digits = row_digits(replace(row, index=index))
        if left.get(digits):
            left[digits] -= 1
            return True
    return False


def as_json(found: Failures, name: str | Path) -> bytes:
    """The failures for programs: one JSON object."""
    kinds = [{"type": kind, **asdict(rows)} for kind, rows in by_count(found)]
    report = {"file": str(name), "rows": found.rows, "failed": found.failed, "kinds": kinds}
    return orjson.dumps(report, option=orjson.OPT_APPEND_NEWLINE)


def by_count(found: Failures) -> list[tuple[str, Kind]]:
    """The kinds, the most frequent first."""
    return sorted(found.kinds.items(), key=lambda item: (-item[1].count, item[0]))
