"""A loopback chat server that answers every POST with the same bytes, as fast as Python can.

`python asyncio_server.py REPLY_FILE DELAY_S [PEM_FILE]` prints its port on standard output and
serves until it is ended, by https with the PEM file's key and certificate. It stands in for nginx
where there is none, and where an answer takes DELAY_S, which nginx cannot do. It knows one request
at a time a connection and no other framing than Content-Length: enough for every client measured
here, and nothing else. `GET /counts` tells as JSON how many `requests` there were.
"""

import asyncio
import json
import re
import ssl
import sys
from functools import lru_cache
from pathlib import Path

import uvloop

BACKLOG = 4_096
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """One connection: `reply` goes out `delay_s` after the last byte of each request."""

    requests = 0
    """Of all connections."""

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
            is_count = self._received.startswith(b"GET /counts ")
            self._received = b""
            if is_count:
                self._tell()
                return
            Answering.requests += 1
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._reply)

    def _tell(self) -> None:
        body = json.dumps({"requests": self.requests}).encode()
        if self._transport is not None:
            self._transport.write(_head(len(body)) + body)


def _head(length: int) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _is_whole(received: bytes) -> bool:
    head_end = received.find(b"\r\n\r\n")
    return head_end >= 0 and len(received) >= head_end + 4 + _body_bytes(received[: head_end + 2])


@lru_cache(1_024)
def _body_bytes(head: bytes) -> int:
    """What the head announces. Remembered: a client's heads differ by the length alone."""
    length = CONTENT_LENGTH.search(head)
    return int(length[1]) if length else 0


def _tls(pem_file: Path | None) -> ssl.SSLContext | None:
    if pem_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem_file)
    return context


async def serve(body: bytes, delay_s: float, pem_file: Path | None) -> None:
    """Listen on a free loopback port, print it, and serve until cancelled."""
    reply = _head(len(body)) + body
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(reply, delay_s), "127.0.0.1", 0, backlog=BACKLOG, ssl=_tls(pem_file)
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    reply_file, delay, *pem_files = sys.argv[1:]
    pem = Path(pem_files[0]) if pem_files else None
    uvloop.run(serve(Path(reply_file).read_bytes(), float(delay), pem))
