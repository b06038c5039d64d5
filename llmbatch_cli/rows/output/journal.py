"""A table in a file: its rows stand in a journal beside it until the end of the run."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from llmbatch_cli.core.errors import OutputError, UsageError
from llmbatch_cli.core.options import OutputOptions
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.output.outfile import OutputLines, replacing
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.output.table import Choice, Columns, Row


@dataclass(slots=True)
class Written:
    """What stands in a table that was written."""

    rows: int = 0
    failed: int = 0
    notes: Sequence[str] = ()
    """What of the answers it does not show."""


def write_table(options: OutputOptions, journal: Path, *, in_order: bool) -> Written:
    """Write the table of all rows of the journal, in the order of the input.

    It replaces an old file when it is whole, and on the disk. `in_order`: the journal is. Reads
    it twice; blocks for some ten seconds a million rows. Raises OutputError, the journal
    untouched and the old file too.
    """
    table = options.output or Path()
    real = Path(os.path.realpath(table))
    if not in_order and journal.exists():
        settle(journal, FinishedRows(), ordered=True)
    try:
        return _write(options, journal, real)
    except (OSError, UsageError, ValueError, TypeError, LookupError) as error:
        reason = error.message if isinstance(error, UsageError) else str(error)
        raise OutputError(
            f"cannot write {table}: {reason}",
            hint=f"no answer is lost: {journal} has them, and --resume writes the table",
        ) from error


def _write(options: OutputOptions, journal: Path, real: Path) -> Written:
    written = Written()
    columns = Columns.of(_rows(journal), Choice.of(options))

    def counted() -> Iterator[Row]:
        for row in _rows(journal):
            written.rows += 1
            written.failed += row["error"] is not None
            yield row

    from llmbatch_cli.rows.output.delimited import DELIMITERS, Delimited

    lines, made = (
        Delimited(DELIMITERS[str(options.format)], raw=options.raw_cells),
        columns.columns(),
    )
    with replacing(real) as write:
        write(lines.header(made))
        for row in counted():
            write(lines.row(made, row))
    written.notes = [*columns.notes()]
    return written


def _rows(journal: Path) -> Iterator[dict[str, Any]]:
    """The journal's rows; none where it was never written."""
    if journal.exists():
        for line in OutputLines(journal):
            yield dict(with_big_ints(orjson.loads(line), line))
