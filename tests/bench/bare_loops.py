"""The least Python over one way to send or another: the yardsticks of what the language allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from bench.peer_job import TIMEOUT_S, Job, answer, body, timed

HEADERS = {"Content-Type": "application/json"}

Ask = Callable[[bytes], Awaitable[bytes]]
"""The body of a request to the body of its reply."""


def bare_aiohttp(job: Job) -> None:
    """The fastest of the HTTP clients that most Python programs use."""
    import uvloop

    uvloop.run(_bare_aiohttp(job))


async def _bare_aiohttp(job: Job) -> None:
    import aiohttp

    async def ask(data: bytes) -> bytes:
        async with session.post(job.chat_url, data=data, headers=HEADERS) as response:
            reply: bytes = await response.read()
            response.raise_for_status()
        return reply

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    ) as session:
        await _answer_rows(job, ask)


def bare_client(job: Job) -> None:
    """llmbatch's own client: all the rest of llmbatch is what llmbatch takes longer."""
    import uvloop

    uvloop.run(_bare_client(job))


async def _bare_client(job: Job) -> None:
    from llmbatch_cli.core.types import WireRequest
    from llmbatch_cli.transport import Connection, open_network

    async def ask(data: bytes) -> bytes:
        reply = await network.send(WireRequest("POST", job.chat_url, HEADERS, data))
        if reply.status != 200:
            raise RuntimeError(f"answered with status {reply.status}")
        return reply.body

    async with open_network(Connection()) as network:
        await _answer_rows(job, ask)


async def _answer_rows(job: Job, ask: Ask) -> None:
    import orjson

    async def work() -> None:
        for index, line in rows:
            row = orjson.loads(line)
            started = time.perf_counter()
            reply = await ask(orjson.dumps(body(row)))
            latency = time.perf_counter() - started
            answers.write(orjson.dumps(answer(index, row, orjson.loads(reply), latency)) + b"\n")

    with job.rows.open("rb") as source, job.answers.open("wb") as answers:
        rows = enumerate(source)
        await asyncio.gather(*(work() for _ in range(job.in_flight)))


def sockets(job: Job) -> None:
    """No HTTP client and no JSON, each row sent as it is: the most that the server can do."""
    import uvloop

    with timed():
        uvloop.run(_sockets(job))


async def _sockets(job: Job) -> None:
    address = urlsplit(job.base_url)
    assert address.hostname is not None
    assert address.port is not None
    loop = asyncio.get_running_loop()
    with job.rows.open("rb") as rows, job.answers.open("wb") as answers:
        ends = [loop.create_future() for _ in range(job.in_flight)]
        for end in ends:
            asking = partial(Asking, rows, answers, end)
            await loop.create_connection(asking, address.hostname, address.port)
        await asyncio.gather(*ends)


class Asking(asyncio.Protocol):
    """One connection. Replies are small, so that each comes whole."""

    def __init__(
        self, rows: Iterator[bytes], answers: BinaryIO, end: "asyncio.Future[None]"
    ) -> None:
        self._rows = rows
        self._answers = answers
        self._end = end
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first row."""
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Write the reply, send the next row."""
        self._answers.write(data.rpartition(b"\r\n")[2] + b"\n")
        self._ask()

    def _ask(self) -> None:
        row = next(self._rows, None)
        if row is None:
            self._transport.close()
            self._end.set_result(None)
        else:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d"
            self._transport.write(head % len(row) + b"\r\n\r\n" + row)
