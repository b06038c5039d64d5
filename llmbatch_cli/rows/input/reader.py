"""Bytes of one input after the other to rows. No I/O."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import orjson

from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.big_ints import DEEPEST, is_too_deep, read_json, with_big_ints
from llmbatch_cli.rows.input.foreign import Foreign, refused
from llmbatch_cli.rows.input.groups import Group
from llmbatch_cli.rows.input.inputs import STDIN, TABLES, Format, InputPath, shown_name
from llmbatch_cli.rows.input.misspelt import Misspelt
from llmbatch_cli.rows.input.parse import TOO_DEEP, bad_row
from llmbatch_cli.rows.input.shape import SHAPELESS, Shape, Shaper
from llmbatch_cli.rows.input.splitter import Piece, Splitter
from llmbatch_cli.rows.input.table import Record
from llmbatch_cli.rows.lines import BLANK, BOM, Line, Unreadable

_NUL: Final = "a NUL byte in plain text: it is no text, or it is damaged"
_PLAIN: Final = " (--input-format text sends each line as it stands)"
_FIRST_FIELD: Final = re.compile(rb'[\[{\s]*"(?:[^"\\]|\\.)*"\s*:')
"""How a row begins, up to its first field's name."""
_REST: Final = "the rest of the input is not read"
_UNTIL: Final = "what follows is not read, up to the next line that begins as this one"
_LISTS: Final = frozenset(("messages", "conversations"))
"""Columns whose cells are lists, in JSON where a cell can only be text."""
_BESIDE: Final = BLANK + b"\0\x1e"
"""What is no part of a value beside which it stands."""


class Reader:
    """Makes rows of lines, and counts both."""

    def __init__(
        self,
        max_line_bytes: int,
        observe: Observer,
        limit: int | None = None,
        shape: Shape = SHAPELESS,
    ) -> None:
        """`limit`: the most rows of all inputs together."""
        self.shaper = Shaper(shape, observe)
        self._limit = limit
        self._max_line_bytes = max_line_bytes
        self._observe = observe
        self._misspelt = Misspelt(observe)
        self.index = 0
        """The next row's place in all inputs."""
        self.source: bytes | None = None
        """The last row as it stands in the input; None for what could not be read."""
        self._record: Mapping[str, Any] = {}
        """The last row of a table; empty for what could not be read."""
        self._line = 0
        self._file = ""
        self._begin = 0
        """The first row of this input."""
        self._row_id: str | None = None
        """The id of the row that this input is as a whole; None where it has none."""
        self._splitter: Splitter | None = None
        """Where a JSON value has begun that goes on in further lines."""
        self._first: tuple[bytes, str, int] | None = None
        """The line on which it begins, what is wrong with that alone, and its number; until the
        next line shows that the value goes on there."""
        self._opening: bytes | None = None
        """How that line begins; None where it shows no field."""
        self._skips = False
        """Whether lines are skipped up to the next that begins so: behind a value that is no JSON,
        a line may be a part of it."""
        self.given_up = False
        """Whether nothing more is read of this input."""

    @property
    def is_done(self) -> bool:
        """Whether there are as many rows as wanted."""
        return self.index == self._limit

    @property
    def at_rest(self) -> bool:
        """Whether the next line is read as if none stood before it."""
        return self._splitter is None and not self._skips and not self.given_up

    def pass_over(self, rows: int, lines: int = 0) -> None:
        """Go on behind so many rows and lines of this input, which somebody else has read."""
        self.index, self._line = self.index + rows, self._line + lines
        self.given_up = self.given_up or self.is_done

    def begin(self, name: str) -> None:
        """Go on with the next input."""
        self._file, self._line, self._begin = shown_name(name), 0, self.index
        self._row_id = InputPath.of(name).row_id
        self.shaper.begin(self._file)
        self._splitter, self._skips, self.given_up = None, False, False

    def rows(self, group: Group) -> Iterator[Row]:
        """The rows of the lines. Raises UsageError for an input that is no prompts, where it is
        the first."""
        if group.guessed:
            self._report_guess(group.form)
        for note in group.notes:
            self._observe(Notice(f"{self._file}: {note}"))
        is_plain = group.form == "jsonl" and not group.is_last
        for row in self._json_rows(group.lines) if is_plain else self._rows(group):
            if row is not None:
                yield row
            self.index += 1
            if self.index == self._limit:
                self.given_up = True
                return

    def _rows(self, group: Group) -> Iterator[Row | None]:
        if group.error is not None:
            yield self._unreadable(group.error)
        elif group.form == "jsonl":
            yield from self._json_rows(group.lines)
        elif group.form in TABLES:
            yield from self._records(group.records)
        elif group.form in ("values", "list"):
            self._splitter = self._splitter or Splitter(
                self._max_line_bytes, only_one=group.form == "list"
            )
            for chunk in group.lines:
                yield from self._split(chunk or b"")
        else:
            yield from self._text_rows(group)
        if group.is_last and self._splitter is not None and not self.given_up:
            yield from self._finish()

    def _unreadable(self, error: Unreadable) -> BadRow:
        """The row that stands for the rest of an input."""
        if isinstance(error, Foreign) and not self.index:
            raise refused(error, self._file)
        self._line += 1
        return self._bad(f"{error.message} ({error.hint})" if error.hint else error.message)

    def line_of_row(self, form: Format) -> bytes | None:
        """The last row as one line of JSONL, or of text if its input is one."""
        if form in TABLES:
            return orjson.dumps(self._record) if self._record else None
        if self.source is None:
            return None
        if form == "whole":
            text = self.source.decode()
            return orjson.dumps({"id": self._row_id, "prompt": text} if self._row_id else text)
        # in JSON a newline stands between values only
        return self.source if form == "text" else b" ".join(self.source.splitlines())

    def _report_guess(self, form: Format) -> None:
        subject = "standard input" if self._file == STDIN else self._file
        if form == "list":
            self._observe(Notice(f"{subject}: the rows are the items of the list in its object"))
            return
        if form in TABLES:
            self._observe(
                Notice(
                    f"{subject} is read as a table ({form.upper()}); "
                    "--input-format text sends each line as it stands"
                )
            )
            return
        how = "one prompt per line" if form == "text" else "the whole as one prompt"
        self._observe(
            Notice(
                f"{subject} does not begin with JSON: read as plain text, {how} "
                "(--input-format jsonl to force)"
            )
        )

    # Tables

    def _records(self, records: Sequence[Record]) -> Iterator[Row | None]:
        for record in records:
            self._line, fields, wrong = record
            self._record = {} if wrong else fields
            if wrong is not None:
                row: Row | None = self._bad(wrong)
            elif _LISTS.isdisjoint(fields):
                row = self.shaper.row(fields, index=self.index, line=self._line, is_table=True)
            else:
                value = {name: _list(name, cell) for name, cell in fields.items()}
                row = self.shaper.row(value, index=self.index, line=self._line, is_table=True)
            if row is not None:
                row.value = fields
            yield row

    # JSON

    def _json_rows(self, lines: Sequence[Line]) -> Iterator[Row | None]:
        for line in lines:
            self._line += 1
            if self._splitter is not None or self._skips:
                yield from self._more(line)
            elif line is None:
                yield self._bad(self._too_long("line"))
            else:
                try:
                    value = orjson.loads(line)
                except orjson.JSONDecodeError:
                    yield from self._odd_line(line)
                else:
                    yield self._row(value, line, self._line)
            if self.given_up:
                return

    def _row(self, value: Any, data: bytes, line: int) -> Row | None:
        """The row of a value that was read from these bytes; None for one that is not wanted."""
        self.source = data
        may_be_deep = len(data) > DEEPEST and data.count(b"[") + data.count(b"{") > DEEPEST
        if may_be_deep and is_too_deep(value):
            return bad_row(value, TOO_DEEP, index=self.index, file=self._file, line=line)
        row = self.shaper.row(value, index=self.index, line=line)
        if row is None:
            return None
        row.value = value
        if row.metadata:
            exact = with_big_ints(row.metadata, data)
            if exact is not row.metadata:
                row.metadata, row.value = exact, {**value, **exact}
            self._misspelt.look_at(row)
        return row

    def _odd_line(self, line: bytes) -> Iterator[Row | None]:
        """The rows of a line that is no JSON by itself; one that goes on has none yet."""
        text = line.strip().lstrip(BLANK)
        if not text:
            return
        # A power failure leaves NULs, json-seq begins a line by 0x1e, and the lines of a JSON array
        # without its brackets end in commas.
        text = text.strip(_BESIDE) or text
        try:
            value, data = _value_and_bytes(text)
        except orjson.JSONDecodeError as error:
            reason = _json_reason(text, error)
        else:
            yield self._row(value, data, self._line)
            return
        if self.index == self._begin and text[:1] not in b'{["':
            reason += _PLAIN
        rows = self._rows_within(text, reason) if text[:1] in (b"{", b"[") else None
        if rows is None:
            yield self._bad(reason, line)
        else:
            yield from rows

    def _rows_within(self, text: bytes, reason: str) -> Iterator[Row | None] | None:
        """The rows of several values on a line, the last of which may go on in the next one; None
        where it does not hold such. `reason`: what is wrong with it as one value."""
        splitter = Splitter(self._max_line_bytes, self._line)
        pieces = list(splitter.feed(text + b"\n"))
        if any(piece.wrong for piece in pieces):
            return None
        if not splitter.at_rest:
            self._splitter, self._opening = splitter, _opening(text)
            self._first = None if pieces else (text, reason, self._line)
            return chain.from_iterable(map(self._piece_row, pieces))
        if len(pieces) > 1 and text[:1] == b"{":  # files joined without a newline
            with suppress(orjson.JSONDecodeError):
                values = [(read_json(piece.data), piece.data) for piece in pieces]
                return (self._row(value, data, self._line) for value, data in values)
        return None

    def _more(self, line: Line) -> Iterator[Row | None]:
        """The rows that a further line completes."""
        if self._skips:
            if line is not None and _opening(line) == self._opening:
                self._skips = False
                yield from self._again(line)
            return
        if line is None:
            yield from self._piece_row(Piece(self._line, b"", self._too_long("line")))
            return
        if self._first is not None and line.strip():
            (first, reason, number), self._first = self._first, None
            if self._opening is not None and _opening(line) == self._opening:
                self._splitter = None  # another row: the one before was cut off
                yield self._bad(reason, first, number)
                yield from self._again(line)
                return
        yield from self._split(line + b"\n")
        if self._splitter is not None and self._splitter.at_rest:
            self._splitter = None

    def _again(self, line: bytes) -> Iterator[Row | None]:
        self._line -= 1
        return self._json_rows([line])

    def _split(self, data: bytes) -> Iterator[Row | None]:
        if self._splitter is not None:
            for piece in self._splitter.feed(data):
                yield from self._piece_row(piece)

    def _finish(self) -> Iterator[Row | None]:
        """The rows of what the end of an input leaves open."""
        if self._first is not None:
            first, reason, number = self._first
            yield self._bad(reason, first, number)
        elif self._splitter is not None:
            for piece in self._splitter.finish():
                yield from self._piece_row(piece)

    def _piece_row(self, piece: Piece) -> Iterator[Row | None]:
        """The row of a value over many lines, or in an array."""
        reason = piece.wrong
        if reason is None:
            try:
                yield self._row(read_json(piece.data), piece.data, piece.line)
                return
            except orjson.JSONDecodeError as error:
                place = f"line {piece.line + error.lineno - 1}, column {error.colno}"
                reason = f"bad JSON: {error.msg} at {place}"
        self._splitter = None
        self._skips, self.given_up = self._opening is not None, self._opening is None
        rest = _UNTIL if self._skips else _REST
        yield self._bad(f"{reason}; {rest}", piece.data or None, piece.line)

    # Text

    def _text_rows(self, group: Group) -> Iterator[Row | None]:
        for line in group.lines:
            self._line += 1
            if line is None:
                yield self._bad(self._too_long("text" if group.form == "whole" else "line"))
            else:
                for row in self._text_row(line):
                    if row is not None and group.form == "whole" and self._row_id is not None:
                        row.id = self._row_id
                        row.value = {"id": self._row_id, "prompt": row.value}
                    yield row
                if self.given_up:
                    return

    def _text_row(self, line: bytes) -> Iterator[Row | None]:
        while line.startswith(BOM):
            line = line.removeprefix(BOM)
        if not line.strip(BLANK):
            return
        if b"\0" in line:
            # Every other line would be an error, too.
            self.given_up = self.index == self._begin
            yield self._bad(_NUL)
            return
        line = line.removesuffix(b"\r")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield self._bad(_not_utf8(line, error), line)
            return
        self.source = line
        row = self.shaper.row(text, index=self.index, line=self._line)
        if row is not None:
            row.value = text
        yield row

    def _too_long(self, what: str) -> str:
        return f"the {what} is longer than {self._max_line_bytes:,} bytes (--max-line-bytes)"

    def _bad(self, reason: str, source: bytes | None = None, line: int | None = None) -> BadRow:
        self.source = source
        return BadRow(self.index, reason, self.index, self._file, line or self._line)


def _value_and_bytes(text: bytes) -> tuple[Any, bytes]:
    """The value of a line, and its own bytes. Raises JSONDecodeError."""
    if text[:1] == b"{" and text[-2:] == b"},":
        with suppress(orjson.JSONDecodeError):
            return read_json(text[:-1]), text[:-1]
    return read_json(text), text


def _list(name: str, value: Any) -> Any:
    if name in _LISTS and isinstance(value, str) and value.lstrip()[:1] == "[":
        with suppress(orjson.JSONDecodeError):
            return read_json(value.encode())
    return value


def _opening(line: bytes) -> bytes | None:
    """How a line begins, up to its first field's name, without white space."""
    found = _FIRST_FIELD.match(line)
    return b"".join(found[0].split()) if found else None


def _json_reason(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return _not_utf8(line, wrong)
    return f"bad JSON: {error.msg} at column {error.colno}"


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> str:
    column = len(data[: error.start].decode()) + 1
    return f"not UTF-8: byte 0x{data[error.start]:02x} at column {column}"
