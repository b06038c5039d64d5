"""A table as a workbook of one sheet; needs xlsxwriter.

Texts are written as texts, so that no cell is a formula or a link. Limits:
https://support.microsoft.com/office/excel-specifications-and-limits (2026-11)
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.text import format_count
from llmbatch_cli.rows.output.delimited import text_of
from llmbatch_cli.rows.output.table import Column, Row

MOST_ROWS: Final = 1_048_575
"""Below the header."""
MOST_COLUMNS: Final = 16_384
_EXACT: Final = 2**53
_AS_CSV: Final = (
    "mv OUT.xlsx.llmbatch.jsonl OUT.csv.llmbatch.jsonl, then -o OUT.csv --resume makes it CSV"
)
_CUT: Final = -2
"""What xlsxwriter returns for a text of more than 32,767 characters, which it cuts."""


def write_xlsx(file: BinaryIO, columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Write the rows; yields what the workbook does not show.

    Raises UsageError where there are more rows or columns than a sheet can have.
    """
    import xlsxwriter

    if len(columns) > MOST_COLUMNS:
        raise UsageError(f"a sheet has at most {MOST_COLUMNS:,} columns", hint=_AS_CSV)
    # each row goes to a temporary file once the next one begins
    with xlsxwriter.Workbook(file, {"constant_memory": True}) as book:
        sheet = book.add_worksheet("answers")
        sheet.freeze_panes(1, 0)
        cut = sum(
            _write(sheet, 0, place, column.name) == _CUT for place, column in enumerate(columns)
        )
        for number, row in enumerate(rows, 1):
            if number > MOST_ROWS:
                raise UsageError(
                    f"a sheet has at most {MOST_ROWS:,} rows below its header", hint=_AS_CSV
                )
            for place, column in enumerate(columns):
                cut += _write(sheet, number, place, column.cell(row)) == _CUT
    if cut:
        have = "has" if cut == 1 else "have"
        cells = format_count(cut, "cell")
        yield f"{cells} {have} more than the 32,767 characters that Excel allows, and were cut"


def _write(sheet: Any, row: int, column: int, value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool):
        written: int = sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _EXACT:
        written = sheet.write_number(row, column, value)
    else:
        written = sheet.write_string(row, column, _no_markup(text_of(value)))
    return written


def _no_markup(text: str) -> str:
    """The text; with a blank at its end where xlsxwriter would take it for a cell's own XML."""
    return f"{text} " if text.startswith("<r>") and text.endswith("</r>") else text
