"""What is cancelled or left ends on the wire, too: its socket is closed at once."""

import asyncio
import gc
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.certificates import server_context
from support.scripted import Exchange, serve
from support.sending import head, post

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Send, WireReply
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network

pytestmark = pytest.mark.both_loops


class Silent:
    """A server that answers at most with a head, and notes when connections end."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.arrived = 0
        self.ended: list[float] = []

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path == "/next":
            await exchange.reply(exchange.body)
            return
        self.arrived += 1
        await exchange.raw(self.answer)
        try:
            self.ended.append(await exchange.until_closed())
        except ConnectionError:
            self.ended.append(time.monotonic())

    async def until(self, arrived: int = 0, ended: int = 0) -> None:
        """Until so many requests have come, and so many connections are gone."""
        async with asyncio.timeout(20):
            while self.arrived < arrived or len(self.ended) < ended:
                await asyncio.sleep(0.001)


async def cancelled(tasks: Sequence[asyncio.Future[WireReply]]) -> None:
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


@pytest.mark.alone
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_100_cancelled_at_once_are_closed_within_50_ms(
    http: HttpClient, network: Network, pem: Path, scheme: str
) -> None:
    """All of them, as the server sees it; the middle one of three times."""
    if http == "httpx":
        pytest.skip("httpx is not made for so many")
    silent = Silent(head("content-length: 9") + b"half")
    took_s: list[float] = []
    async with serve(silent, tls=server_context(pem) if scheme == "https" else None) as server:
        for number in range(1, 4):
            tasks = [asyncio.ensure_future(network.send(post(server.url))) for _ in range(100)]
            await silent.until(arrived=100 * number)
            began = time.monotonic()
            await cancelled(tasks)
            await silent.until(ended=100 * number)
            took_s.append(max(silent.ended) - began)
    assert statistics.median(took_s) < 0.05


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-", head("content-length: 9")])
async def test_a_cancelled_request_closes_its_socket(
    send: Send, pem: Path, scheme: str, answer: bytes
) -> None:
    """Wherever its reply was; the next request takes another one."""
    silent = Silent(answer)
    tls = server_context(pem) if scheme == "https" else None
    async with serve(silent, tls=tls) as server, asyncio.timeout(20):
        for number in range(1, 4):
            sending = asyncio.ensure_future(send(post(server.url)))
            await silent.until(arrived=number)
            await asyncio.sleep(0.005)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await silent.until(ended=number)
            assert (await send(post(f"{server.url}/next", b"1"))).body == b"1"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelled_at_any_moment_nothing_is_left(send: Send, pem: Path, scheme: str) -> None:
    """While a name is resolved, connecting, in the handshake, writing or reading."""
    silent = Silent()
    tls = server_context(pem) if scheme == "https" else None
    async with serve(silent, tls=tls) as server, asyncio.timeout(30):
        for turns in range(25):
            url = server.url.replace("127.0.0.1", "localhost") if turns % 2 else server.url
            sending = asyncio.ensure_future(send(post(url)))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises((asyncio.CancelledError, ProviderError)):
                await sending
        assert (await send(post(f"{server.url}/next", b"1"))).body == b"1"
        await silent.until(ended=silent.arrived)


async def test_cancelled_in_a_handshake_no_socket_is_left(send: Send, pem: Path) -> None:
    """The server sees the end of the connection."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sending = asyncio.ensure_future(send(post(url)))
        await asyncio.wait_for(began.wait(), 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_end_of_the_network_closes_all(http: HttpClient, pem: Path, scheme: str) -> None:
    """Idle connections, and those with a request, which ends in an error of ours at the latest."""
    silent = Silent()
    tls = server_context(pem) if scheme == "https" else None
    async with serve(silent, tls=tls) as server, asyncio.timeout(20):
        async with open_network(Connection(http=http)) as network:
            nexts = [network.send(post(f"{server.url}/next", b"1")) for _ in range(5)]
            await asyncio.gather(*nexts)
            tasks = [asyncio.ensure_future(network.send(post(server.url))) for _ in range(3)]
            await silent.until(arrived=3)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, ProviderError) for end in ends)
        while not all(seen.writer.is_closing() for seen in server.exchanges):
            await asyncio.sleep(0.001)
    gc.collect()  # what was forgotten warns


async def test_the_end_of_the_network_ends_what_connects(http: HttpClient, pem: Path) -> None:
    """A request whose connection is being made does not outlive the network."""
    ended = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with open_network(Connection(http=http, connect_timeout_s=0.3)) as network:
            sending = asyncio.ensure_future(network.send(post(url)))
            await asyncio.sleep(0.02)
        with pytest.raises(ProviderError):
            await asyncio.wait_for(sending, 5)
        await asyncio.wait_for(ended.wait(), 5)
    gc.collect()
