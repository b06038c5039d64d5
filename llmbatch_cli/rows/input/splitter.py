"""JSON values cut out of bytes, however they stand: over many lines, in an array. No I/O.

Only brackets and strings are looked at; whoever gets a piece reads it, and finds what is wrong
inside. At most one value is held.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import orjson

from llmbatch_cli.rows.lines import BOM

# No group is possessive: before 3.11.5 Python matches such ones wrongly (python/cpython 106052).
_SKIP: Final = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*")*', re.DOTALL)
"""Up to the next bracket, or to a string whose end is not there yet."""
_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)
"""The rest of a string, without its quote."""
_BETWEEN: Final = re.compile(rb"[ \t\r\n\x1e]*+(?:\xef\xbb\xbf[ \t\r\n\x1e]*+)*")
"""White space, byte order marks, and the separator of RFC 7464."""
_SCALAR: Final = re.compile(rb'[^\s,\[\]{}"]*+')
_MAX_SCALAR_BYTES: Final = 2**14
_OPEN: Final = b"[{"
_BRACE, _QUOTE, _COMMA, _CLOSE = b'{",]'
_DEEPEST: Final = 1_024
"""The most brackets inside each other, as in orjson."""


class Piece(NamedTuple):
    """One value, or what is wrong; nothing behind a wrong one can be trusted."""

    line: int
    """Where it begins, from 1."""
    data: bytes
    """As it stands in the input; of a wrong one, nothing."""
    wrong: str | None = None


class Splitter:
    """Objects and arrays, one behind the other; of an array that is no conversation, its items."""

    def __init__(self, max_bytes: int, line: int = 1, *, only_one: bool = False) -> None:
        """
        Args:
            max_bytes: a longer value is wrong.
            line: the number of the line that the first byte stands on.
            only_one: what stands behind the first array is not looked at.
        """
        self._only_one = only_one
        self._is_over = False
        self._max_bytes = max_bytes
        self._line = line
        """Of the place up to which newlines are counted."""
        self._counted = 0
        self._data = bytearray()
        self._start = 0
        """Where the present value begins."""
        self._at = 0
        """Up to here all is looked at."""
        self._depth = 0
        """Brackets that are open in the present value."""
        self._in_string = False
        self._first_item: int | None = None
        """Where the first item of an array begins that may be a conversation."""
        self._item: Piece | None = None
        """The last item of an array."""
        self._expected: Literal["value", "first item", "item", "comma"] = "value"
        """What comes next outside a value; all but `value` are inside an array."""

    @property
    def at_rest(self) -> bool:
        """Whether no value and no array is begun."""
        return self._expected == "value" and not self._data

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The values that these bytes complete; a wrong one is the last."""
        if self._is_over:
            return
        self._data += data
        yield from self._pieces(is_end=False)

    def finish(self) -> Iterator[Piece]:
        """What the end of the input completes, or leaves open."""
        yield from self._pieces(is_end=True)
        if self._data:
            yield self._wrong("bad JSON: the value that begins here has no end")
        elif self._expected != "value":
            yield self._wrong("bad JSON: the array has no end")

    def _pieces(self, *, is_end: bool) -> Iterator[Piece]:
        while (piece := self._next(is_end=is_end)) is not None:
            yield piece
            if piece.wrong:
                return
            if self._is_over:
                self._data.clear()
                return
        self._count_lines(self._start)
        del self._data[: self._start]
        self._at -= self._start
        self._counted = 0
        if self._first_item is not None:
            self._first_item -= self._start
        self._start = 0
        if len(self._data) > self._max_bytes:
            yield self._wrong(self._too_long())

    def _next(self, *, is_end: bool) -> Piece | None:
        """The next value; None where that takes more bytes."""
        data = self._data
        while True:
            if self._depth or self._in_string:
                piece = self._inside()
                if piece is not None or self._depth or self._in_string:
                    return piece
            self._at = self._start = at = _end(_BETWEEN, data, self._at)
            if at == len(data) or (data[at] == BOM[0] and len(data) - at < len(BOM)):
                return None
            byte = data[at]
            if self._expected != "value":
                if (piece := self._in_array(byte, is_end=is_end)) is not None or self._at == at:
                    return piece
            elif byte not in _OPEN:
                return self._wrong(_no_value(byte))
            elif not self._begin(byte, is_end=is_end):
                return None

    def _in_array(self, byte: int, *, is_end: bool) -> Piece | None:
        """Go on in an array of rows; an item, once what follows shows that it has ended there."""
        self._at += 1
        if byte == _COMMA and self._expected == "comma":
            self._expected = "item"
            return self._item
        if byte == _CLOSE and self._expected != "item":
            item, self._item, self._expected = self._item, None, "value"
            self._is_over = self._only_one
            return item
        if self._expected == "comma" or byte in b",:]}":
            return self._wrong("bad JSON: expected ',' or ']' between the items of an array")
        if byte in _OPEN:
            self._depth = 1
        elif byte == _QUOTE:
            self._in_string = True
        else:
            self._scalar(is_end=is_end)
        return None

    def _begin(self, byte: int, *, is_end: bool) -> bool:
        """Begin a value, or an array, at the top; whether there are bytes enough to do so."""
        if byte == _BRACE:
            self._depth, self._at = 1, self._at + 1
            return True
        first = _end(_BETWEEN, self._data, self._at + 1)
        if first == len(self._data) and not is_end:
            return False
        if self._data[first : first + 1] == b"{":  # perhaps the messages of one prompt
            self._first_item, self._depth = first, 1
        else:
            self._expected = "first item"
        self._at = first
        return True

    def _inside(self) -> Piece | None:
        """The value that has begun, once its end is there."""
        data, size = self._data, len(self._data)
        while True:
            if self._in_string and not self._end_string():
                return None
            if not self._depth:
                return self._take()
            self._at = at = _end(_SKIP, data, self._at)
            if at == size:
                return None
            byte = data[at]
            self._at = at + 1
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPEN:
                self._depth += 1
                if self._depth > _DEEPEST:
                    return self._wrong("the value is nested too deep")
            else:
                self._depth -= 1
                if self._depth == 1 and self._first_item is not None and self._is_row():
                    return self._take()

    def _end_string(self) -> bool:
        """Whether the string that has begun has its end."""
        self._at = at = _end(_STRING, self._data, self._at)
        self._in_string = self._data[at : at + 1] != b'"'
        self._at += not self._in_string
        return not self._in_string

    def _is_row(self) -> bool:
        """Whether the first item of the array shows that its items are rows."""
        first, self._first_item = self._first_item or 0, None
        if is_message(bytes(self._data[first : self._at])):
            return False
        self._count_lines(first)
        self._start, self._depth, self._expected = first, 0, "comma"
        return True

    def _scalar(self, *, is_end: bool) -> None:
        end = _end(_SCALAR, self._data, self._start)
        if end == len(self._data) and not is_end and end - self._start < _MAX_SCALAR_BYTES:
            self._at = self._start  # it may go on
            return
        self._at = end
        self._take()

    def _take(self) -> Piece | None:
        """The value that ends here; None for an item of an array, which is kept."""
        self._count_lines(self._start)
        data = bytes(self._data[self._start : self._at])
        piece = Piece(self._line, data, None if len(data) <= self._max_bytes else self._too_long())
        self._start = self._at
        self._first_item = None
        if self._expected == "value":
            return piece
        self._item, self._expected = piece, "comma"
        return None

    def _wrong(self, reason: str) -> Piece:
        self._count_lines(self._start)
        return Piece(self._line, b"", reason)

    def _too_long(self) -> str:
        return f"the value is longer than {self._max_bytes:,} bytes (--max-line-bytes)"

    def _count_lines(self, place: int) -> None:
        self._line += self._data.count(b"\n", self._counted, place)
        self._counted = max(self._counted, place)


def is_message(data: bytes) -> bool:
    """Whether this is an object with a role, so that the list around it is a conversation."""
    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and "role" in value


def _end(pattern: re.Pattern[bytes], data: bytearray, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


def _no_value(byte: int) -> str:
    shown = bytes((byte,)).decode("ascii", "replace")
    return f"bad JSON: expected {{ or [, not {shown!r}, between the JSON values"
