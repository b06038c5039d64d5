"""Tables that are no text, through the libraries of the extras `parquet` and `excel`. Blocks."""

import math
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.input.chunks import Opened
from llmbatch_cli.rows.input.inputs import BinaryTable, can_be_read_twice
from llmbatch_cli.rows.input.table import Record, names_of
from llmbatch_cli.rows.lines import Unreadable

BATCH_ROWS: Final = 1_024
_WORDS: Final[Mapping[BinaryTable, str]] = {
    "parquet": "Parquet",
    "arrow": "Arrow or Feather",
    "xlsx": "a workbook (xlsx, xlsb, xls, ods)",
}
_LIBRARIES: Final[Mapping[BinaryTable, str]] = {
    "parquet": "pyarrow",
    "arrow": "pyarrow",
    "xlsx": "python_calamine",
}
_STREAM: Final = b"\xff\xff\xff\xff"
"""How Arrow's stream format begins."""


def binary_records(form: BinaryTable, name: str, data: Opened) -> Iterator[list[Record]]:
    """The table's rows in batches, at least one, whose `line` is the row's number from 1.

    What cannot be read at its place (a pipe, packed data) is copied to a temporary file first.
    Raises Unreadable, and UsageError where the library is missing.
    """
    read = _READERS[form]
    try:
        import_module(_LIBRARIES[form])
        with _placed(name, data) as path:
            begun = False
            for batch in read(path, data.head):
                begun = True
                yield batch
            if not begun:
                yield []
    except ImportError as error:
        extra = "excel" if form == "xlsx" else "parquet"
        raise UsageError(
            f"reading {_WORDS[form]} needs a library that is not installed",
            hint=f"pip install 'llmbatch-cli[{extra}]'",
        ) from error
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise Unreadable(f"cannot be read as {_WORDS[form]}: {reason}") from error


@contextmanager
def _placed(name: str, data: Opened) -> Iterator[Path]:
    """A file with the unpacked data, in which one can go to and fro."""
    if can_be_read_twice(name) and not data.is_packed:
        yield Path(name)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="llmbatch-") as folder:
        copy = Path(folder) / "table"
        with copy.open("wb") as file:
            file.writelines(data.chunks)
        yield copy


# Parquet and Arrow


def _parquet(path: Path, _: bytes) -> Iterator[list[Record]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        yield from _batches(file.iter_batches(BATCH_ROWS, use_threads=False))


def _arrow(path: Path, head: bytes) -> Iterator[list[Record]]:
    import pyarrow as pa

    if head.startswith(b"FEA1"):  # Feather's first version, which is read as a whole
        from pyarrow import feather

        yield from _batches(feather.read_table(path).to_batches(BATCH_ROWS))
        return
    with pa.memory_map(str(path)) as source:
        if head.startswith(_STREAM):
            with pa.ipc.open_stream(source) as stream:
                yield from _batches(stream)
            return
        with pa.ipc.open_file(source) as file:
            yield from _batches(map(file.get_batch, range(file.num_record_batches)))


def _batches(batches: Iterator[Any]) -> Iterator[list[Record]]:
    done = 0
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH_ROWS):
            batch = whole.slice(start, BATCH_ROWS)
            names = names_of(batch.schema.names)
            columns = [_values(column) for column in batch.columns]
            rows = zip(*columns, strict=True)
            yield [
                Record(number, dict(zip(names, row, strict=True)))
                for number, row in enumerate(rows, done + 1)
            ]
            done += batch.num_rows


def _values(column: Any) -> Sequence[Any]:
    from pyarrow import types

    values: list[Any] = column.to_pylist()
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind):
        return values
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """The value as JSON has it: a missing number is null, bytes are base64, dates are text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value.isoformat() if isinstance(value, date | time) else str(value)


# Workbooks


def _workbook(path: Path, _: bytes) -> Iterator[list[Record]]:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        with CalamineWorkbook.from_path(path) as book:
            rows = iter(_first_sheet(book).iter_rows())
    except PasswordError as error:
        raise Unreadable("the workbook has a password") from error
    except CalamineError as error:
        raise Unreadable(f"cannot be read as a workbook: {error}") from error
    names: list[str] = []
    found: list[Record] = []
    for number, row in enumerate(rows, 1):
        cells = [_cell(value) for value in row]
        if not any(cell not in ("", None) for cell in cells):
            continue
        if not names:
            names = names_of([str(cell) for cell in cells])
            continue
        found.append(Record(number, dict(zip(names, cells, strict=True))))
        if len(found) == BATCH_ROWS:
            yield found
            found = []
    yield found


def _first_sheet(book: Any) -> Any:
    """The first sheet that is not empty."""
    sheets = map(book.get_sheet_by_index, range(len(book.sheet_names)))
    sheet = next((sheet for sheet in sheets if sheet.total_height), None)
    if sheet is None:
        raise Unreadable("the workbook is empty")
    return sheet


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a workbook has no other numbers
    if isinstance(value, timedelta):
        return str(value)
    return _plain(value)


_READERS: Final[Mapping[BinaryTable, Callable[[Path, bytes], Iterator[list[Record]]]]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "xlsx": _workbook,
}
