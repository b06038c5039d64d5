"""Parts of the inputs that are read by themselves: shards, and the pieces of files they are of.

Cut equals whole: the rows of all shards, read in any order and by any process, are those of one
read of all inputs.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Any, Final, Literal

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.core.events import Notice, Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.chooser import repeated
from llmbatch_cli.rows.input.decided import PROMPT_IS
from llmbatch_cli.rows.input.groups import Group, groups_of
from llmbatch_cli.rows.input.inputs import Format, InputPath, shown_name
from llmbatch_cli.rows.input.pump import pumped
from llmbatch_cli.rows.input.ranges import Range, groups_within
from llmbatch_cli.rows.input.reader import Reader
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.table import Layout
from llmbatch_cli.storage import Entry

Form = Format | Literal["prompt"]
"""`prompt` is that of the command line."""
_WAY: Final = "put it back as it was and go on, or begin anew with another output"
_PLACE: Final = re.compile(r":\d+: ")


@frozen
class Piece:
    """A part of one file, or all of it."""

    file: str
    """An InputPath where its name does not say all."""
    form: Form
    begin: int
    """Where it begins: a byte, of Parquet and Arrow a row."""
    end: int | None
    """Where it ends; None is a file that is read as a whole."""
    first_index: int
    """The index of its first row, in all inputs."""
    first_line: int
    rows: int
    """How many it gives, with repetitions."""
    head: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The state of whoever reads all, where the piece begins, as JSON:

    read: rows of the file before it
    place: how many rows are before the file, where that does not follow from first_index
    skip: rows that are left out at its beginning, as by --offset
    take: how many are taken behind those, where its own end does not say so
    only: those behind `skip` that are taken, by their places, of a sample
    field, last: what the rows before have decided, see rows/input/decided.py
    layout: the delimiter and the columns of a table as text
    said: what is known of the file and not said again
    """


@frozen
class Shard:
    """The rows that one worker answers at a time."""

    number: int
    """From 0, in the order of the inputs."""
    pieces: Sequence[Piece]

    @property
    def rows(self) -> int:
        """How many it has."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def first_index(self) -> int:
        """The index of its first row."""
        return self.pieces[0].first_index

    @property
    def end_index(self) -> int:
        """The index behind that of its last row: all between are its own."""
        return self.pieces[-1].first_index + self.pieces[-1].rows

    def as_json(self) -> dict[str, Any]:
        """The shard as JSON."""
        return {"number": self.number, "pieces": [piece_as_json(one) for one in self.pieces]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Shard":
        """The same from JSON."""
        return cls(value["number"], [piece_from_json(one) for one in value["pieces"]])


def piece_as_json(piece: Piece) -> dict[str, Any]:
    """The piece as JSON."""
    known = InputPath.of(piece.file)
    own = {"named": _escaped(known.named)} if known.named != piece.file else {}
    if known.row_id is not None:
        own["row_id"] = _escaped(known.row_id)
    if known.entry is not None:
        own["entry"] = [*known.entry]
    return {
        "file": _escaped(piece.file),
        **own,
        "form": piece.form,
        "range": [piece.begin, piece.end],
        "first": [piece.first_index, piece.first_line],
        "rows": piece.rows,
        **({"head": dict(piece.head)} if piece.head else {}),
    }


def piece_from_json(value: Mapping[str, Any]) -> Piece:
    """The same from JSON."""
    file, named, row_id = (_unescaped(value.get(name)) for name in ("file", "named", "row_id"))
    entry = Entry(*value["entry"]) if "entry" in value else None
    path = InputPath(file or "", named=named, row_id=row_id, entry=entry)
    begin, end = value["range"]
    index, line = value["first"]
    return Piece(path, value["form"], begin, end, index, line, value["rows"], value.get("head", {}))


def _escaped(name: str) -> Any:
    """The name as JSON, which has no halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return [*name.encode(errors="surrogateescape")]
    return name


def _unescaped(name: Any) -> str | None:
    return bytes(name).decode(errors="surrogateescape") if isinstance(name, list) else name


# Reading


class Changed(InputError):
    """An input is not what it was when it was cut, or cannot be read here."""


async def rows_of(
    shard: Shard, inputs: Inputs, observe: Observer = ignore
) -> AsyncGenerator[Row, None]:
    """The rows of the shard, as a read of all inputs gives them.

    What was said when the inputs were cut is not said again. Raises Changed where they are not
    what they were.
    """
    for piece in shard.pieces:
        async with aclosing(_rows_of(piece, inputs, observe)) as rows:
            async for row in rows:
                yield row


async def _rows_of(piece: Piece, inputs: Inputs, observe: Observer) -> AsyncGenerator[Row, None]:
    if piece.form == "prompt":
        async for row in _prompts_of(piece, inputs):
            yield row
        return
    reader = Reader(inputs.max_line_bytes, _new(observe, piece), None, inputs.shape)
    _go_on(reader, piece)
    taken = _Taken(piece, inputs.choice.repeat)
    async with aclosing(pumped(_groups_of(piece, inputs))) as groups:
        async for group in groups:
            if group.error is not None and not taken.may_be_last:
                raise Changed(f"{shown_name(piece.file)} {group.error.message}", hint=_WAY)
            for row in reader.rows(group):
                for one in taken.of(row):
                    yield one
                if taken.is_done:
                    return
            if reader.given_up:
                break
    taken.check()


def _groups_of(piece: Piece, inputs: Inputs) -> Iterator[Group]:
    if piece.end is None:
        return groups_of(piece.file, inputs.reading)
    layout = Layout(*piece.head["layout"]) if "layout" in piece.head else None
    assert piece.form != "prompt"  # noqa: S101 - that one has no end
    part = Range(piece.form, piece.begin, piece.end, piece.first_line, layout)
    return groups_within(piece.file, inputs.reading, part)


def _go_on(reader: Reader, piece: Piece) -> None:
    """Bring the reader to where the piece begins."""
    read = piece.head.get("read", 0)
    reader.index = piece.head.get("place", piece.first_index - read)
    reader.begin(piece.file)
    reader.pass_over(read, piece.first_line - 1)
    reader.shaper.go_on(piece.head)


async def _prompts_of(piece: Piece, inputs: Inputs) -> AsyncGenerator[Row, None]:
    async with aclosing(inputs.rows()) as rows:
        async for row in rows:
            if piece.first_index <= row.index < piece.first_index + piece.rows:
                yield row


class _Taken:
    """Which rows of a piece are taken, and what index each gets."""

    def __init__(self, piece: Piece, repeat: int) -> None:
        self._piece = piece
        self._repeat = repeat
        self._skip: int = piece.head.get("skip", 0)
        only: Sequence[int] | None = piece.head.get("only")
        self._only = None if only is None else frozenset(only)
        self._is_cut_short = "take" in piece.head or only is not None
        self._seen = 0
        self._given = 0

    @property
    def is_done(self) -> bool:
        """Whether all are given, though the piece goes on."""
        return self._is_cut_short and self._given == self._piece.rows

    @property
    def may_be_last(self) -> bool:
        """Whether only one more is expected, as that which says why the rest cannot be read."""
        left = self._piece.rows - self._given
        return self._piece.end is None and (left <= 1 or self._only is not None)

    def of(self, row: Row) -> Iterator[Row]:
        """The rows to go on with after this one."""
        place = self._seen - self._skip
        self._seen += 1
        if place < 0 or (self._only is not None and place not in self._only):
            return
        for one in repeated(row, self._repeat, self._piece.first_index + self._given):
            if self._given == self._piece.rows:
                self._fail()
            self._given += 1
            yield one

    def check(self) -> None:
        """Raise Changed where there were fewer than there should be."""
        if self._given != self._piece.rows:
            self._fail()

    def _fail(self) -> None:
        raise Changed(f"{shown_name(self._piece.file)} has changed since the job began", hint=_WAY)


def _new(observe: Observer, piece: Piece) -> Observer:
    """Leaves out what was said of the file when it was cut."""
    said = frozenset(map(key_of, piece.head.get("said", ())))

    def observed(event: Any) -> None:
        if not (isinstance(event, Notice) and key_of(event.message) in said):
            observe(event)

    return observed


def key_of(notice: str) -> str:
    """What is the same in notices of which a run gives only the first."""
    if place := _PLACE.search(notice):
        return notice[place.end() :]
    _, is_taken, field = notice.partition(f": {PROMPT_IS} ")
    return f"{PROMPT_IS} {field.partition(', not ')[0]}" if is_taken else notice
