"""The events of a stream, cut out of bytes that arrive split anywhere."""

import re
from collections.abc import Sequence
from typing import Final

import orjson

from llmbatch_cli.core.errors import BadReply

MAX_EVENT_BYTES: Final = 16 * 2**20
"""A longer event is not a model's."""

_BOM: Final = b"\xef\xbb\xbf"
_FIELD: Final = re.compile(rb"(?:data|event|id|retry|error)[ \t]*:|:")
_GLUED: Final = frozenset((b"{}", b"[]"))
"""How lines begin and end that are events by themselves, with no empty line between them."""
_NEXT_OBJECT: Final = re.compile(rb"\}[ \t]*\r?\n\s*\{")
"""Between two JSON lines; nowhere within JSON."""


class Events:
    """The data of each event: of server-sent events, or of a stream of bare JSON lines.

    A line that begins with `{` is the data of an event whether or not `data:` stands before it,
    as gateways remove and add that. An `error:` field (llama.cpp), and the data of an event of
    the name `error`, become an object with the field `error`, where they are none already.

    Source: html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6 (read
    2026-11-22); a lone CR as line end, which no provider sends, is not taken for one.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._failed = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that these bytes complete. Raises BadReply for an endless one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise BadReply(f"the stream holds an event of more than {MAX_EVENT_BYTES:,} bytes")
        return self._events(lines)

    def rest(self) -> list[bytes]:
        """The data of the last event, where the stream ended without an end of its line."""
        lines, self._rest = [self._rest, b""], b""
        return self._events(lines)

    def _events(self, lines: Sequence[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            # A BOM may stand before the first line only; no field begins with one.
            line = line.removesuffix(b"\r").removeprefix(_BOM)
            if not line:
                self._dispatch(events)
            elif line.lstrip()[:1] == b"{":
                self._dispatch(events)
                events.append(line)
            else:
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        name, value = name.strip(), value.removeprefix(b" ")
        while name == b"data" and value.startswith(b"data:"):  # a gateway has framed it again
            value = value.removeprefix(b"data:").removeprefix(b" ")
        if name == b"error" or (name == b"event" and value.strip() == b"error"):
            self._failed = True
        if name in (b"data", b"error"):
            self._data.append(value)

    def _dispatch(self, events: list[bytes]) -> None:
        if self._data:
            lines = self._data if _GLUED.issuperset(map(_ends, self._data)) else ()
            found = lines or [b"\n".join(self._data)]
            events += map(_as_error, found) if self._failed else found
            self._data = []
        self._failed = False


def _ends(line: bytes) -> bytes:
    line = line.strip()
    return line[:1] + line[-1:]


def _as_error(data: bytes) -> bytes:
    if b'"error"' in data:
        return data
    if data.lstrip()[:1] == b"{":
        return b'{"error":' + data + b"}"
    return orjson.dumps({"error": data.decode("utf-8", "replace")})


def as_lines(body: bytes) -> bytes:
    """The body, or a list of events, as Gemini's without `alt=sse`, an event a line."""
    if body.lstrip()[:1] != b"[":
        return body
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return b"\n".join(map(orjson.dumps, items))


def is_stream(body: bytes) -> bool:
    """Whether a body that is not one JSON value is a stream of events."""
    begin = body[:4096].removeprefix(_BOM).lstrip()
    return bool(_FIELD.match(begin) or (begin[:1] == b"{" and _NEXT_OBJECT.search(body)))
