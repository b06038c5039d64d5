"""A whole table whose journal is gone, read back into one, so that --resume can add to it.

Its rows are found by the input's columns, since it has no keys.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import OutputOptions
from llmbatch_cli.core.types import Completion, Outcome, Row
from llmbatch_cli.rows.input.groups import Reading, groups_of
from llmbatch_cli.rows.lines import MAX_LINE_BYTES
from llmbatch_cli.rows.output.delimited import FORMULA, text_of
from llmbatch_cli.rows.output.outfile import renewed
from llmbatch_cli.rows.output.render import dump, row_of
from llmbatch_cli.rows.output.schema_columns import SchemaColumns
from llmbatch_cli.rows.output.table import Choice, Columns
from llmbatch_cli.rows.output.with_input import fields_of

_FLOAT: Final = re.compile(r"-?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+)")


async def recover(
    options: OutputOptions,
    journal: Path,
    rows: Callable[[], AsyncGenerator[Row, None]],
    schema: Any = None,
) -> None:
    """Write the journal of a table.

    `rows` gives the rows of the input from their start, with their keys; they are read twice.
    `schema` is that of the answers. A row of the table that is of no row of input stays, under a
    key that no row has. Blocks now and then. Raises UsageError for a table that is not of these
    options, or cannot be read.
    """
    names: dict[str, None] = {}
    async with aclosing(rows()) as inputs:
        async for row in inputs:
            names.update(dict.fromkeys(fields_of(row) or ()))
    try:
        with TemporaryFile(dir=journal.parent) as drafts:
            table = _Table(options, Choice.of(options, schema), names, drafts)
            with renewed(journal) as file:
                async with aclosing(rows()) as inputs:
                    async for row in inputs:
                        file.write(table.claimed_by(row))
                file.writelines(table.left())
    except OSError as error:
        raise UsageError(f"cannot resume {options.output}: {error.strerror or error}") from error


class _Table:
    """The rows of a table, by their digests."""

    def __init__(
        self,
        options: OutputOptions,
        choice: Choice,
        names: Mapping[str, None],
        drafts: BinaryIO,
    ) -> None:
        self._drafts = drafts
        self._by_digest: dict[bytes, list[int]] = {}
        self._fields: set[str] = set()
        self._rows = 0
        own: Mapping[str, str] = {}
        self._properties: Mapping[str, str] = {}
        for fields in _records(options):
            if not self._rows:
                own = _own_names(options, choice, [*fields])
                self._fields = {name for name in fields if name in names} - {*own.values()}
                left = [one for one in fields if one not in {*self._fields, *own.values()}]
                self._properties = {_property_of(one, choice, names): one for one in left}
            if not self._fields:
                break
            self._add(fields, own)
        if not self._rows:
            raise UsageError(
                f"{options.output} has no rows with the input's columns, so it is another table",
                hint="--overwrite replaces it, or name another file",
            )

    def claimed_by(self, row: Row) -> bytes:
        """The line of the journal that answers this row; nothing where there is none."""
        fields = fields_of(row) or {}
        places = self._by_digest.get(_digest(fields, self._fields))
        if not places:
            return b""
        draft = self._at(places.pop(0))
        again = {"index": row.index, "id": row.id, "metadata": row.metadata}
        return dump({**draft, **again, "fields": fields, "key": row.key})

    def left(self) -> Iterator[bytes]:
        """The lines of rows that nobody has claimed."""
        for places in self._by_digest.values():
            for place in places:
                yield dump(self._at(place))

    def _add(self, fields: Mapping[str, Any], own: Mapping[str, str]) -> None:
        place = self._drafts.tell()
        self._by_digest.setdefault(_digest(fields, self._fields), []).append(place)
        kept = {name: value for name, value in fields.items() if name in self._fields}
        cells = {name: fields[column] for name, column in own.items()}
        data = {name: fields.get(column) for name, column in self._properties.items()}
        self._rows += 1
        key = blake2b(str(place).encode(), digest_size=16).hexdigest()
        outcome = Outcome(
            self._rows, self._rows, cells.get("model"), None, _answer(cells), fields=kept
        )
        row = {**row_of(outcome), **_numbers(cells), "key": key}
        self._drafts.write(dump({**row, "data": data} if data else row))

    def _at(self, place: int) -> dict[str, Any]:
        self._drafts.seek(place)
        row: dict[str, Any] = orjson.loads(self._drafts.readline())
        return row


def _records(options: OutputOptions) -> Iterator[Mapping[str, Any]]:
    form = options.format
    reading = Reading(form, "lines", MAX_LINE_BYTES)  # type: ignore[arg-type]
    for group in groups_of(str(options.output), reading):
        if group.error is not None:
            raise UsageError(f"cannot resume {options.output}: {group.error.message}")
        for record in group.records:
            if record.wrong is not None:
                where = f"{options.output}:{record.line}"
                raise UsageError(f"cannot resume {where}: {record.wrong}")
            yield record.fields


def _property_of(column: str, choice: Choice, names: Mapping[str, None]) -> str:
    """The property of an answer's data that is in this column: n in n_2, where n is the input's."""
    base, _, number = column.rpartition("_")
    is_renamed = number.isdecimal() and base in names and column not in choice.promised.properties
    return base if is_renamed else column


def _own_names(options: OutputOptions, choice: Choice, header: Sequence[str]) -> Mapping[str, str]:
    """By the names of our columns those that they have in this table.

    Raises UsageError where one is missing.
    """
    found = {}
    has_answer = choice.answer_is_meant or not choice.promised.properties
    for column in Columns(replace(choice, promised=SchemaColumns({}))).columns():
        if column.name == choice.answer_field and not has_answer:
            continue
        last = _last_of(column.name, header)
        if last is None and column.name != choice.answer_field:
            raise UsageError(
                f"{options.output} has no column {column.name}, so it is another table",
                hint="give the --columns and --answer-field that it was written with",
            )
        if last is not None:
            name = "answer" if column.name == choice.answer_field else column.name
            found[name] = last
    return found


def _last_of(name: str, header: Sequence[str]) -> str | None:
    """What our column is called: the last of NAME, NAME_2, NAME_3, ..."""
    last, number = None, 1
    wanted = name
    while wanted in header:
        last, number = wanted, number + 1
        wanted = f"{name}_{number}"
    return last


def _answer(cells: Mapping[str, Any]) -> Completion:
    answer = cells.get("answer")
    text = None if answer is None else _without_mark(text_of(answer))
    reasoning = cells.get("reasoning") or None
    return Completion(text, cells.get("finish_reason") or None, reasoning=reasoning)


def _numbers(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that are numbers, under their names in a row."""
    values = {name: _number(cells.get(name)) for name in ("cost", "latency")}
    usage = {
        name: _number(cells[name])
        for name in ("prompt_tokens", "completion_tokens")
        if name in cells
    }
    return {**values, "usage": usage or None}


def _number(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return None


def _digest(fields: Mapping[str, Any], names: set[str]) -> bytes:
    cells = sorted((name, _normal(fields.get(name))) for name in names)
    return blake2b(dump({"cells": cells}), digest_size=16).digest()


def _normal(value: Any) -> str:
    """The cell as it may be read from any kind of table."""
    text = _without_mark(text_of(value))
    if _FLOAT.fullmatch(text):  # 1.0 of Parquet is a text in CSV, and 1 in a workbook
        number = float(text)
        return str(int(number) if number.is_integer() else number)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_mark(text: str) -> str:
    """The text without what keeps a spreadsheet from running it."""
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULA else text
