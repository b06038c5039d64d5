"""Replies that are read as they come: piece by piece, no further ahead than they are read."""

import asyncio
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from support.scripted import Exchange, abort, serve
from support.sending import head, post, whole

from llmbatch_cli.core.errors import BadReply, Interrupted
from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network
from llmbatch_cli.transport.packing import ZSTD_MODULE

pytestmark = pytest.mark.both_loops

MIB = 2**20
HELD_BYTES = 20 * MIB
"""More than the sockets of both sides and the client hold together."""


class Packer:
    """A compressor whose output can be read up to each event."""

    def __init__(self, encoding: str) -> None:
        self.feed: Callable[[bytes], bytes]
        self.end: Callable[[], bytes]
        if encoding == "br":
            brotli = pytest.importorskip("brotli").Compressor(quality=1)
            self.feed = lambda data: bytes(brotli.process(data) + brotli.flush())
            self.end = brotli.finish
        elif encoding == "zstd":
            zstd: Any = pytest.importorskip(ZSTD_MODULE).ZstdCompressor()
            self.feed = lambda data: bytes(zstd.compress(data, mode=zstd.FLUSH_BLOCK))
            self.end = zstd.flush
        else:
            inflated = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
            self.feed = lambda data: inflated.compress(data) + inflated.flush(zlib.Z_SYNC_FLUSH)
            self.end = inflated.flush


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "br", "zstd"])
async def test_an_event_is_there_when_it_is_written(network: Network, encoding: str) -> None:
    """Also where a proxy packs the stream: the next is written once the last has been read."""
    packer = Packer(encoding) if encoding else None
    is_read = asyncio.Event()
    events = [b'data: {"n": %d}\n\n' % number for number in range(20)]

    async def handler(exchange: Exchange) -> None:
        given = [f"content-encoding: {encoding}"] if encoding else []
        await exchange.raw(head("transfer-encoding: chunked", *given))
        for event in events:
            is_read.clear()
            data = packer.feed(event) if packer else event
            await exchange.raw(b"%x\r\n%b\r\n" % (len(data), data))
            await is_read.wait()
        data = packer.end() if packer else b""
        await exchange.raw(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")
        await exchange.raw(b"0\r\n\r\n")

    async with serve(handler) as server, asyncio.timeout(10):
        async with network.stream(post(server.url)) as reply:
            for event in events:
                got = b""
                while len(got) < len(event):
                    got += await anext(reply.chunks)
                assert got == event
                is_read.set()
            assert b"".join([chunk async for chunk in reply.chunks]) == b""
        assert server.connections == 1


class Flood:
    """A server's endless reply, up to a size, and how much of it has been written."""

    def __init__(self, size: int, end: str = "") -> None:
        self.size = size
        self.end = end
        self.sent = 0

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path == "/next":
            await exchange.reply(exchange.body)
            return
        await exchange.raw(head(f"content-length: {self.size + len(self.end)}"))
        exchange.writer.transport.set_write_buffer_limits(0)
        while self.sent < self.size:
            await exchange.raw(bytes(MIB))
            self.sent += MIB

    async def until_stuck(self) -> None:
        """Until no more of it is read."""
        before = -1
        while before < self.sent or not self.sent:
            before = self.sent
            await asyncio.sleep(0.05)


async def test_what_is_not_read_has_the_server_wait(http: HttpClient) -> None:
    """It is not held in memory; later all of it is there, and the connection is kept."""
    flood = Flood(64 * MIB)
    connection = Connection(http=http, max_reply_bytes=flood.size)
    async with serve(flood) as server, open_network(connection) as network, asyncio.timeout(30):
        async with network.stream(post(server.url)) as reply:
            size = len(await anext(reply.chunks))
            await flood.until_stuck()
            assert flood.sent < HELD_BYTES
            async for chunk in reply.chunks:
                size += len(chunk)
        assert (size, flood.sent) == (flood.size, flood.size)
        assert (await network.send(post(f"{server.url}/next", b"1"))).body == b"1"
        assert server.connections == 1


async def test_a_paused_stream_can_be_left(http: HttpClient) -> None:
    """And cancelled: its socket is closed, whatever waits in it."""
    flood = Flood(64 * MIB)
    connection = Connection(http=http, max_reply_bytes=flood.size)
    async with serve(flood) as server, open_network(connection) as network, asyncio.timeout(20):

        async def read() -> None:
            async with network.stream(post(server.url)):
                await flood.until_stuck()
                reading.cancel()
                await asyncio.sleep(10)

        reading = asyncio.ensure_future(read())
        with pytest.raises(asyncio.CancelledError):
            await reading
        while not server.exchanges[0].writer.is_closing():
            await asyncio.sleep(0.001)
        assert (await network.send(post(f"{server.url}/next", b"1"))).body == b"1"


@pytest.mark.parametrize("end", ["closed", "reset"])
async def test_what_came_before_a_paused_stream_broke_is_read(
    network: Network, http: HttpClient, end: str
) -> None:
    """At least what this side had taken; then comes the error."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(head("content-length: 9999999") + b"x" * 100_000)
        await asyncio.sleep(0.05)
        if end == "reset":
            abort(exchange)
        else:
            exchange.writer.close()

    async with serve(handler) as server, asyncio.timeout(10):
        size = 0
        with pytest.raises(Interrupted):
            async with network.stream(post(server.url)) as reply:
                size += len(await anext(reply.chunks))
                await asyncio.sleep(0.1)
                async for chunk in reply.chunks:
                    size += len(chunk)
    if http == "llhttp" or end == "closed":
        assert size == 100_000


async def test_a_stream_that_is_over_is_no_longer_on_its_connection(network: Network) -> None:
    """Whoever reads slowly does not disturb the next request, which may use the connection."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(exchange.body * 1000)

    async with serve(handler) as server, asyncio.timeout(10):
        async with network.stream(post(server.url, b"slow")) as slow:
            await asyncio.sleep(0.02)
            for body in (b"a", b"b"):
                assert (await network.send(post(server.url, body))).body == body * 1000
            assert b"".join([chunk async for chunk in slow.chunks]) == b"slow" * 1000
        assert (await network.send(post(server.url, b"c"))).body == b"c" * 1000


async def test_a_stream_over_the_cap_ends_when_it_is_passed(http: HttpClient) -> None:
    """What came before it is read; the server's socket is closed."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(head("transfer-encoding: chunked"))
        while not exchange.writer.is_closing():
            await exchange.raw(b"400\r\n" + bytes(1024) + b"\r\n")

    size = 0
    connection = Connection(http=http, max_reply_bytes=100_000)
    async with serve(handler) as server, open_network(connection) as network, asyncio.timeout(10):
        with pytest.raises(BadReply, match="longer than 100,000 bytes"):
            async with network.stream(post(server.url)) as reply:
                async for chunk in reply.chunks:
                    size += len(chunk)
        while not server.exchanges[0].writer.is_closing():
            await asyncio.sleep(0.001)
    assert size <= 100_000


async def test_streams_at_once_get_their_own(network: Network) -> None:
    """However their pieces mix."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(head("transfer-encoding: chunked"))
        for _ in range(10):
            await exchange.raw(b"%x\r\n%b\r\n" % (len(exchange.body), exchange.body))
            await asyncio.sleep(0)
        await exchange.raw(b"0\r\n\r\n")

    async def read(url: str, number: int) -> bytes:
        async with network.stream(post(url, b"%03d" % number)) as reply:
            return b"".join([chunk async for chunk in reply.chunks])

    async with serve(handler) as server, asyncio.timeout(20):
        bodies = await asyncio.gather(*(read(server.url, number) for number in range(50)))
    assert bodies == [b"%03d" % number * 10 for number in range(50)]


async def test_an_unread_stream_of_a_whole_reply_is_left(network: Network) -> None:
    """A status alone may be enough."""
    data = whole(b"x" * 10, status="HTTP/1.1 503 No")
    async with serve(lambda exchange: exchange.raw(data)) as server, asyncio.timeout(10):
        for _ in range(3):
            async with network.stream(post(server.url)) as reply:
                assert reply.status == 503


async def test_only_what_can_be_read_is_offered(http: HttpClient, network: Network) -> None:
    """Some servers pack a reply in whatever they are offered; a row may offer less."""
    if http == "httpx":
        pytest.skip("httpx offers gzip and deflate")
    async with serve(lambda exchange: exchange.reply(b"")) as server:
        await network.send(post(server.url))
        await network.send(WireRequest("POST", server.url, {"Accept-Encoding": "identity"}))
        first, second = server.exchanges
    installed = [name for name, module in (("br", "brotli"), ("zstd", ZSTD_MODULE)) if has(module)]
    assert first.header("accept-encoding") == ", ".join(["gzip", "deflate", *installed])
    assert second.header("accept-encoding") == "identity"


def has(module: str) -> bool:
    """Whether it is installed."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
