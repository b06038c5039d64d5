"""Connections that are used again, and those that are not."""

import asyncio
import os
import socket
import time

import pytest
from support.scripted import Exchange, Handler, abort, serve
from support.sending import head, post, streamed, whole

from llmbatch_cli.core.errors import Interrupted
from llmbatch_cli.core.types import Send
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network

pytestmark = pytest.mark.both_loops


def only_llhttp(http: HttpClient) -> None:
    """httpx looks after its idle connections at the next request only, and takes any of them."""
    if http != "llhttp":
        pytest.skip("httpx does it otherwise")


# What the server does to an idle connection


async def closing(exchange: Exchange) -> None:
    exchange.writer.close()


async def resetting(exchange: Exchange) -> None:
    abort(exchange)


async def timing_out(exchange: Exchange) -> None:
    """As nginx and Apache do it with connections that nothing comes from."""
    await exchange.raw(whole(b"stolen", "connection: close", status="HTTP/1.1 408 Request Timeout"))
    exchange.writer.close()


async def half_closing(exchange: Exchange) -> None:
    exchange.writer.write_eof()


@pytest.mark.parametrize("end", [closing, resetting, timing_out, half_closing])
async def test_a_connection_that_its_server_has_ended_is_not_used(send: Send, end: Handler) -> None:
    """The request is sent once, over another one."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(exchange.body)
        if exchange.body == b"last":
            await end(exchange)

    async with serve(handler) as server, asyncio.timeout(10):
        for number in range(3):
            for body in (b"%d" % number, b"last"):
                assert (await send(post(server.url, body))).body == body
            await asyncio.sleep(0.005)
        assert len(server.exchanges) == 6


@pytest.mark.parametrize("says", [b"", whole(b"stolen", "connection: close")])
async def test_an_end_that_the_loop_has_not_seen_yet_is_seen(send: Send, says: bytes) -> None:
    """As when the program was busy while the server closed a connection that was idle for long."""
    async with serve(lambda exchange: exchange.reply(exchange.body)) as server, asyncio.timeout(10):
        for number in range(4):
            body = b"%d" % number
            assert (await send(post(server.url, body))).body == body
            if number == 2:
                descriptor = os.dup(server.exchanges[-1].writer.get_extra_info("socket").fileno())
                with socket.socket(fileno=descriptor) as sock:
                    sock.send(says)
                    sock.shutdown(socket.SHUT_RDWR)
                time.sleep(0.06)
        assert [seen.body for seen in server.exchanges] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("end", [closing, resetting])
async def test_a_request_that_has_left_is_not_sent_anew(send: Send, end: Handler) -> None:
    """It may be billed: who retries decides."""

    async def handler(exchange: Exchange) -> None:
        if exchange.body == b"paid":
            await end(exchange)
        else:
            await exchange.reply(b"")

    async with serve(handler) as server, asyncio.timeout(10):
        await send(post(server.url, b"1"))
        with pytest.raises(Interrupted) as caught:
            await send(post(server.url, b"paid"))
        assert caught.value.maybe_billed
        assert [seen.body for seen in server.exchanges] == [b"1", b"paid"]
        assert server.connections == 1


@pytest.mark.parametrize("end", [closing, timing_out, half_closing])
async def test_a_connection_that_its_server_ends_is_closed(
    http: HttpClient, network: Network, end: Handler
) -> None:
    """At once and on this side, too: it would only take a descriptor."""
    only_llhttp(http)
    closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"")
        await end(exchange)
        closed.set_result(await exchange.until_closed())

    async with serve(handler) as server:
        await network.send(post(server.url))
        await asyncio.wait_for(closed, 5)


# What this side does


async def test_an_idle_connection_is_closed_in_time(http: HttpClient) -> None:
    """The server sees its end without another request."""
    only_llhttp(http)
    closed: list[float] = []

    async def handler(exchange: Exchange) -> None:
        await exchange.reply(b"")
        closed.append(await exchange.until_closed())

    started = time.monotonic()
    connection = Connection(http=http, idle_timeout_s=0.2)
    async with serve(handler) as server, open_network(connection) as network:
        await asyncio.gather(*(network.send(post(server.url)) for _ in range(5)))
        async with asyncio.timeout(10):
            while len(closed) < 5:
                await asyncio.sleep(0.01)
    assert min(closed) - started >= 0.19


async def test_what_is_in_use_is_not_idle(http: HttpClient) -> None:
    """A reply may take longer than an idle connection is kept."""

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(head("content-length: 4"))
        for _ in range(4):
            await asyncio.sleep(0.03)
            await exchange.raw(b"x")

    connection = Connection(http=http, idle_timeout_s=0.04)
    async with serve(handler) as server, open_network(connection) as network:
        assert (await network.send(post(server.url))).body == b"xxxx"
        assert (await streamed(network)(post(server.url))).body == b"xxxx"
        assert (await network.send(post(server.url))).body == b"xxxx"


async def test_the_connection_last_used_is_taken_first(http: HttpClient, network: Network) -> None:
    """So that those beyond what is needed become idle, and are closed."""
    only_llhttp(http)

    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(int(exchange.body) / 50)
        await exchange.reply(b"%d" % id(exchange.writer))

    async with serve(handler) as server:
        first = await asyncio.gather(
            *(network.send(post(server.url, b"%d" % n)) for n in range(1, 6))
        )
        last = first[-1].body
        assert len({reply.body for reply in first}) == 5
        for _ in range(10):
            assert (await network.send(post(server.url, b"0"))).body == last


async def test_as_many_connections_as_requests_at_once(send: Send) -> None:
    """And no more, however often so many are sent."""

    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await exchange.reply(exchange.body)

    async with serve(handler) as server, asyncio.timeout(20):
        for _ in range(5):
            bodies = [b"%d" % number for number in range(20)]
            replies = await asyncio.gather(*(send(post(server.url, body)) for body in bodies))
            assert [reply.body for reply in replies] == bodies
        assert server.connections == 20


async def test_connections_of_one_server_are_not_used_for_another(send: Send) -> None:
    """Nor those to another port or scheme."""

    async def one(exchange: Exchange) -> None:
        await exchange.reply(b"one")

    async def other(exchange: Exchange) -> None:
        await exchange.reply(b"other")

    async with serve(one) as first, serve(other) as second:
        for _ in range(3):
            assert (await send(post(first.url))).body == b"one"
            assert (await send(post(second.url))).body == b"other"
        assert (first.connections, second.connections) == (1, 1)
