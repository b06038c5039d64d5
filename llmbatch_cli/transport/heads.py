"""Heads of replies that aiohttp's parser would refuse: long ones, and two lengths at once."""

import re
from typing import Any, Final

from aiohttp.client_proto import ResponseHandler

MAX_FIELD_BYTES: Final = 2**17
MAX_HEADERS: Final = 2_000
MAX_HEAD_BYTES: Final = 2**20
"""All headers of a reply together."""

_END: Final = re.compile(rb"\r?\n\r?\n")
_CHUNKED: Final = re.compile(rb"\ntransfer-encoding[ \t]*:[^\n]*chunked", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r?\ncontent-length:[ \t]*([^\r\n]*)", re.IGNORECASE)


class TolerantHandler(ResponseHandler):
    """Leaves a reply one length, as RFC 9112, section 6.3, has it read.

    That is none of one that is chunked, too, and one of several that are the same.
    """

    _head: bytes | None = None
    """What has come of a reply's head; None behind it."""

    def set_response_params(self, **params: Any) -> None:
        """A request begins on this connection."""
        self._head = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply, whose head is read at once."""
        if self._head is not None:
            seen, data = max(0, len(self._head) - 3), self._head + data
            end = _END.search(data, seen)
            if end is None and len(data) < MAX_HEAD_BYTES:
                self._head = data
                return
            self._head = None
            if end is not None:
                data = _with_one_length(data, end.end())
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed, perhaps within a head."""
        head, self._head = self._head, None
        if head and self._parser is not None:
            super().data_received(head)
        super().connection_lost(exc)


def _with_one_length(data: bytes, end: int) -> bytes:
    lengths: list[bytes] = _LENGTH.findall(data, 0, end)
    if not lengths:
        return data
    values = {value.strip() for length in lengths for value in length.split(b",")}
    chunked = _CHUNKED.search(data, 0, end)
    if not chunked and (len(values) > 1 or lengths == [*values]):
        return data
    first, _, others = _LENGTH.sub(b"", data[:end]).partition(b"\n")
    one = b"" if chunked else b"content-length: %b\r\n" % values.pop()
    return b"%b\n%b%b%b" % (first, one, others, data[end:])
