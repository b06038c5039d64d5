"""What every Send promises, whatever HTTP client is behind it."""

import asyncio
import gzip
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import get_args

import pytest
from support.scripted import Exchange, Handler, Server, abort, serve

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    ProviderError,
    Unreachable,
    Unreadable,
)
from llmbatch_cli.core.types import Send, WireReply, WireRequest
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network
from llmbatch_cli.transport.packing import UNPACKERS, ZSTD_MODULE, unpacker

CLIENTS: tuple[HttpClient, ...] = get_args(HttpClient)
CAP = 100_000


@pytest.fixture(params=CLIENTS)
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    connection = Connection(http=request.param, connect_timeout_s=2.0, max_reply_bytes=CAP)
    async with open_network(connection) as opened:
        yield opened


@pytest.fixture(params=["whole", "streamed"])
def send(request: pytest.FixtureRequest, network: Network) -> Send:
    """Both ways to send keep the same promises."""
    if request.param == "whole":
        return network.send

    async def streamed(wire: WireRequest) -> WireReply:
        async with network.stream(wire) as reply:
            body = b"".join([chunk async for chunk in reply.chunks])
            return WireReply(reply.status, reply.headers, body)

    return streamed


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    async with serve(handler) as server:
        yield server


def post(url: str, body: bytes = b"{}", **headers: str) -> WireRequest:
    return WireRequest("POST", url, {"content-type": "application/json", **headers}, body)


async def test_a_reply_comes_back_whole(send: Send) -> None:
    """Status, body and headers, in any case, are what the server wrote."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b'{"a": 1}', 418, {"X-Request-Id": "r-1", "content-type": "x/y"})

    async with serving(handler) as server:
        reply = await send(post(server.url))
    assert (reply.status, reply.body) == (418, b'{"a": 1}')
    assert reply.headers["x-request-id"] == "r-1"
    assert reply.headers.get("content-type") == "x/y"
    assert reply.headers.get("retry-after") is None


async def test_a_request_goes_out_as_built(send: Send) -> None:
    """Method, path, query, body and given headers reach the wire; nothing names the client."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"")

    async with serving(handler) as server:
        await send(
            post(f"{server.url}/v1/a%2Fb?q=%20x", b"\x00\xff", authorization="Bearer k", x="y")
        )
        (seen,) = server.exchanges
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/a%2Fb?q=%20x", b"\x00\xff")
    assert seen.header("authorization") == "Bearer k"
    assert seen.header("x") == "y"
    names = [name.lower() for name, _ in seen.headers]
    assert len(names) == len(set(names))
    assert seen.header("user-agent") in (None, "")
    assert seen.header("cookie") is None


async def test_cookies_are_not_kept(send: Send) -> None:
    """What one reply sets is not sent with the next request."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"", headers={"set-cookie": "a=b; Path=/"})

    async with serving(handler) as server:
        await send(post(server.url))
        await send(post(server.url))
        assert [seen.header("cookie") for seen in server.exchanges] == [None, None]


async def test_connections_are_used_again(send: Send) -> None:
    """A hundred requests, one after the other, need one connection."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"{}")

    async with serving(handler) as server:
        for _ in range(100):
            await send(post(server.url))
        assert server.connections == 1


@pytest.mark.parametrize("http", CLIENTS)
async def test_a_connection_long_idle_is_not_used_again(http: HttpClient) -> None:
    """Its server may be closing it in that moment."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"{}")

    connection = Connection(http=http, idle_timeout_s=0.1)
    async with serving(handler) as server, open_network(connection) as network:
        await network.send(post(server.url))
        await asyncio.sleep(0.3)
        await network.send(post(server.url))
        assert server.connections == 2


async def test_many_requests_are_in_flight_at_once(send: Send) -> None:
    """No pool limit of the client stands in the way of 120 requests at once."""
    arrived = 0
    all_here = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 120:
            all_here.set()
        await all_here.wait()
        await exchange.reply(b"{}")

    async with serving(handler) as server, asyncio.timeout(20):
        replies = await asyncio.gather(*(send(post(server.url)) for _ in range(120)))
    assert len(replies) == 120


async def test_gzip_is_unpacked(send: Send) -> None:
    """A compressed reply arrives decompressed."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(gzip.compress(b"hello" * 100), headers={"content-encoding": "gzip"})

    async with serving(handler) as server:
        assert (await send(post(server.url))).body == b"hello" * 100


async def test_redirects_are_not_followed(send: Send) -> None:
    """A redirect is a reply like any other: the key goes nowhere else."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"", 302, {"location": "/elsewhere"})

    async with serving(handler) as server:
        reply = await send(post(server.url))
        assert (reply.status, len(server.exchanges)) == (302, 1)


async def over_long(exchange: Exchange) -> None:
    await exchange.reply(b"x" * (CAP + 1))


async def over_long_in_chunks(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(1000):
        await exchange.raw(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    await exchange.raw(b"0\r\n\r\n")


async def gzip_bomb(exchange: Exchange) -> None:
    await exchange.reply(gzip.compress(bytes(50_000_000)), headers={"content-encoding": "gzip"})


async def endless(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await exchange.raw(b"x" * 65536)


@pytest.mark.parametrize("handler", [over_long, over_long_in_chunks, gzip_bomb, endless])
async def test_a_reply_over_the_cap_is_a_bad_reply(send: Send, handler: Handler) -> None:
    """However a body grows, no more than the cap is kept."""
    async with serving(handler) as server:
        with pytest.raises(BadReply, match="longer than 100,000 bytes"):
            await send(post(server.url))


async def reset_before_reply(exchange: Exchange) -> None:
    abort(exchange)


async def closed_before_reply(exchange: Exchange) -> None:
    exchange.writer.close()


async def cut_short(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    exchange.writer.close()


async def cut_in_headers(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-le")
    exchange.writer.close()


async def reset_in_body(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await asyncio.sleep(0.05)
    abort(exchange)


@pytest.mark.parametrize(
    "handler",
    [reset_before_reply, closed_before_reply, cut_short, cut_in_headers, reset_in_body],
)
async def test_a_connection_lost_after_sending_is_interrupted(send: Send, handler: Handler) -> None:
    """Once the request is out, a lost connection may have been billed."""
    async with serving(handler) as server:
        with pytest.raises(Interrupted) as caught:
            await send(post(server.url))
    assert not isinstance(caught.value, BadReply)
    assert caught.value.maybe_billed


async def no_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
    exchange.writer.close()


@pytest.mark.parametrize(
    "banner",
    [b"SSH-2.0-OpenSSH_9.0\r\n", b"220 mail ESMTP\r\n", b"-ERR unknown\r\n", b"\0\0\x12\4\0\0"],
    ids=["ssh", "smtp", "redis", "http2"],
)
async def test_what_does_not_speak_http_is_told_at_once(send: Send, banner: bytes) -> None:
    """A server of another kind, that leaves the connection open, has billed nobody."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(banner)
        await asyncio.sleep(3600)

    async with serving(handler) as server:
        with pytest.raises(BadReply, match="does not speak HTTP") as caught:
            await asyncio.wait_for(send(post(server.url)), 5)
    assert caught.value.hopeless
    assert not caught.value.maybe_billed
    assert "port" in str(caught.value.hint)


async def broken_gzip(exchange: Exchange) -> None:
    await exchange.reply(b"this is no gzip", headers={"content-encoding": "gzip"})


async def header_flood(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 10_000_000)
    exchange.writer.close()


@pytest.mark.parametrize("handler", [no_http, broken_gzip, header_flood])
async def test_what_is_no_http_reply_is_a_provider_error(send: Send, handler: Handler) -> None:
    """Garbage on the wire becomes an error of our own tree, chained to its cause."""
    async with serving(handler) as server:
        with pytest.raises(ProviderError) as caught:
            await send(post(server.url))
    assert isinstance(caught.value, BadReply | Interrupted)
    assert caught.value.__cause__ is not None


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_closed_before_the_request_left_costs_nothing(
    send: Send, *, reset: bool
) -> None:
    """The server closes a kept connection, and nobody has noticed yet: another one is taken.

    Nothing was written, so that nothing can be paid for twice, and the row sees no failed try.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as thread:

        def answer() -> socket.socket:
            listening.settimeout(5)
            sock, _ = listening.accept()
            sock.settimeout(5)
            data = b""
            while not data.endswith(b"{}"):
                data += sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return sock

        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        first = thread.submit(answer)
        await send(post(url))
        second = thread.submit(answer)
        sock = first.result()
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        time.sleep(0.1)  # in which the loop sees nothing
        assert (await send(post(url))).status == 200
        second.result().close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/v1", "http://no-such-host.invalid/v1"])
async def test_a_request_that_never_left_is_unreachable(send: Send, url: str) -> None:
    """Refused connections and unknown names were not billed; the message names the host."""
    url = url.format(port=closed_port())
    with pytest.raises(Unreachable, match=url.split("/")[2].split(":")[0]):
        await send(post(url))


async def test_a_silent_listener_is_unreachable_after_the_connect_timeout(
    send: Send,
) -> None:
    """TLS that never answers counts as connecting, and is bounded."""

    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(60)

    async with serving(handler) as server:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            await send(post(server.url.replace("http:", "https:")))
    assert time.monotonic() - started < 10


async def test_errors_never_tell_the_key(send: Send) -> None:
    """Neither the error's text nor its repr holds what was in the headers."""
    with pytest.raises(Unreachable) as caught:
        await send(
            post(f"http://127.0.0.1:{closed_port()}", authorization="Bearer sk-secret-1234567")
        )
    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


@pytest.mark.parametrize("header", ["authorization", "x"])
async def test_errors_never_tell_a_password(send: Send, header: str) -> None:
    """What an address holds before its host is not shown."""
    with pytest.raises(ProviderError, match=r"127\.0\.0\.1") as caught:
        await send(post(f"http://me:s3cret@127.0.0.1:{closed_port()}", b"", **{header: "Bearer k"}))
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


async def test_a_header_is_sent_as_utf_8(send: Send) -> None:
    """Text beyond ASCII arrives as UTF-8, without the blanks around it."""
    async with serving(lambda exchange: exchange.reply(b"")) as server:
        await send(post(server.url, x=" caf\u00e9 "))
        assert (server.exchanges[0].header("x") or "").encode("latin-1") == "caf\u00e9".encode()


@pytest.mark.parametrize("text", ["a\r\nb: c", "a\nb", "a\0b"])
async def test_a_header_cannot_begin_another(send: Send, text: str) -> None:
    """A line break or a null in a header is an error, and nothing is sent."""
    async with serving(lambda exchange: exchange.reply(b"")) as server:
        with pytest.raises(ProviderError, match="header"):
            await send(post(server.url, x=text))
        assert server.exchanges == []


async def test_cancelling_closes_the_socket_within_50_ms(send: Send) -> None:
    """A cancelled request does not run on: the server sees the connection end at once."""
    closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(exchange: Exchange) -> None:
        closed.set_result(await exchange.until_closed())

    async with serving(handler) as server:
        task = asyncio.ensure_future(send(post(server.url)))
        while not server.exchanges:
            await asyncio.sleep(0.005)
        cancelled = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(closed, 5) - cancelled < 0.05


async def test_a_timeout_around_a_send_is_the_callers(send: Send) -> None:
    """asyncio.timeout around a Send ends as TimeoutError, not as an error of the network."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await asyncio.sleep(60)

    async with serving(handler) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await send(post(server.url))


async def test_reply_is_frozen_bytes(send: Send) -> None:
    """A reply is plain data that outlives the connection."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"{}")

    async with serving(handler) as server:
        reply = await send(post(server.url))
    assert isinstance(reply, WireReply)
    assert type(reply.body) is bytes


async def test_a_stream_is_read_as_it_comes(network: Network) -> None:
    """A piece is there before the next one is written; leaving early closes the socket."""
    closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await exchange.raw(b"5\r\nfirst\r\n")
        closed.set_result(await exchange.until_closed())

    async with serving(handler) as server:
        async with network.stream(post(server.url)) as reply:
            assert await anext(reply.chunks) == b"first"
            left = time.monotonic()
        assert await asyncio.wait_for(closed, 5) - left < 0.05


def with_headers(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    "head",
    [
        # bentoml/BentoML 4346, aio-libs/aiohttp 2304, Rongronggg9/RSS-to-Telegram-Bot 705
        with_headers(f"x: {'y' * 65_536}", "content-length: 7"),
        with_headers(*(f"x-h-{n}: the value of it" for n in range(1000)), "content-length: 7"),
        # timoklimmer/powerproxy-aoai 53
        with_headers("content-length: 7", "transfer-encoding: chunked"),
        with_headers("Transfer-Encoding: Chunked", "x: y", "CONTENT-LENGTH: 99"),
        with_headers("content-length: 7", "x: y", "Content-Length: 7"),
        with_headers("x: y", "content-length: 7, 7"),
    ],
)
async def test_what_proxies_do_to_a_head_is_read(send: Send, head: bytes) -> None:
    """Long and many headers, and two lengths at once: chunked wins. In pieces of any size."""
    body = b'7\r\n{"a":1}\r\n0\r\n\r\n' if b"hunked" in head else b'{"a":1}'

    async def handler(exchange: Exchange) -> None:
        data = head + body
        for at in range(0, len(data), 30_000):
            await exchange.raw(data[at : at + 30_000])

    async with serving(handler) as server, asyncio.timeout(10):
        for _ in range(2):
            reply = await send(post(server.url))
            assert (reply.status, reply.body) == (200, b'{"a":1}')


@pytest.mark.parametrize(
    "head",
    [
        with_headers(f"set-cookie: secret{'y' * 1_200_000}", "content-length: 7"),
        with_headers("secret line", "content-length: 7"),
        with_headers("content-length: 7", "content-length: 8", "x: secret"),
    ],
)
async def test_a_head_that_no_parser_takes_is_not_asked_for_again(send: Send, head: bytes) -> None:
    """The message names the other client, and no status, no URL, nothing of the headers."""
    async with serving(lambda exchange: exchange.raw(head + b'{"a":1}')) as server:
        with pytest.raises(Unreadable) as caught:
            await send(post(f"{server.url}/v1/chat?key=secret", authorization="Bearer secret"))
    error = caught.value
    assert (error.retry, error.maybe_billed, error.status) == (False, True, None)
    assert "--http" in (error.hint or "")
    words = error.message.partition(": ")[2]
    for wrong in ("secret", "/v1", "400", "yyy"):
        assert wrong not in words


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", zlib.compress(b'{"a":1}')),
        ("deflate", zlib.compress(b'{"a":1}')[2:-4]),
        ("gzip", zlib.compress(b'{"a":1}')),
        ("x-gzip", gzip.compress(b'{"a"', mtime=0) + gzip.compress(b":1}", mtime=0)),
        ("gzip, deflate", zlib.compress(gzip.compress(b'{"a":1}', mtime=0))),
        ("br", b'{"a":1}'),
        ("gzip", b'{"a":1}'),
        ("identity", b'{"a":1}'),
        ("utf-8", b'{"a":1}'),
    ],
)
async def test_a_body_is_unpacked_as_it_is_packed(send: Send, encoding: str, body: bytes) -> None:
    """Also one that a proxy has unpacked, or packed otherwise than its header says."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-encoding": encoding})

    async with serving(handler) as server:
        assert (await send(post(server.url))).body == b'{"a":1}'


def test_a_header_of_100_000_encodings_is_survived() -> None:
    """The server names them, so it decides how deep the unpacking goes; the process lives."""
    body = gzip.compress(b'{"a":1}', mtime=0)
    unpack = unpacker({"content-encoding": "gzip," * 200_000}, 200)
    assert b"".join(unpack(body)) == b'{"a":1}'


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_a_body_packed_by_what_is_not_here_says_so(
    send: Send, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked for again, which would be paid, too; an error reply keeps its status."""
    monkeypatch.setitem(UNPACKERS, encoding, ("no_such_module", lambda module: iter))

    async def handler(exchange: Exchange) -> None:
        status = 200 if exchange.body == b"{}" else 429
        await exchange.reply(b"\x0b\x03\x80x", status, {"content-encoding": encoding})

    async with serving(handler) as server:
        with pytest.raises(Unreadable, match=f"packed with {encoding}") as caught:
            await send(post(server.url))
        assert (caught.value.retry, caught.value.status) == (False, 200)
        assert "pip install" in (caught.value.hint or "")
        assert (await send(post(server.url, b"[]"))).status == 429


@pytest.mark.parametrize(("encoding", "module"), [("br", "brotli"), ("zstd", ZSTD_MODULE)])
async def test_a_body_packed_by_what_is_here_is_read(
    send: Send, encoding: str, module: str
) -> None:
    """With the library installed, in a run that has never asked for it; a bomb is stopped."""
    library = pytest.importorskip(module)
    text = b'{"a": "' + b"hello" * 5000 + b'"}'

    async def handler(exchange: Exchange) -> None:
        plain = text if exchange.body == b"{}" else bytes(50_000_000)
        quickly = {"quality": 1} if encoding == "br" else {}
        packed = library.compress(plain, **quickly)
        await exchange.reply(packed, headers={"content-encoding": encoding})

    async with serving(handler) as server:
        assert (await send(post(server.url))).body == text
        with pytest.raises(BadReply, match="longer than 100,000 bytes"):
            await send(post(server.url, b"[]"))


async def no_last_chunk(exchange: Exchange) -> None:
    await exchange.raw(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n')
    exchange.writer.close()


async def too_great_a_length(exchange: Exchange) -> None:
    await exchange.raw(b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"a":1}')
    exchange.writer.close()


@pytest.mark.parametrize("handler", [no_last_chunk, too_great_a_length])
async def test_what_came_before_the_end_broke_is_kept(network: Network, handler: Handler) -> None:
    """The answer may be whole, and only the connection's end wrong."""
    async with serving(handler) as server:
        with pytest.raises(Interrupted) as caught:
            await network.send(post(server.url))
        assert (caught.value.received.status, caught.value.received.body) == (200, b'{"a":1}')
        chunks: list[bytes] = []
        with pytest.raises(Interrupted):
            async with network.stream(post(server.url)) as reply:
                async for chunk in reply.chunks:
                    chunks.append(chunk)
        assert b"".join(chunks) == b'{"a":1}'
