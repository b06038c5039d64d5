"""https: what TLS adds, and how it fails. Certificates: test_ways.py."""

import asyncio
import gc
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.certificates import server_context
from support.scripted import Exchange, abort, serve
from support.sending import chunked, head, post, whole

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError, Unreachable
from llmbatch_cli.core.types import Send
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network

pytestmark = pytest.mark.both_loops

LARGE = b"0123456789" * 500_000


async def echo(exchange: Exchange) -> None:
    await exchange.reply(exchange.body)


async def test_a_request_over_tls_is_one_as_any_other(send: Send, pem: Path) -> None:
    """Its connection is used again; the two sides agree on HTTP/1.1, whatever the server offers."""
    context = server_context(pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    agreed: set[str] = set()

    async def handler(exchange: Exchange) -> None:
        agreed.add(exchange.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await exchange.reply(exchange.body)

    async with serve(handler, tls=context) as server, asyncio.timeout(20):
        for number in range(20):
            body = b"%d" % number
            assert (await send(post(server.url, body))).body == body
        assert (server.connections, agreed) == (1, {"http/1.1"})
        assert server.exchanges[0].header("host") == server.url.removeprefix("https://")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_large_bodies_go_both_ways(send: Send, pem: Path, version: ssl.TLSVersion) -> None:
    """5 MB up and down, and twice over one connection."""
    context = server_context(pem)
    context.minimum_version = context.maximum_version = version
    async with serve(echo, tls=context) as server, asyncio.timeout(30):
        for _ in range(2):
            assert (await send(post(server.url, LARGE))).body == LARGE
        assert server.connections == 1


async def test_many_at_once_over_tls(http: HttpClient, network: Network, pem: Path) -> None:
    """150 handshakes at once are done within the time limit of each, and each gets its own."""
    if http == "httpx":
        pytest.skip("httpx is not made for so many")
    async with serve(echo, tls=server_context(pem)) as server, asyncio.timeout(50):
        for _ in range(2):
            bodies = [b"%d" % number for number in range(150)]
            replies = await asyncio.gather(*(network.send(post(server.url, b)) for b in bodies))
            assert [reply.body for reply in replies] == bodies
        assert server.connections <= 150


# Endings


async def test_a_reset_within_a_reply_is_interrupted(send: Send, pem: Path) -> None:
    """As over plain TCP."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(head("content-length: 100") + b"half")
        await asyncio.sleep(0.02)
        abort(exchange)

    async with serve(handler, tls=server_context(pem)) as server, asyncio.timeout(10):
        with pytest.raises(Interrupted) as caught:
            await send(post(server.url))
    assert caught.value.maybe_billed


@asynccontextmanager
async def threaded(talk: Callable[[socket.socket], None]) -> AsyncIterator[str]:
    """A server of plain sockets, each in a thread; yields the host and the port."""

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            try:
                talk(sock)
            except OSError:
                pass
            finally:
                sock.close()

    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        await asyncio.to_thread(thread.join)


def saying(data: bytes, pem: Path) -> Callable[[socket.socket], None]:
    """Says this and closes the socket, without TLS's own end."""
    context = server_context(pem)

    def talk(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as tls:
            asked = b""
            while not asked.endswith(b"{}"):
                asked += tls.recv(65536)
            tls.sendall(data)

    return talk


@pytest.mark.parametrize("data", [whole(b"{}"), chunked(b"{}"), head("x: y") + b"{}"])
async def test_a_whole_reply_counts_without_the_end_of_tls(
    send: Send, pem: Path, data: bytes
) -> None:
    """Many servers leave close_notify out."""
    async with threaded(saying(data, pem)) as place, asyncio.timeout(10):
        for _ in range(2):
            assert (await send(post(f"https://{place}/"))).body == b"{}"
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200", head("content-length: 9") + b"{}", chunked(b"{}")[:-2]]
)
async def test_a_reply_cut_off_with_the_end_of_tls_is_interrupted(
    send: Send, pem: Path, data: bytes
) -> None:
    """It is not taken for whole."""
    async with threaded(saying(data, pem)) as place, asyncio.timeout(10):
        with pytest.raises(Interrupted):
            await send(post(f"https://{place}/"))


# Handshakes


def closes(sock: socket.socket) -> None:
    sock.recv(65536)


def resets(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def alerts(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal: handshake_failure


@pytest.mark.parametrize("talk", [closes, resets, alerts])
async def test_a_handshake_that_fails_is_unreachable(
    send: Send, talk: Callable[[socket.socket], None], pem: Path
) -> None:
    """Nothing was sent, so nothing is billed."""
    async with threaded(talk) as place, asyncio.timeout(10):
        with pytest.raises(Unreachable, match=place) as caught:
            await send(post(f"https://{place}/", authorization="Bearer secret"))
    assert not caught.value.maybe_billed
    assert "secret" not in caught.value.message
    assert "Connect call" not in caught.value.message


async def test_a_reset_handshake_closes_its_socket_once(send: Send, pem: Path) -> None:
    """A second time, it would be another connection's: a socket that is forgotten open warns."""
    async with threaded(resets) as place, asyncio.timeout(50):
        for _ in range(8):
            sent = (send(post(f"https://{place}/")) for _ in range(10))
            for error in await asyncio.gather(*sent, return_exceptions=True):
                assert isinstance(error, Unreachable | Interrupted)
            gc.collect()


async def test_a_handshake_without_answer_ends_in_time(http: HttpClient, pem: Path) -> None:
    """After connect_timeout_s, whoever else waits with it; no socket is left open."""
    readers: list[asyncio.StreamReader] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        while await reader.read(65536):
            pass
        readers.remove(reader)
        writer.close()

    connection = Connection(http=http, connect_timeout_s=0.3)
    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with open_network(connection) as network, asyncio.timeout(10):
            started = time.monotonic()
            ends = await asyncio.gather(
                *(network.send(post(url)) for _ in range(20)), return_exceptions=True
            )
            took_s = time.monotonic() - started
            assert {type(end) for end in ends} == {Unreachable}
            assert 0.29 < took_s < 5
            while readers:
                await asyncio.sleep(0.01)


async def test_http_to_a_port_for_https_is_told(send: Send, pem: Path) -> None:
    """Whether the server closes the connection, or says in TLS what is wrong."""
    async with serve(echo, tls=server_context(pem)) as server, asyncio.timeout(10):
        with pytest.raises((BadReply, Interrupted)):
            await send(post(server.url.replace("https:", "http:")))

    def answer(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
        sock.recv(65536)

    async with threaded(answer) as place, asyncio.timeout(10):
        with pytest.raises(BadReply, match="does not speak HTTP") as caught:
            await send(post(f"http://{place}/"))
    assert caught.value.hopeless


async def test_plain_text_within_tls_is_no_http(send: Send, pem: Path) -> None:
    """A mail server, for example, told as such."""
    async with threaded(saying(b"* OK IMAP4rev1 ready\r\n", pem)) as place, asyncio.timeout(10):
        with pytest.raises(ProviderError, match="does not speak HTTP"):
            await send(post(f"https://{place}/"))
