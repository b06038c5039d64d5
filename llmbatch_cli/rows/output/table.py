"""A table of answers: its columns, and what stands in each cell. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.options import COLUMNS, OutputOptions
from llmbatch_cli.rows.output.schema_columns import ColumnType, SchemaColumns

Row = Mapping[str, Any]
"""A row of output as --format jsonl has it."""

BY_DEFAULT: Final = ("answer", "error")
_NOTHING: Final = SchemaColumns({})
_COLUMNS_HINT: Final = f"the input's are always there; beside them {', '.join(COLUMNS)}"


@frozen
class Column:
    """One column of a table."""

    name: str
    cell: Callable[[Row], Any]
    """What stands in it for a row; None is empty."""
    declared: ColumnType | None = None
    """The type that its values should have; None where they decide."""


@frozen
class Choice:
    """Which columns a table has beside the input's."""

    names: Sequence[str] = BY_DEFAULT
    """Among COLUMNS."""
    answer_field: str = "answer"
    answer_is_meant: bool = False
    """Whether the answer's text has a column also where its data has some."""
    promised: SchemaColumns = _NOTHING
    """What the schema of the answers says of their columns."""

    @classmethod
    def of(cls, options: OutputOptions, schema: Any = None) -> "Choice":
        """What the options say, and the schema of the answers. Raises UsageError for an unknown
        name."""
        promised = SchemaColumns.of(schema)
        if not options.answer_field.strip():
            raise UsageError("--answer-field is empty", hint="name the column, as in label")
        if options.columns is None:
            return cls(BY_DEFAULT, options.answer_field, promised=promised)
        names = list(dict.fromkeys(name.strip() for name in options.columns.split(",")))
        for name in names:
            if name not in COLUMNS:
                near = near_names(name, COLUMNS)
                hint = did_you_mean(near) if near else _COLUMNS_HINT
                raise UsageError(f"--columns: no column {name!r}", hint=hint)
        return cls(names, options.answer_field, "answer" in names, promised)


class Columns:
    """The columns that are promised, and that rows have shown so far: the input's in their order,
    then the answer's."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._fields: dict[str, None] = {}
        self._properties: dict[str, ColumnType | None] = dict(choice.promised.properties)

    @classmethod
    def of(cls, rows: Iterable[Row], choice: Choice) -> "Columns":
        """The columns of all these rows."""
        found = cls(choice)
        for row in rows:
            found.learn(row)
        return found

    def learn(self, row: Row) -> None:
        """Add the columns that this row has."""
        fields, data = row.get("fields"), row.get("data")
        if fields and not fields.keys() <= self._fields.keys():
            self._fields.update(dict.fromkeys(fields))
        if isinstance(data, dict) and not data.keys() <= self._properties.keys():
            self._properties.update(dict.fromkeys(data) | self._properties)

    def has(self, row: Row) -> bool:
        """Whether every field of the row has its column."""
        fields, data = row.get("fields"), row.get("data")
        return (not fields or fields.keys() <= self._fields.keys()) and (
            not isinstance(data, dict) or data.keys() <= self._properties.keys()
        )

    def columns(self) -> Sequence[Column]:
        """The columns; the answer's get another name where the input has theirs."""
        made = [Column(name, _field(name)) for name in self._fields]
        taken = set(self._fields)
        for own in self._own():
            name = _free(own.name, taken)
            taken.add(name)
            made.append(Column(name, own.cell, own.declared))
        return made

    def notes(self) -> Iterable[str]:
        """Which columns of ours have another name than was asked for."""
        for own, column in zip(self._own(), self.columns()[len(self._fields) :], strict=True):
            if column.name != own.name:
                yield f"there is a column {own.name} already, so ours is {column.name}"

    def _own(self) -> Iterable[Column]:
        choice = self._choice
        for name in choice.names:
            if name != "answer":
                yield from _OWN[name]
                continue
            if choice.answer_is_meant or not self._properties:
                yield Column(choice.answer_field, answer_of, choice.promised.whole)
            for key, kind in self._properties.items():
                yield Column(key, _property(key), kind)


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: None if (fields := row.get("fields")) is None else fields.get(name)


def _property(name: str) -> Callable[[Row], Any]:
    return lambda row: data.get(name) if isinstance(data := row.get("data"), dict) else None


def answer_of(row: Row) -> Any:
    """What was answered: data of a given shape, else the text; several answers as a list.

    A text that does not fit the shape is no answer.
    """
    data = row.get("data")
    if row["error"] is not None:
        return None
    if data is not None and not isinstance(data, dict):
        return data
    if len(choices := row.get("choices") or ()) > 1:
        return [choice["message"].get("content") for choice in choices]
    text = row["text"]
    return row.get("tool_calls") if text is None else text


def _error_of(row: Row) -> str | None:
    error = row["error"]
    return None if error is None else f"{error['type']}: {error['message']}"


def _plain(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _usage(name: str) -> Callable[[Row], Any]:
    return lambda row: (row.get("usage") or {}).get(name)


_TEXT: Final = ColumnType("text")
_COUNT: Final = ColumnType("int")
_NUMBER: Final = ColumnType("float")
_OWN: Final[Mapping[str, Sequence[Column]]] = {
    "reasoning": [Column("reasoning", _plain("reasoning"), _TEXT)],
    "model": [Column("model", _plain("model"), _TEXT)],
    "finish_reason": [Column("finish_reason", _plain("finish_reason"), _TEXT)],
    "tokens": [
        Column(name, _usage(name), _COUNT) for name in ("prompt_tokens", "completion_tokens")
    ],
    "cost": [Column("cost", _plain("cost"), _NUMBER)],
    "latency": [Column("latency", _plain("latency"), _NUMBER)],
    "error": [Column("error", _error_of, _TEXT)],
}
"""The columns by the name in --columns."""
