"""Tables that are no text, through the libraries of the extras `parquet` and `excel`. Blocks."""

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date, time, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from llmbatch_cli.core.errors import LlmbatchError, UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.rows.input.chunks import Opened
from llmbatch_cli.rows.input.inputs import BinaryTable, InputPath, can_be_read_twice
from llmbatch_cli.rows.input.remote import object_file
from llmbatch_cli.rows.input.table import Record, Say, names_of, say_renamed
from llmbatch_cli.rows.lines import Unreadable
from llmbatch_cli.storage import is_remote

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


def binary_records(
    form: BinaryTable, name: str, data: Opened, say: Say, *, has_header: bool = True
) -> Iterator[list[Record]]:
    """The table's rows in batches, whose `line` is the row's number from 1.

    What cannot be read at its place (a pipe, packed data) is copied to a temporary file first.
    Without a header the first row of a workbook is data. `say` is called with what a person should
    know. Raises Unreadable, and UsageError where the library is missing.
    """
    with _errors_of(form):
        if form == "parquet" and is_remote(name) and not data.is_packed:
            yield from _parquet(name)
            return
        with _placed(name, data) as path:
            if form == "parquet":
                yield from _parquet(path)
            elif form == "arrow":
                yield from _arrow(path, data.head)
            else:
                yield from _workbook(path, say, has_header=has_header)


def records_between(
    form: Literal["parquet", "arrow"], path: str, begin: int, end: int
) -> Iterator[list[Record]]:
    """The same of the rows from one number up to another, from 0."""
    with _errors_of(form):
        if form == "parquet":
            yield from _parquet(path, begin, end)
            return
        with Path(path).open("rb") as file:
            head = file.read(len(_STREAM))
        yield from _arrow(Path(path), head, begin, end)


@contextmanager
def _errors_of(form: BinaryTable) -> Iterator[None]:
    try:
        import_module(_LIBRARIES[form])
        yield
    except LlmbatchError:
        raise
    except ImportError as error:
        extra = "excel" if form == "xlsx" else "parquet"
        raise UsageError(
            f"reading {_WORDS[form]} needs a library that is not installed",
            hint=install_hint(extra),
        ) from error
    except Exception as error:  # the libraries have many
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise Unreadable(f"cannot be read as {_WORDS[form]}: {reason}") from error


@contextmanager
def _placed(name: str, data: Opened) -> Iterator[Path]:
    """A file with the unpacked data, in which one can go to and fro."""
    if can_be_read_twice(name) and not is_remote(name) and not data.is_packed:
        yield Path(name)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="llmbatch-") as folder:
        copy = Path(folder) / "table"
        with copy.open("wb") as file:
            file.writelines(data.chunks)
        yield copy


# Parquet and Arrow


def parquet_rows(path: str) -> int | None:
    """How many rows the file has, by its end; None where it cannot be read."""
    blocks = blocks_of("parquet", path)
    return None if blocks is None else sum(blocks)


def blocks_of(form: Literal["parquet", "arrow"], path: str) -> Sequence[int] | None:
    """How many rows each part of a file has that can be read by itself, of Parquet by its end
    alone; None where it cannot be read so."""
    try:
        if form == "parquet":
            with _parquet_file(path) as file:
                groups = range(file.metadata.num_row_groups)
                return [file.metadata.row_group(place).num_rows for place in groups]
        import pyarrow as pa

        with pa.memory_map(path) as source, pa.ipc.open_file(source) as file:
            return [file.get_batch(place).num_rows for place in range(file.num_record_batches)]
    except Exception:  # noqa: BLE001 - whoever reads it says what is wrong
        return None


@contextmanager
def _parquet_file(source: str | Path) -> Iterator[Any]:
    from pyarrow import parquet

    opened: Any = nullcontext(source)
    if isinstance(source, str) and is_remote(source):
        opened = object_file(source, InputPath.of(source).version)
    with opened as place, parquet.ParquetFile(place, pre_buffer=False) as file:
        yield file


def _parquet(source: str | Path, begin: int = 0, end: int | None = None) -> Iterator[list[Record]]:
    with _parquet_file(source) as file:
        groups: list[int] = []
        first = skipped = 0
        for place in range(file.metadata.num_row_groups):
            rows, before = file.metadata.row_group(place).num_rows, first
            first += rows
            if first <= begin:
                skipped = first
            elif end is None or before < end:
                groups.append(place)
        batches = file.iter_batches(BATCH_ROWS, row_groups=groups, use_threads=False)
        yield from _batches(batches, skipped, begin, end)


def _arrow(
    path: Path, head: bytes, begin: int = 0, end: int | None = None
) -> Iterator[list[Record]]:
    import pyarrow as pa

    if head.startswith(b"FEA1"):  # Feather's first version, which is read as a whole
        from pyarrow import feather

        yield from _batches(feather.read_table(path).to_batches(BATCH_ROWS), 0, begin, end)
        return
    with pa.memory_map(str(path)) as source:
        if head.startswith(_STREAM):
            with pa.ipc.open_stream(source) as stream:
                yield from _batches(stream, 0, begin, end)
            return
        with pa.ipc.open_file(source) as file:
            batches = map(file.get_batch, range(file.num_record_batches))
            yield from _batches(batches, 0, begin, end)


def _batches(
    batches: Iterator[Any], done: int, begin: int, end: int | None
) -> Iterator[list[Record]]:
    """The records between two numbers; so many rows stand before the batches."""
    for whole in batches:
        first, done = done, done + whole.num_rows
        last = done if end is None else min(done, end)
        for start in range(max(first, begin), last, BATCH_ROWS):
            batch = whole.slice(start - first, min(BATCH_ROWS, last - start))
            names = names_of(batch.schema.names)
            columns = [_values(column) for column in batch.columns]
            rows = zip(*columns, strict=True)
            yield [
                Record(number, dict(zip(names, row, strict=True)))
                for number, row in enumerate(rows, start + 1)
            ]
        if done == end:
            return


def _values(column: Any) -> Sequence[Any]:
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if types.is_temporal(kind) and getattr(kind, "unit", None) == "ns":  # Python has none
        micro = (
            pa.timestamp("us", kind.tz)
            if types.is_timestamp(kind)
            else (pa.time64("us") if types.is_time(kind) else pa.duration("us"))
        )
        column = column.cast(micro, safe=False)
    values: list[Any] = column.to_pylist()
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
        return _number_of(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _number_of(value: Decimal) -> int | float | str:
    """The number, or its text where a float is not exactly it."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else str(value)


# Workbooks


def _workbook(path: Path, say: Say, *, has_header: bool) -> Iterator[list[Record]]:
    names: list[str] = []
    found: list[Record] = []
    for number, row in enumerate(_sheet_rows(path, say), 1):
        cells = [_cell(value) for value in row]
        if not any(cell not in ("", None) for cell in cells):
            continue
        if not names:
            header = [str(cell) if has_header else "" for cell in cells]
            names = names_of(header)
            say_renamed(header, names, say)
            if has_header:
                continue
        found.append(Record(number, dict(zip(names, cells, strict=True))))
        if len(found) == BATCH_ROWS:
            yield found
            found = []
    yield found


def _sheet_rows(path: Path, say: Say) -> Iterator[list[Any]]:
    from python_calamine import CalamineWorkbook, PasswordError

    try:
        with CalamineWorkbook.from_path(path) as book:
            return iter(_first_sheet(book, say).iter_rows())
    except PasswordError as error:
        raise Unreadable("the workbook has a password") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of a damaged one; it is no Exception
            raise Unreadable(f"cannot be read as {_WORDS['xlsx']}: it is damaged") from error
        raise


def _first_sheet(book: Any, say: Say) -> Any:
    """The first sheet that is not empty."""
    sheets = [book.get_sheet_by_index(place) for place in range(len(book.sheet_names))]
    filled = [sheet for sheet in sheets if sheet.total_height]
    if not filled:
        raise Unreadable("the workbook is empty")
    if len(filled) > 1:
        others = ", ".join(sheet.name for sheet in filled[1:5])
        say(f'the sheet "{filled[0].name}" is read, and no other: {others}')
    return filled[0]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a workbook has no other numbers
    if isinstance(value, timedelta):
        return str(value)
    return _plain(value)
