"""Requests to loopback servers, and replies as a script has them."""

import asyncio
from collections.abc import Iterable

from support.scripted import Exchange

from llmbatch_cli.core.types import Send, WireReply, WireRequest
from llmbatch_cli.transport import Network


def post(url: str, body: bytes = b"{}", **headers: str) -> WireRequest:
    """A request as providers make it."""
    return WireRequest("POST", url, {"content-type": "application/json", **headers}, body)


def streamed(network: Network) -> Send:
    """Send by a stream that is read to its end."""

    async def send(wire: WireRequest) -> WireReply:
        async with network.stream(wire) as reply:
            body = b"".join([chunk async for chunk in reply.chunks])
            return WireReply(reply.status, reply.headers, body)

    return send


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    """A reply's head of these lines."""
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


def whole(body: bytes, *lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    """A whole reply with its length."""
    return head(f"content-length: {len(body)}", *lines, status=status) + body


def chunked(
    *pieces: bytes,
    lines: Iterable[str] = (),
    trailers: bytes = b"",
    status: str = "HTTP/1.1 200 OK",
) -> bytes:
    """A whole reply in chunks."""
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    end = b"0\r\n" + trailers + b"\r\n"
    return head("transfer-encoding: chunked", *lines, status=status) + b"".join([*parts, end])


async def in_pieces(exchange: Exchange, data: bytes, size: int) -> None:
    """Write so much at once; the client reads each piece before the next one is written."""
    for at in range(0, len(data), size):
        await exchange.raw(data[at : at + size])
        await asyncio.sleep(0)
