"""A table as CSV or TSV. No I/O.

Lines end with a newline alone, as Unix has it; cells are quoted by RFC 4180.
"""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from llmbatch_cli.core.options import OutputOptions
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.rows.output.render import dump_value, row_of, well_formed
from llmbatch_cli.rows.output.table import Choice, Column, Columns, Row

FORMULA: Final = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets know them
"""What a cell begins with that a spreadsheet may run.
https://owasp.org/www-community/attacks/CSV_Injection (2026-11)"""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Delimited:
    """Makes the lines of a table."""

    def __init__(self, delimiter: str, *, raw: bool = False) -> None:
        """`raw`: cells that a spreadsheet would run as a formula stay as they are."""
        self._raw = raw
        # csv quotes what its line's end has, so this is \r\n until the line is made
        self._write = csv.writer(_Given(), delimiter=delimiter, lineterminator="\r\n").writerow

    def header(self, columns: Sequence[Column]) -> bytes:
        """The line of names."""
        return self._line(column.name for column in columns)

    def row(self, columns: Sequence[Column], row: Row) -> bytes:
        """The line of a row."""
        return self._line(column.cell(row) for column in columns)

    def _line(self, values: Iterable[Any]) -> bytes:
        line: str = self._write([self._cell(value) for value in values])
        return line[:-2].encode() + b"\n"

    def _cell(self, value: Any) -> str:
        if not isinstance(value, str):
            return text_of(value)
        text = well_formed(value)
        if not self._raw and text[:1] in FORMULA and not _NUMBER.fullmatch(text):
            return f"'{text}"
        return text


class _Given:
    """A file that gives back what is written to it."""

    @staticmethod
    def write(text: str) -> str:
        return text


def text_of(value: Any) -> str:
    """A value as the text of a cell: JSON, except that a text is itself and null is nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return well_formed(value)
    return dump_value(value).decode()


DELIMITERS: Final = {"csv": ",", "tsv": "\t"}
MOST_HELD: Final = 1000
"""So many rows wait for one that shows the input's columns."""


class Streamed:
    """Renders outcomes as a table for a pipe: its columns are those that a schema promises, and
    those of the first row that could be read."""

    def __init__(
        self,
        options: OutputOptions,
        last: Callable[[bytes], bytes] | None = None,
        schema: Any = None,
    ) -> None:
        """`last`: changes each line, as for a terminal. `schema`: that of the answers."""
        self._lines = Delimited(DELIMITERS[str(options.format)], raw=options.raw_cells)
        self._found = Columns(Choice.of(options, schema))
        self._columns: Sequence[Column] | None = None
        self._held: list[Row] = []
        """Rows without fields, until the columns are known."""
        self._last = last
        self._narrow_rows = 0

    def __call__(self, outcome: Outcome) -> bytes:
        """The row's line, after the header where it is the first; nothing yet where it is held."""
        row = row_of(outcome)
        if self._columns is None:
            self._found.learn(row)
            self._held.append(row)
            is_held = outcome.fields is None and len(self._held) < MOST_HELD
            return b"" if is_held else self.end()
        self._narrow_rows += not self._found.has(row)
        return self._shown(self._lines.row(self._columns, row))

    def end(self) -> bytes:
        """The header and the rows that were held, where they are not yet written."""
        if self._columns is not None:
            return b""
        self._columns = columns = self._found.columns()
        rows = [self._lines.row(columns, row) for row in self._held]
        self._held = []
        return self._shown(b"".join((self._lines.header(columns), *rows)))

    def _shown(self, lines: bytes) -> bytes:
        return lines if self._last is None else self._last(lines)

    @property
    def notice(self) -> str | None:
        """What is otherwise than one would think."""
        notes = list(self._found.notes())
        if self._narrow_rows:
            have = "has" if self._narrow_rows == 1 else "have"
            rows = format_count(self._narrow_rows, "row")
            notes.append(
                f"{rows} {have} fields that the first has not, which are left out (-o FILE has all)"
            )
        return "; ".join(notes) or None
