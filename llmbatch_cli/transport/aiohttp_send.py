"""The network by aiohttp: the fast one.

aiohttp's pool costs the same for a thousand requests in flight as for one, and a
cancelled request closes its socket at once.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from llmbatch_cli.core.errors import (
    BadReply,
    Blocked,
    Interrupted,
    ProviderError,
    Unreachable,
    UsageError,
)
from llmbatch_cli.core.types import WireReply, WireRequest, WireStream
from llmbatch_cli.transport import Connection, Network, gathered, words_alone
from llmbatch_cli.transport.certificates import trusted
from llmbatch_cli.transport.heads import MAX_FIELD_BYTES, MAX_HEADERS, TolerantHandler
from llmbatch_cli.transport.packing import capped
from llmbatch_cli.transport.proxies import Proxy, host_of, proxy_for
from llmbatch_cli.transport.troubles import (
    check_proxy,
    place_of,
    refused_by,
    tls_trouble,
    unparsed,
)

ERRORS: Final[tuple[tuple[type[BaseException], type[ProviderError]], ...]] = (
    (aiohttp.InvalidURL, Unreachable),
    (aiohttp.ClientConnectorError, Unreachable),
    (aiohttp.ClientProxyConnectionError, Unreachable),
    (aiohttp.ConnectionTimeoutError, Unreachable),
    (aiohttp.ClientPayloadError, Interrupted),
    (aiohttp.ServerDisconnectedError, Interrupted),
    (aiohttp.ClientHttpProxyError, Unreachable),
    (aiohttp.ClientResponseError, BadReply),
    (aiohttp.ClientConnectionError, Interrupted),
    (aiohttp.ClientError, Interrupted),
    (ssl.SSLError, Unreachable),
    (TimeoutError, Interrupted),
    (OSError, Interrupted),
    (UnicodeError, Unreachable),
    (ValueError, BadReply),
)
"""aiohttp's errors as ours; the first that fits counts."""

MOST_ADDRESSES: Final = 1000
"""Addresses whose parsing is remembered; some wires have the model in theirs."""

FOREIGN: Final = tuple(theirs for theirs, _ in ERRORS)

UNWRITABLE: Final = "Cannot write to closing transport"
"""How aiohttp says that a connection was closed before the first byte."""


class _Body(aiohttp.BytesPayload):
    """A body that knows whether anything of it was written.

    A server may close a kept connection in the moment it is used again. As long as nothing was
    written, the request can be sent anew and is not paid twice.
    """

    is_begun = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self._noting(super().write(writer))

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write so much of the body."""
        await self._noting(super().write_with_length(writer, content_length))

    async def _noting(self, writing: Awaitable[None]) -> None:
        self.is_begun = True
        try:
            await writing
        except aiohttp.ClientConnectionResetError as error:
            self.is_begun = str(error) != UNWRITABLE
            raise


@asynccontextmanager
async def open_network(connection: Connection) -> AsyncIterator[Network]:
    """The network over one aiohttp session; its sockets are closed at the end."""
    connector = aiohttp.TCPConnector(
        limit=0, ttl_dns_cache=300, keepalive_timeout=connection.idle_timeout_s
    )
    make_handler: Any = partial(TolerantHandler, loop=asyncio.get_running_loop())
    connector._factory = make_handler
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        max_line_size=MAX_FIELD_BYTES,
        max_field_size=MAX_FIELD_BYTES,
        max_headers=MAX_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connection.connect_timeout_s),
        skip_auto_headers=("user-agent",),
    )
    addresses: dict[str, _Address] = {}

    def begun(request: WireRequest, body: _Body | None) -> Any:
        address = addresses.get(request.url)
        if address is None:
            if len(addresses) > MOST_ADDRESSES:
                addresses.clear()
            address = addresses[request.url] = _address(request.url)
        return session.request(
            request.method,
            address.url,
            data=body,
            headers=request.headers,
            allow_redirects=False,
            proxy=address.proxy_url,
            ssl=address.tls,
        )

    async def send(request: WireRequest) -> WireReply:
        try:
            async with await _begin(request, begun) as response:
                check_proxy(response.status, request.url)
                return await _whole(response, connection.max_reply_bytes, request)
        except FOREIGN as error:
            raise translated(error, request) from error

    @asynccontextmanager
    async def stream(request: WireRequest) -> AsyncIterator[WireStream]:
        try:
            async with await _begin(request, begun) as response:
                check_proxy(response.status, request.url)
                chunks = _body(response, connection.max_reply_bytes, request)
                yield WireStream(response.status, response.headers, chunks)
        except FOREIGN as error:
            raise translated(error, request) from error

    async with session:
        yield Network(send, stream)


async def _begin(
    request: WireRequest, begun: Callable[[WireRequest, _Body | None], Awaitable[Any]]
) -> aiohttp.ClientResponse:
    """The reply as soon as its headers are there; sent anew, once, where nothing had left."""
    body = _Body(request.body) if request.body else None
    try:
        response: aiohttp.ClientResponse = await begun(request, body)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        unconnected = isinstance(error, aiohttp.ClientConnectorError)
        if unconnected or body is None or body.is_begun:
            raise
        response = await begun(request, body)
    return response


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a request goes, and how."""

    url: URL
    proxy_url: str | None
    tls: SSLContext | bool


def _address(url: str) -> _Address:
    """Raises Blocked where the environment bars the way."""
    try:
        proxy = proxy_for(url)
        is_tls = any(one.startswith("https:") for one in (url, proxy.url if proxy else ""))
        tls = trusted() if is_tls else True
    except UsageError as error:
        raise Blocked(error.message, hint=error.hint) from error
    return _Address(URL(url, encoded=True), proxy.url if proxy is not None else None, tls)


def translated(error: BaseException, request: WireRequest) -> ProviderError:
    """aiohttp's error as ours, by the table."""
    if isinstance(error, aiohttp.ClientResponseError) and error.__cause__ is not None:
        return unparsed(host_of(request.url), words_alone(error.message), other="httpx")
    ours = next(ours for theirs, ours in ERRORS if isinstance(error, theirs))
    proxy = proxy_for(request.url)
    if proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by(proxy, error.status, request.url)
    place = _place(error, request.url, proxy)
    return tls_trouble(error, place) or ours(describe(error, place))


def _place(error: BaseException, url: str, proxy: Proxy | None) -> str:
    """The host with which there was trouble: the proxy's where that was not reached."""
    if proxy is not None and isinstance(error, aiohttp.ClientConnectorError):
        return str(proxy) if error.host == urlsplit(proxy.url).hostname else host_of(url)
    return place_of(url, proxy)


def describe(error: BaseException, place: str) -> str:
    """What failed, and where; never a password, headers or body."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ConnectionRefusedError):
            return f"{place}: cannot connect: connection refused; is a server running there?"
        return f"{place}: cannot connect: {cause.strerror or cause}"
    return f"{place}: {str(error) or type(error).__name__}"


async def _whole(
    response: aiohttp.ClientResponse, max_bytes: int, request: WireRequest
) -> WireReply:
    status, headers, content = response.status, response.headers, response.content
    if content.is_eof() and _is_plain(response, max_bytes):  # all of it has come with the head
        return WireReply(status, headers, content.read_nowait())
    return await gathered(status, headers, _body(response, max_bytes, request))


def _body(
    response: aiohttp.ClientResponse, max_bytes: int, request: WireRequest
) -> AsyncIterator[bytes]:
    chunks = _raw(response, request)
    if _is_plain(response, max_bytes):
        return chunks
    return capped(chunks, response.headers, response.status, max_bytes)


def _is_plain(response: aiohttp.ClientResponse, max_bytes: int) -> bool:
    """Whether the body is as short as its header says, and not packed."""
    length = response.content_length
    return length is not None and length <= max_bytes and "content-encoding" not in response.headers


async def _raw(response: aiohttp.ClientResponse, request: WireRequest) -> AsyncIterator[bytes]:
    """The body as it comes, to the last byte before an error."""
    content = response.content
    try:
        while chunk := await content.readany():
            yield chunk
    except FOREIGN as error:
        if left := content._read_nowait(-1):
            yield left
        raise translated(error, request) from error
