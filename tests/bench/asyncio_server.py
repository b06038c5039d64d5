"""A loopback chat server that answers every POST with the same bytes, as fast as Python can.

`python asyncio_server.py REPLY_FILE DELAY_S` prints its port on standard output and serves until
it is ended. It stands in for nginx where there is none, and where an answer takes DELAY_S, which
nginx cannot do. It knows one request at a time a connection and no other framing than
Content-Length: enough for every client measured here, and nothing else.
"""

import asyncio
import re
import sys
from pathlib import Path

import uvloop

BACKLOG = 4_096
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """One connection: `reply` goes out `delay_s` after the last byte of each request."""

    def __init__(self, reply: bytes, delay_s: float) -> None:
        self._reply = reply
        self._delay_s = delay_s
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's is no subclass of asyncio.Transport, so no check."""
        self._transport = transport  # type: ignore[assignment]  # duck-typed, see above

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; answer when it is the last one."""
        self._received += data
        if _is_whole(self._received):
            self._received = b""
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._reply)


def _is_whole(received: bytes) -> bool:
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    length = CONTENT_LENGTH.search(received, 0, head_end + 2)
    return len(received) >= head_end + 4 + (int(length[1]) if length else 0)


async def serve(body: bytes, delay_s: float) -> None:
    """Listen on a free loopback port, print it, and serve until cancelled."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reply = head.encode() + body
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(reply, delay_s), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]).read_bytes(), float(sys.argv[2])))
