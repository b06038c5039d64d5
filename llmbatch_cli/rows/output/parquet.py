"""A table as a Parquet file; needs pyarrow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from llmbatch_cli.rows.output.delimited import text_of
from llmbatch_cli.rows.output.schema_columns import ColumnType
from llmbatch_cli.rows.output.table import Column, Row

GROUP_ROWS: Final = 50_000
GROUP_CHARS: Final = 32 * 2**20
"""Of which one is reached first: what is held in memory, and a row group of the file."""
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2**53
"""From here on not every integer is a double."""


def write_parquet(
    file: BinaryIO, columns: Sequence[Column], rows: Callable[[], Iterable[Row]]
) -> Sequence[str]:
    """Write the rows; returns what is otherwise than one would think.

    They are read twice: a column has the type that is declared for it where all its values fit
    that, else the one that they have in common. A column of several kinds is text, and so are
    objects, as JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [Kind(column.declared) for column in columns]
    for row in rows():
        for kind, column in zip(kinds, columns, strict=True):
            kind.learn(column.cell(row))
    types = [kind.type for kind in kinds]
    plain = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    fields = [
        (column.name, pa.list_(plain[kind.name]) if kind.is_list else plain[kind.name])
        for column, kind in zip(columns, types, strict=True)
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(columns, types, rows()):
            arrays = [
                pa.array(cells, field.type) for cells, field in zip(group, schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return [
        f"the column {column.name} has values that are no {column.declared}, so it is {found}"
        for column, found in zip(columns, types, strict=True)
        if column.declared not in (None, found)
    ]


def _groups(
    columns: Sequence[Column], types: Sequence[ColumnType], rows: Iterable[Row]
) -> Iterator[list[list[Any]]]:
    """The cells of some rows, column by column."""
    chars = 0
    cells: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for place, column in enumerate(columns):
            value = _fit(types[place], column.cell(row))
            cells[place].append(value)
            chars += len(value) if isinstance(value, str | list) else 8
        if chars >= GROUP_CHARS or (columns and len(cells[0]) >= GROUP_ROWS):
            yield cells
            chars, cells = 0, [[] for _ in columns]
    if columns and cells[0]:
        yield cells


class Kind:
    """What the values of one column have in common."""

    def __init__(self, declared: ColumnType | None = None) -> None:
        """`declared`: the type of the column where every value fits it."""
        self._declared = declared
        self._seen: set[str] = set()
        self._of_lists: set[str] = set()

    def learn(self, value: Any) -> None:
        """Take another value into account."""
        if isinstance(value, list):
            self._seen.add("list")
            self._of_lists.update(_kind(item) for item in value if item is not None)
        elif value is not None:
            self._seen.add(_kind(value))

    @property
    def type(self) -> ColumnType:
        """The type that holds all values exactly."""
        declared = self._declared
        if declared is not None and declared.is_list and self._seen <= {"list"}:
            if self._of_lists <= _HELD[declared.name]:
                return declared
        elif declared is not None and not declared.is_list and self._seen <= _HELD[declared.name]:
            return declared
        if self._seen == {"list"} and (name := _common(self._of_lists)) is not None:
            return ColumnType(name, is_list=True)
        return ColumnType(_common(self._seen) or "text")


def _fit(kind: ColumnType, value: Any) -> Any:
    """The value as a column of this type has it."""
    if value is None:
        return None
    if kind.is_list:
        return [None if item is None else _as(kind.name, item) for item in value]
    return _as(kind.name, value)


_HELD: Final = {
    "bool": {"bool"},
    "int": {"int", "long", "whole"},
    "float": {"int", "float", "whole"},
    "text": {"text"},
}
"""By the name of a type the kinds of values that it holds exactly."""


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if value not in _INT64:
            return "other"
        return "int" if -_EXACT <= value <= _EXACT else "long"
    if isinstance(value, float):  # JSON has no other mark of an integer than its value
        return "whole" if value.is_integer() and abs(value) <= _EXACT else "float"
    return "text" if isinstance(value, str) else "other"


def _common(kinds: set[str]) -> str | None:
    """The type that holds all of these exactly; None where there is none."""
    if "whole" in kinds:  # written as 1.0, so it is not meant as an integer
        kinds = kinds | {"float"}
    return next((name for name, held in _HELD.items() if kinds and kinds <= held), None)


def _as(name: str, value: Any) -> Any:
    if name == "text":
        return text_of(value)
    return float(value) if name == "float" else int(value) if name == "int" else value
