"""Where a reply begins and ends, and what of it counts: RFC 9112, sections 4 to 7 and 9."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from support.scripted import Exchange, serve
from support.sending import chunked, head, in_pieces, post, whole

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import Send, WireRequest
from llmbatch_cli.transport import HttpClient

A = b'{"a":1}'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = head("link: </a>", "x-early: 1", "content-length: 3", status="HTTP/1.1 103 Early Hints")


@dataclass(frozen=True)
class Case:
    """A reply as it is written, and as it is read."""

    data: bytes
    status: int = 200
    body: bytes = A
    headers: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    """Headers that the reply does not have."""
    closes: bool = False
    """The server closes the connection after it."""
    is_kept: bool | None = None
    """Whether the next request goes over the same connection; None leaves it open."""


TRAILERS = b"x-late: 1\r\ncontent-encoding: gzip\r\n"
READABLE = {
    # interim replies
    "continue": Case(CONTINUE + whole(A), is_kept=True),
    "processing": Case(b"HTTP/1.1 102 Processing\r\n\r\n" + whole(A), is_kept=True),
    "early-hints": Case(HINTS + whole(A, "x: 1"), absent=("x-early", "link"), is_kept=True),
    "several-interim": Case(CONTINUE * 9 + HINTS * 3 + chunked(A), absent=("link",), is_kept=True),
    # bodies
    "no-body": Case(whole(b""), body=b"", is_kept=True),
    "204": Case(head(status="HTTP/1.1 204 No Content"), 204, b"", is_kept=True),
    "204-length": Case(
        head("content-length: 7", status="HTTP/1.1 204 No Content"), 204, b"", is_kept=True
    ),
    "304-length": Case(
        head("content-length: 7", status="HTTP/1.1 304 Not Modified"), 304, b"", is_kept=True
    ),
    "until-closed": Case(head("x: 1") + A, closes=True, is_kept=False),
    "until-closed-nothing": Case(head("x: 1"), body=b"", closes=True, is_kept=False),
    "leading-zeros": Case(head("content-length: 0000007") + A, is_kept=True),
    "length-and-chunked": Case(chunked(A, lines=["content-length: 99"])),
    "chunked-and-length": Case(
        head("content-length: 3", "Transfer-Encoding: Chunked") + chunked(A).split(b"\r\n\r\n")[1]
        + b"\r\n\r\n"
    ),
    "equal-lengths": Case(head("content-length: 7", "content-length: 7") + A),
    # chunks
    "chunks": Case(chunked(b'{"', b'a":', b"1}"), is_kept=True),
    "no-chunks": Case(chunked(), body=b"", is_kept=True),
    "extensions": Case(
        head("transfer-encoding: chunked") + b'3;a=b;c="d;e"\r\n{"a\r\n4;x\r\n":1}\r\n0;y\r\n\r\n',
        is_kept=True,
    ),
    "trailers": Case(
        chunked(A, trailers=TRAILERS), absent=("x-late", "content-encoding"), is_kept=True
    ),
    "capital-hex": Case(
        head("transfer-encoding: chunked") + b"00A\r\n0123456789\r\n0\r\n\r\n",
        body=b"0123456789",
        is_kept=True,
    ),
    # heads
    "bare-lf": Case(b'HTTP/1.1 200 OK\nContent-Length: 7\nX: y\n\n{"a":1}', headers={"x": "y"}),
    "folded": Case(head("x: a", "  b", "y: c", "content-length: 7") + A, headers={"y": "c"}),
    "no-space": Case(head("x:y", "content-length:7") + A, headers={"x": "y"}, is_kept=True),
    "spaces": Case(head("x: \t y \t", "content-length:  7 ") + A, headers={"x": "y"}, is_kept=True),
    "empty-value": Case(head("x:", "y: ", "content-length: 7") + A, headers={"x": "", "y": ""}),
    "any-case": Case(head("X-ID: q", "CONTENT-LENGTH: 7") + A, headers={"x-id": "q"}, is_kept=True),
    "latin-1": Case(head("x: caf\u00e9", "content-length: 7") + A),
    "tokens": Case(head("x!#$%&'*+.^_`|~9: 1", "content-length: 7") + A),
    "line-before": Case(b"\r\n" + whole(A)),
    # status lines
    "no-reason": Case(whole(A, status="HTTP/1.1 200 "), is_kept=True),
    "no-reason-no-space": Case(whole(A, status="HTTP/1.1 200"), is_kept=True),
    "999": Case(whole(A, status="HTTP/1.1 999 Request Denied"), 999, is_kept=True),
    "unknown-status": Case(whole(A, status="HTTP/1.1 599 \u00e4 (what?) 200"), 599, is_kept=True),
    # connections
    "close": Case(whole(A, "Connection: Close"), is_kept=False),
    "close-among-others": Case(whole(A, "connection: x, close"), is_kept=False),
    "1.0": Case(whole(A, status="HTTP/1.0 200 OK"), is_kept=False),
    "1.0-until-closed": Case(
        head(status="HTTP/1.0 200 OK") + A, closes=True, is_kept=False
    ),
    "1.0-keep-alive": Case(whole(A, "connection: keep-alive", status="HTTP/1.0 200 OK")),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
async def test_a_reply_ends_where_its_framing_says(send: Send, http: HttpClient, name: str) -> None:
    """In one piece and byte by byte; the next two replies are their own."""
    if (http, name) == ("httpx", "line-before"):
        pytest.skip("h11 refuses it")
    case = READABLE[name]

    async def handler(exchange: Exchange) -> None:
        if exchange.path == "/next":
            await exchange.reply(exchange.body)
            return
        await in_pieces(exchange, case.data, int(exchange.path[1:]))
        if case.closes:
            exchange.writer.close()

    async with serve(handler) as server, asyncio.timeout(10):
        for size in (2**20, 1):
            reply = await send(post(f"{server.url}/{size}"))
            assert (reply.status, reply.body) == (case.status, case.body)
            assert {name: reply.headers.get(name) for name in case.headers} == case.headers
            assert [name for name in case.absent if name in reply.headers] == []
            connections = server.connections
            for body in (b"first", b"second"):
                assert (await send(post(f"{server.url}/next", body))).body == body
            if case.is_kept is not None:
                assert (server.connections == connections) == case.is_kept


UNREADABLE = {
    "different-lengths": head("content-length: 7", "content-length: 8") + A,
    "negative-length": head("content-length: -7") + A,
    "length-in-words": head("content-length: seven") + A,
    "length-with-plus": head("content-length: +7") + A,
    "vast-length": head(f"content-length: {10**30}") + A,
    "bad-chunk-length": head("transfer-encoding: chunked") + b"xyz\r\n" + A + b"\r\n0\r\n\r\n",
    "negative-chunk": head("transfer-encoding: chunked") + b"-7\r\n" + A + b"\r\n0\r\n\r\n",
    "vast-chunk": head("transfer-encoding: chunked") + b"f" * 40 + b"\r\n" + A,
    "chunk-without-end": head("transfer-encoding: chunked") + b"7\r\n" + A + b"0\r\n\r\n",
    "no-colon": head("what is this", "content-length: 7") + A,
    "space-before-colon": head("x : y", "content-length: 7") + A,
    "status-of-two-digits": whole(A, status="HTTP/1.1 20 OK"),
    "status-in-words": whole(A, status="HTTP/1.1 abc OK"),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_breaks_the_framing_is_a_bad_reply(
    send: Send, http: HttpClient, name: str
) -> None:
    """At once, though the connection stays open; it is not used again."""

    async def handler(exchange: Exchange) -> None:
        if exchange.path == "/next":
            await exchange.reply(exchange.body)
        else:
            await in_pieces(exchange, UNREADABLE[name], int(exchange.path[1:]))

    async with serve(handler) as server, asyncio.timeout(10):
        for size, connections in (2**20, 2), (1, 3):
            with pytest.raises(BadReply):
                await send(post(f"{server.url}/{size}"))
            assert (await send(post(f"{server.url}/next", b"next"))).body == b"next"
            assert server.connections == connections


# Replies without a body


async def test_a_reply_to_head_has_no_body(send: Send) -> None:
    """Whatever length its header has; the next reply is its own."""

    async def handler(exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            await exchange.raw(
                head("transfer-encoding: chunked")
                if exchange.path == "/c"
                else head("content-length: 7")
            )
        else:
            await exchange.reply(exchange.body)

    async with serve(handler) as server, asyncio.timeout(10):
        for path in ("/l", "/c", "/l"):
            reply = await send(WireRequest("HEAD", f"{server.url}{path}", {}))
            assert (reply.status, reply.body) == (200, b"")
            assert (await send(post(server.url, b"next"))).body == b"next"


async def test_a_get_has_no_body(send: Send) -> None:
    """Nor a length, which some servers refuse."""
    async with serve(lambda exchange: exchange.reply(A)) as server:
        assert (await send(WireRequest("GET", f"{server.url}/v1/models?a=b", {}))).body == A
        (seen,) = server.exchanges
    assert (seen.method, seen.path, seen.body) == ("GET", "/v1/models?a=b", b"")
    assert (seen.header("content-length"), seen.header("transfer-encoding")) == (None, None)


# Interim replies


async def test_another_protocol_is_a_bad_reply(send: Send, http: HttpClient) -> None:
    """101 Switching Protocols: nobody has asked for one."""
    data = head(
        "upgrade: websocket", "connection: upgrade", status="HTTP/1.1 101 Switching Protocols"
    )
    async with serve(lambda exchange: exchange.raw(data + b"\x81\x05hello")) as server:
        with pytest.raises(BadReply):
            await asyncio.wait_for(send(post(server.url)), 5)


@pytest.mark.parametrize("interim", [CONTINUE, HINTS], ids=["100", "103"])
async def test_endless_interim_replies_are_a_bad_reply(
    send: Send, http: HttpClient, interim: bytes
) -> None:
    """They take neither for ever nor much memory."""
    if http != "llhttp":
        pytest.skip("httpx reads them as long as they come")

    async def handler(exchange: Exchange) -> None:
        while not exchange.writer.is_closing():
            await exchange.raw(interim * 1000)

    async with serve(handler) as server, asyncio.timeout(20):
        with pytest.raises(BadReply):
            await send(post(server.url))


# Long heads


async def test_long_heads_are_read(send: Send, http: HttpClient) -> None:
    """Of up to 2,000 headers, and 128 KiB in one (less its name)."""
    if http == "httpx":
        pytest.skip("h11 takes 100 KiB in all")
    data = whole(A, *(f"x-{n}: {n}" for n in range(1_990)), f"y: {'y' * 130_000}")
    async with serve(lambda exchange: exchange.raw(data)) as server:
        reply = await asyncio.wait_for(send(post(server.url)), 10)
    assert (reply.body, reply.headers["x-1989"], len(reply.headers["y"])) == (A, "1989", 130_000)


@pytest.mark.parametrize("line", [b"x: " + b"y" * 997 + b"\r\n", b"y" * 1000, b"a: b\r\n" * 100])
async def test_a_head_without_end_is_a_bad_reply(send: Send, line: bytes) -> None:
    """The client stops reading after some MiB at most, and closes the connection."""
    sent = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.raw(b"HTTP/1.1 200 OK\r\n")
        while not exchange.writer.is_closing():
            await exchange.raw(line * 50)
            sent += 50 * len(line)

    async with serve(handler) as server, asyncio.timeout(20):
        with pytest.raises(BadReply):
            await send(post(server.url))
    assert sent < 16 * 2**20  # with what the sockets hold


async def test_an_encoding_on_two_lines_is_one(send: Send) -> None:
    """The lines of a header that is a list belong together."""
    import gzip
    import zlib

    body = zlib.compress(gzip.compress(A))
    data = whole(body, "content-encoding: gzip", "x: y", "Content-Encoding: deflate")
    async with serve(lambda exchange: exchange.raw(data)) as server:
        assert (await send(post(server.url))).body == A


# What follows a reply

LEFT_OVER = {
    "reply": whole(b"stolen"),
    "chunked-reply": chunked(b"stolen"),
    "interim": CONTINUE,
    "interim-and-reply": CONTINUE + whole(b"stolen"),
    "begun-reply": b"HTTP/1.1 200 OK\r\ncontent-le",
    "garbage": b"stolen",
    "line": b"\r\n",
    "null": b"\0",
}
FIRST = {
    "length": whole(A),
    "chunked": chunked(A),
    "204": head("content-length: 6", status="HTTP/1.1 204 No Content"),
    "304": head("content-length: 6", status="HTTP/1.1 304 Not Modified"),
}


@pytest.mark.parametrize("first", FIRST)
async def test_what_follows_a_reply_is_not_the_next_one(send: Send, first: str) -> None:
    """Bytes that nobody asked for are never given to the next request, whenever they come."""
    has_come = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        kind, _, rest = exchange.path[1:].partition("/")
        if kind == "together":
            await exchange.raw(FIRST[first] + LEFT_OVER[rest])
        elif kind == "later":
            await exchange.raw(FIRST[first])
            await asyncio.sleep(0.002)
            await exchange.raw(LEFT_OVER[rest])
            has_come.set()
        else:
            await exchange.reply(exchange.body)

    async with serve(handler) as server, asyncio.timeout(10):
        for rest in LEFT_OVER:
            for kind in ("together", "later"):
                reply = await send(post(f"{server.url}/{kind}/{rest}"))
                assert reply.body == (b"" if first.isdecimal() else A)
                if kind == "later":
                    await has_come.wait()
                    await asyncio.sleep(0.001)
                    has_come.clear()
                for number in range(3):
                    body = b"%d after %b" % (number, rest.encode())
                    assert (await send(post(server.url, body))).body == body


@pytest.mark.parametrize("rest", ["reply", "garbage"])
async def test_a_body_where_none_belongs_is_not_the_next_reply(send: Send, rest: str) -> None:
    """HEAD, as some servers answer it."""

    async def handler(exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            await exchange.raw(head("content-length: 6") + LEFT_OVER[rest])
        else:
            await exchange.reply(exchange.body)

    async with serve(handler) as server, asyncio.timeout(10):
        assert (await send(WireRequest("HEAD", server.url, {}))).body == b""
        for body in (b"1", b"2"):
            assert (await send(post(server.url, body))).body == body


# Replies before the request is written

LARGE = bytes(5_000_000)


async def unread_server(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, how: str
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(whole(b"too large", "connection: close", status="HTTP/1.1 413 Too Large"))
    await writer.drain()
    if how == "read":
        while await reader.read(2**20):
            pass
    elif how == "wait":
        await reader.read(1)
        await asyncio.sleep(0.3)
    writer.close()


@pytest.mark.parametrize("how", ["read", "wait"])
async def test_a_reply_before_the_request_is_written_counts(
    send: Send, http: HttpClient, how: str
) -> None:
    """Such as 413 for 5 MB, whether the server reads the rest or not."""
    if (http, how) == ("httpx", "wait"):
        pytest.skip("httpx reads nothing before all is written")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await unread_server(reader, writer, how=how)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reply = await asyncio.wait_for(send(post(url, LARGE)), 10)
    assert (reply.status, reply.body) == (413, b"too large")
