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
from llmbatch_cli.rows.output.delimited import DELIMITERS, Delimited
from llmbatch_cli.rows.output.outfile import OutputLines, renewed, replacing
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.output.table import Choice, Columns, Row
from llmbatch_cli.rows.output.target import reason


@dataclass(slots=True)
class Written:
    """A table that was written."""

    failed: int = 0
    """Its rows without an answer."""
    notes: Sequence[str] = ()
    """What of the answers it does not show."""


def write_table(
    options: OutputOptions, journal: Path, *, in_order: bool, schema: Any = None
) -> Written:
    """Write the table of all rows of the journal, in the order of the input.

    It replaces an old file when it is whole, and on the disk. `in_order`: the journal is.
    `schema` is that of the answers, which have its columns and its types. Reads the journal
    several times; blocks for some ten seconds a million rows. Raises OutputError, the
    journal and the old file untouched.
    """
    table = options.output or Path()
    if not in_order and journal.exists():
        settle(journal, FinishedRows(), ordered=True)
    try:
        choice = Choice.of(options, schema)
        return _write(options, choice, journal, Path(os.path.realpath(table)))
    except (OSError, UsageError, ValueError, TypeError, LookupError) as error:
        said = error.message if isinstance(error, UsageError) else reason(error)
        hint = error.hint if isinstance(error, UsageError) else None
        raise OutputError(
            f"cannot write {table}: {said}; no answer is lost: {journal} has them",
            hint=hint or "--resume writes the table again",
        ) from error


def _write(options: OutputOptions, choice: Choice, journal: Path, real: Path) -> Written:
    written, found = Written(), Columns(choice)
    for row in _rows(journal):
        found.learn(row)
        written.failed += row["error"] is not None
    columns, notes = found.columns(), [*found.notes()]
    if options.format == "parquet":
        from llmbatch_cli.rows.output.parquet import write_parquet

        with renewed(real) as file:
            notes += write_parquet(file, columns, lambda: _rows(journal))
    elif options.format == "xlsx":
        from llmbatch_cli.rows.output.xlsx import write_xlsx

        with renewed(real) as file:
            notes += write_xlsx(file, columns, _rows(journal))
    else:
        lines = Delimited(DELIMITERS[str(options.format)], raw=options.raw_cells)
        with replacing(real) as write:
            write(lines.header(columns))
            for row in _rows(journal):
                write(lines.row(columns, row))
    written.notes = notes
    return written


def _rows(journal: Path) -> Iterator[Row]:
    """The journal's rows; none where it was never written."""
    if journal.exists():
        for line in OutputLines(journal):
            yield with_big_ints(orjson.loads(line), line)
