"""One input as groups of lines, each as soon as it has arrived. Blocks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import BinaryIO, Final, NamedTuple

import orjson

from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.rows.big_ints import read_json
from llmbatch_cli.rows.input.chunks import as_text, opened
from llmbatch_cli.rows.input.foreign import (
    CSV,
    TSV,
    Foreign,
    Kind,
    by_shape,
    by_suffix,
    may_be_header,
    table_by_magic,
)
from llmbatch_cli.rows.input.inputs import (
    Format,
    InputPath,
    TextFormat,
    TextTable,
    can_be_read_twice,
    chunks_of,
    format_of_name,
    suffix_of,
)
from llmbatch_cli.rows.input.parse import is_conversation
from llmbatch_cli.rows.input.table import Layout, Record
from llmbatch_cli.rows.lines import BLANK, CHUNK_BYTES, Line, Lines, Unreadable

_JSON_BEGINS: Final = (b"{", b"[", b'"')
_TEXT: Final[Mapping[TextFormat, Format]] = {"lines": "text", "whole": "whole"}
_LONG_LINE_BYTES: Final = 2**20


Passing = Callable[[Iterator[bytes]], Iterator[bytes]]
"""The same bytes, looked at while they pass."""


class Group(NamedTuple):
    """Lines that have arrived together, and how they are read."""

    form: Format
    lines: Sequence[Line]
    """Of the form `values` not lines, but bytes as they came."""
    is_last: bool = False
    """Whether the input ends with them."""
    guessed: bool = False
    """Whether the content decided the form, which is reported."""
    records: Sequence[Record] = ()
    """Of a table, in place of lines."""
    notes: Sequence[str] = ()
    """What a person should know of the input."""
    error: Unreadable | None = None
    """Why the rest of the input cannot be read."""
    layout: Layout | None = None
    """That of a table as text."""


class Reading(NamedTuple):
    """How inputs are read: see `Inputs`."""

    input_format: InputFormat
    for_text: TextFormat
    max_line_bytes: int
    encoding: str | None = None
    has_header: bool = True


def groups_of(
    name: str, reading: Reading, stdin: BinaryIO | None = None, passing: Passing = iter
) -> Iterator[Group]:
    """The lines of one input, a group for each piece that arrives, at least one. Never raises.

    `passing` sees its bytes as they come.
    """
    try:
        yield from _groups_of(name, reading, passing(chunks_of(name, stdin)))
    except Unreadable as error:
        yield Group("text", [], error=error)


def _groups_of(name: str, reading: Reading, stored: Iterator[bytes]) -> Iterator[Group]:
    is_auto = reading.input_format == "auto"
    if is_auto and (kind := by_suffix(suffix_of(name))) is not None:
        raise Foreign(kind)
    if InputPath.of(name).row_id is not None:
        reading = reading._replace(for_text="whole")
    data = opened(stored)
    form = format_of_name(name, reading.input_format)
    if is_auto:
        form = table_by_magic(data.head) or form
    if form in ("parquet", "arrow", "xlsx"):
        from llmbatch_cli.rows.input.binary_tables import binary_records

        notes: list[str] = []
        records = binary_records(form, name, data, notes.append, has_header=reading.has_header)
        yield from _grouped(form, records, notes)
        return
    chunks = as_text(data, reading.encoding)
    if form in ("csv", "tsv"):
        yield from table_groups(form, chunks, reading)
    else:
        yield from _text_groups(name, form, _Head(chunks), reading)


def table_groups(
    form: TextTable,
    chunks: Iterator[bytes],
    reading: Reading,
    layout: Layout | None = None,
    line: int = 1,
) -> Iterator[Group]:
    """The records of a table as text, from this line on if its layout is known.

    Raises Unreadable for a header that cannot be read.
    """
    import csv

    from llmbatch_cli.rows.input.delimited import TextTableReader

    layout = layout or Layout("\t" if form == "tsv" else None, ())
    notes: list[str] = []
    table = TextTableReader(
        chunks,
        layout,
        reading.max_line_bytes,
        notes.append,
        has_header=reading.has_header,
        line=line,
    )
    try:
        for group in _grouped(form, table.records(), notes):
            yield group._replace(layout=table.layout)
    except csv.Error as error:
        raise Unreadable(str(error)) from error


def _grouped(
    form: Format, records: Iterator[Sequence[Record]], notes: list[str]
) -> Iterator[Group]:
    for batch in records:
        yield Group(form, [], records=batch, notes=tuple(notes))
        notes.clear()
    yield Group(form, [], is_last=True, notes=tuple(notes))


def _text_groups(
    name: str, form: Format | None, head: "_Head", reading: Reading
) -> Iterator[Group]:
    head.read(lambda data: data.strip(BLANK) or len(data) > CHUNK_BYTES)
    begin = head.data.lstrip(BLANK)[:1]
    guessed = form is None and begin != b"" and begin not in _JSON_BEGINS
    may_be_table = form is None
    form = form or ("jsonl" if begin in _JSON_BEGINS else _TEXT[reading.for_text])
    kind = _kind_by_shape(head, form, begin) if reading.input_format == "auto" else None
    if may_be_table and kind in (CSV, TSV):
        table: TextTable = "csv" if kind == CSV else "tsv"
        yield Group(table, [], guessed=True)
        yield from table_groups(table, head.chunks(), reading)
        return
    if kind is not None:
        raise Foreign(kind)
    if guessed:
        yield Group(form, [], guessed=True)
    if form == "jsonl" and begin == b"[" and _is_one_array(head):
        form = "values"
    if form == "jsonl" and begin == b"{" and reading.input_format == "auto":
        at = _list_within(head, may_wait=can_be_read_twice(name))
        if at is not None:
            yield Group("list", [], guessed=True)
            head.skip(at)
            form = "list"
    if form == "whole":
        yield Group(form, _whole(head.chunks(), reading.max_line_bytes), is_last=True)
    elif form in ("values", "list"):
        yield from (Group(form, [chunk]) for chunk in head.chunks())
        yield Group(form, [], is_last=True)
    else:
        lines = Lines(reading.max_line_bytes)
        yield from (Group(form, lines.feed(chunk)) for chunk in head.chunks())
        yield Group(form, lines.finish(), is_last=True)


class _Head:
    """The first bytes of an input, which decide how it is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.data = b""
        self.is_all = False
        """Whether the input has no more."""

    def read(self, is_enough: Callable[[bytes], object]) -> None:
        """Read on until the data are enough, or all."""
        while not (self.is_all or is_enough(self.data)):
            chunk = next(self._chunks, None)
            self.is_all = chunk is None
            self.data += chunk or b""

    def lines(self) -> list[bytes]:
        """The whole lines, without the blank ones before the first."""
        lines = self.data.lstrip().split(b"\n")
        return lines if self.is_all else lines[:-1]

    def skip(self, size_bytes: int) -> None:
        """Leave out the first bytes, but for their newlines."""
        skipped, self.data = self.data[:size_bytes], self.data[size_bytes:]
        self.data = b"\n" * skipped.count(b"\n") + self.data

    def chunks(self) -> Iterator[bytes]:
        """All bytes of the input."""
        yield self.data
        yield from self._chunks


def _kind_by_shape(head: _Head, form: Format, begin: bytes) -> Kind | None:
    """What the first lines show of a text that is no prompts: a table, or another kind."""
    if form == "whole" or (form == "jsonl" and begin in _JSON_BEGINS and begin != b'"'):
        return None
    head.read(lambda data: b"\n" in data.lstrip() or len(data) > _LONG_LINE_BYTES)
    lines = head.lines()
    if form == "jsonl" and begin == b'"':  # a text in JSON, or the name of a column
        is_header = lines and not _is_json(lines[0]) and may_be_header(lines[0])
        return _table_by_shape(head) if is_header else None
    if lines and may_be_header(lines[0]):
        _read_second_line(head)
    return by_shape(head.lines())


def _table_by_shape(head: _Head) -> Kind | None:
    _read_second_line(head)
    kind = by_shape(head.lines())
    return kind if kind in (CSV, TSV) else None


def _read_second_line(head: _Head) -> None:
    head.read(lambda data: data.lstrip().count(b"\n") > 1 or len(data) > _LONG_LINE_BYTES)


def _is_one_array(head: _Head) -> bool:
    """Whether the input begins with an array whose items are rows, on one line; or on one that is
    too long to tell, and is read item by item whatever it is."""
    head.read(lambda data: b"\n" in data.lstrip() or len(data) > _LONG_LINE_BYTES)
    line, newline, _ = head.data.lstrip().partition(b"\n")
    if not (newline or head.is_all):
        return True
    try:
        value = read_json(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, list) and not is_conversation(value)


def _list_within(head: _Head, *, may_wait: bool) -> int | None:
    """Where the rows begin of an input that is one object around them; None for any other."""
    head.read(lambda data: b"\n" in data.lstrip() or len(data) > _LONG_LINE_BYTES)
    line, newline, _ = head.data.lstrip().partition(b"\n")
    is_one_line = _is_json(line) if newline or head.is_all else False
    if is_one_line and b"[" not in line:
        return None
    if not (is_one_line or may_wait or line.strip(BLANK) == b"{"):
        return None  # the next line may be another row, and whoever writes it may wait
    from llmbatch_cli.rows.input.wrapped import list_in, read_wrapper

    value = _first_value(head)
    if len(head.data) <= _LONG_LINE_BYTES or value is not None:
        if value is None or not read_wrapper(value):
            return None

        def behind(data: bytes) -> bytes:
            return data.lstrip(BLANK)[len(value) :].strip(BLANK)

        head.read(behind)
        if behind(head.data):
            return None  # several objects
    return list_in(head.data)


def _first_value(head: _Head) -> bytes | None:
    """The first value in JSON; None where it has no end, or is too long to tell."""
    from llmbatch_cli.rows.input.splitter import Piece, Splitter

    splitter, seen = Splitter(2 * _LONG_LINE_BYTES), 0
    found: list[Piece] = []

    def is_enough(data: bytes) -> bool:
        nonlocal seen
        found.extend(islice(splitter.feed(data[seen:]), 1))
        seen = len(data)
        return bool(found) or seen > _LONG_LINE_BYTES

    if not is_enough(head.data):
        head.read(is_enough)
    return found[0].data if found and found[0].wrong is None else None


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _whole(chunks: Iterator[bytes], max_bytes: int) -> Sequence[Line]:
    """One line of all bytes; None where they are too long, none where they are blank."""
    pieces, size_bytes = [], 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            return [None]
        pieces.append(chunk)
    return [b"".join(pieces).rstrip(b"\r\n")]
