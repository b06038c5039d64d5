"""A loopback server that does exactly as told, byte by byte, and remembers what it was sent."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext

Handler = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the socket to answer on."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    closed_at: float | None = None

    def header(self, name: str) -> str | None:
        """The header's value, whatever its case."""
        return next((v for k, v in self.headers if k.lower() == name), None)

    async def raw(self, data: bytes) -> None:
        """Write these bytes as they are. Raises ConnectionError where nobody can read them."""
        if self.writer.is_closing():  # uvloop raises RuntimeError
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def reply(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """Write a whole, well-formed reply."""
        lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode() + body)

    async def until_closed(self) -> float:
        """Wait until the client closes its end; returns the moment by time.monotonic."""
        while await self.reader.read(65536):
            pass
        self.closed_at = time.monotonic()
        return self.closed_at


@dataclass
class Server:
    """The server's address and what it has seen."""

    url: str
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def serve(
    handler: Handler, host: str = "127.0.0.1", *, tls: SSLContext | None = None
) -> AsyncIterator[Server]:
    """Answer every request on loopback with the handler; the connection is kept until it returns
    having closed the writer."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            while (exchange := await read_request(reader, writer)) is not None:
                server.exchanges.append(exchange)
                await handler(exchange)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    listening = await asyncio.start_server(
        connected,
        host,
        0,
        limit=2**26,
        backlog=1024,
        ssl=tls,
        ssl_handshake_timeout=30 if tls else None,
    )
    port = listening.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    server = Server(f"{'https' if tls else 'http'}://{shown}:{port}")
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Exchange | None:
    """One request with a content-length, or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = [(k, v.strip()) for k, _, v in (line.partition(":") for line in lines if line)]
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    body = await reader.readexactly(length)
    return Exchange(method, path, headers, body, writer, reader)


def abort(exchange: Exchange) -> None:
    """Close the connection with a reset."""
    import socket
    import struct

    sock = exchange.writer.get_extra_info("socket")
    if sock is not None and not exchange.writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()
