"""Heads of replies that aiohttp's parser would refuse: long ones, and two lengths at once."""

import re
from typing import Final

from aiohttp.client_proto import ResponseHandler

MAX_FIELD_BYTES: Final = 2**17
MAX_HEADERS: Final = 2_000
MAX_HEAD_BYTES: Final = 2**20
"""All headers of a reply together."""

_BEGIN: Final = b"HTTP/"
_NAME: Final = b"\ncontent-length:"
_LENGTH: Final = re.compile(rb"\r?\ncontent-length:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:[^\n]*chunked")


class TolerantHandler(ResponseHandler):
    """Leaves a reply one length, as RFC 9112, section 6.3, has it read.

    That is none of one that is chunked, too, and one of several that are the same.
    """

    _head = b""
    """What has come of a reply's head, as long as that is not all of it."""

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply, whose head is read at once."""
        if self._payload is None or self._payload.is_eof():
            if not data:  # aiohttp's own call, to go on with what it has held back
                return
            begin = 0
            if self._head:
                begin, data = max(0, len(self._head) - 3), self._head + data
            end = _end_of_head(data, begin)
            if end < 0 and len(data) < MAX_HEAD_BYTES and data[:5] == _BEGIN[: len(data)]:
                self._head = data
                return
            self._head = b""
            if end > 0:
                data = _with_one_length(data, end)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed, perhaps within a head."""
        head, self._head = self._head, b""
        if head and self._parser is not None:
            super().data_received(head)
        super().connection_lost(exc)


def _end_of_head(data: bytes, begin: int) -> int:
    """Behind the empty line, or -1. Regular expressions would take ten times as long."""
    for line_end in (b"\n\r\n", b"\n\n"):
        found = data.find(line_end, begin)
        if found >= 0:
            return found + len(line_end)
    return -1


def _with_one_length(data: bytes, end: int) -> bytes:
    head = data[:end].lower()
    place = head.find(_NAME)
    if place < 0:
        return data
    chunked = _CHUNKED.search(head) if b"\ntransfer-encoding" in head else None
    several = head.find(_NAME, place + 1) >= 0 or b"," in head[place : head.find(b"\n", place + 1)]
    if not (chunked or several):
        return data
    values = {value.strip() for line in _LENGTH.findall(head) for value in line.split(b",")}
    if not chunked and len(values) > 1:
        return data
    first, _, others = _LENGTH.sub(b"", data[:end]).partition(b"\n")
    one = b"" if chunked else b"content-length: %b\r\n" % values.pop()
    return b"%b\n%b%b%b" % (first, one, others, data[end:])
