"""Streams of events cut out of bytes that arrive split anywhere: SSE and NDJSON."""

from typing import Final

from llmbatch_cli.core.errors import BadReply

MAX_EVENT_BYTES: Final = 16 * 2**20
"""A longer event is not a model's."""


class Lines:
    """Whole lines, without their ends (LF, CR LF), from bytes in any pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete. Raises BadReply for one without an end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise BadReply(f"the stream holds an event of more than {MAX_EVENT_BYTES:,} bytes")
        return [line.removesuffix(b"\r") for line in lines]

    def rest(self) -> bytes:
        """The last line, where the stream ended without a line end."""
        rest, self._rest = self._rest, b""
        return rest


class ServerSentEvents:
    """The data of server-sent events; no wire needs their names.

    Source: html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6 (read
    2026-11-22); a lone CR as line end, which no provider sends, is not taken for one.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that these bytes complete."""
        events = []
        for line in self._lines.feed(data):
            if line:
                # A BOM may stand before the first line only; no field begins with one.
                name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
                if name == b"data":
                    self._data.append(value.removeprefix(b" "))
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
