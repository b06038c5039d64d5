"""The network behind two functions; the registry of what can stand there."""

import asyncio
import math
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Final, Literal

from llmbatch_cli.core.errors import Interrupted, UsageError
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.text import clean
from llmbatch_cli.core.types import OpenStream, Send, WireReply

MEBIBYTE: Final = 2**20

HttpClient = Literal["llhttp", "httpx"]

_BYTES: Final = re.compile(r":?\n| when reading|:? (?:bytearray\()?b['\"]|, got:")

CLIENTS: Final[dict[HttpClient, str]] = {
    "llhttp": "llmbatch_cli.transport.llhttp_send:open_network",
    "httpx": "llmbatch_cli.transport.httpx_send:open_network",
}


@frozen
class Connection:
    """How requests travel."""

    http: HttpClient = "llhttp"
    connect_timeout_s: float = 10.0
    """The most that connecting and TLS may take together, for one address."""
    max_reply_bytes: int = 64 * MEBIBYTE
    """A longer reply, decompressed, is a BadReply."""
    idle_timeout_s: float = 4.0
    """How long an unused connection is kept.

    Shorter than the 5 s after which the servers of Node, uvicorn (vLLM) and llama.cpp close it, so
    that none is closed in the moment it is used again.
    """
    before_send: Callable[[], None] | None = None
    """Is called where a request has waited for its connection; it is not sent if this raises."""


async def gathered(
    status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]
) -> WireReply:
    """The whole reply. An Interrupted takes along what has come of it."""
    pieces: list[bytes] = []
    try:
        async for piece in chunks:
            pieces.append(piece)  # noqa: PERF401 - what has come is kept
    except Interrupted as broken:
        broken.received = WireReply(status, headers, b"".join(pieces))
        raise
    return WireReply(status, headers, b"".join(pieces))


def words_alone(message: str) -> str:
    """What a parser says of a reply, without the reply's bytes, which may hold a cookie."""
    return clean(_BYTES.split(message, maxsplit=1)[0].strip(), 100) or "it is not HTTP"


@frozen
class Network:
    """The two ways to send a request: for a whole reply, and for one that is read as it comes."""

    send: Send
    stream: OpenStream


def check_way(url: str) -> None:
    """Raise UsageError where the environment bars the way to this URL, before anything is sent:
    by a proxy that is not spoken to, or certificates that are not there."""
    from llmbatch_cli.transport.proxies import proxy_for

    proxy = proxy_for(url)
    if url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:")):
        from llmbatch_cli.transport.certificates import trusted

        trusted()


def open_network(connection: Connection) -> AbstractAsyncContextManager[Network]:
    """The network by this connection, for the time of an `async with`. Raises UsageError."""
    if not 0 < connection.connect_timeout_s < math.inf:
        raise UsageError("the time limit for connecting is a number above 0")
    if connection.http not in CLIENTS:
        hint = f"http is one of {', '.join(CLIENTS)}"
        raise UsageError(f"there is no HTTP client {connection.http!r}", hint=hint)
    return _opened(connection)


@asynccontextmanager
async def _opened(connection: Connection) -> AsyncIterator[Network]:
    module, _, attribute = CLIENTS[connection.http].partition(":")
    opener: Callable[[Connection], AbstractAsyncContextManager[Network]]
    if not hasattr(sys.modules.get(module), attribute):  # not read, or not to its end
        await asyncio.to_thread(import_module, module)  # it reads all authorities' certificates
    opener = getattr(sys.modules[module], attribute)
    async with opener(connection) as network:
        yield network
