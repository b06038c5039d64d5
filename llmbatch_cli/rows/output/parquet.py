"""A table as a Parquet file; needs pyarrow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from llmbatch_cli.rows.output.delimited import text_of
from llmbatch_cli.rows.output.table import Column, Row

GROUP_ROWS: Final = 50_000
GROUP_CHARS: Final = 32 * 2**20
"""Of which one is reached first: what is held in memory, and a row group of the file."""
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2**53
"""From here on not every integer is a double."""


def write_parquet(
    file: BinaryIO, columns: Sequence[Column], rows: Callable[[], Iterable[Row]]
) -> None:
    """Write the rows. They are read twice, so that each column has the type of all its values.

    Numbers, truth values and lists of them keep their types; a column of several kinds is text,
    and so are objects, as JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [Kind(column.is_number) for column in columns]
    for row in rows():
        for kind, column in zip(kinds, columns, strict=True):
            kind.learn(column.cell(row))
    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    fields = [
        (column.name, pa.list_(types[kind.name]) if kind.is_list else types[kind.name])
        for column, kind in zip(columns, kinds, strict=True)
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(columns, kinds, rows()):
            arrays = [
                pa.array(cells, field.type) for cells, field in zip(group, schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _groups(
    columns: Sequence[Column], kinds: Sequence["Kind"], rows: Iterable[Row]
) -> Iterator[list[list[Any]]]:
    """The cells of some rows, column by column."""
    chars = 0
    cells: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for place, column in enumerate(columns):
            value = kinds[place].fit(column.cell(row))
            cells[place].append(value)
            chars += len(value) if isinstance(value, str | list) else 8
        if chars >= GROUP_CHARS or (columns and len(cells[0]) >= GROUP_ROWS):
            yield cells
            chars, cells = 0, [[] for _ in columns]
    if columns and cells[0]:
        yield cells


class Kind:
    """What the values of one column have in common."""

    def __init__(self, is_number: bool) -> None:
        """`is_number`: whether the column is of numbers where it has no value at all."""
        self._seen: set[str] = set()
        self._of_lists: set[str] = set()
        self._without = "float" if is_number else "text"

    def learn(self, value: Any) -> None:
        """Take another value into account."""
        if isinstance(value, list):
            self._seen.add("list")
            self._of_lists.update(_kind(item) for item in value if item is not None)
        elif value is not None:
            self._seen.add(_kind(value))

    @property
    def is_list(self) -> bool:
        """Whether each value is a list, and their items are of one plain kind."""
        return self._seen == {"list"} and _common(self._of_lists) is not None

    @property
    def name(self) -> str:
        """bool, int, float or text; of the items where it is a list."""
        if not self._seen:
            return self._without
        return _common(self._of_lists if self.is_list else self._seen) or "text"

    def fit(self, value: Any) -> Any:
        """The value as the column has it."""
        if value is None:
            return None
        name = self.name
        if self.is_list:
            return [None if item is None else _as(name, item) for item in value]
        return _as(name, value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if value not in _INT64:
            return "other"
        return "int" if -_EXACT <= value <= _EXACT else "long"
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "other"


def _common(kinds: set[str]) -> str | None:
    """The type that holds all of these exactly; None where there is none."""
    if kinds == {"bool"} or kinds == {"text"}:
        return next(iter(kinds))
    if kinds and kinds <= {"int", "long"}:
        return "int"
    return "float" if kinds and kinds <= {"int", "float"} else None


def _as(name: str, value: Any) -> Any:
    if name == "text":
        return text_of(value)
    return float(value) if name == "float" else value
