"""The network by aiohttp: the fast Send.

aiohttp's pool costs the same for a thousand requests in flight as for one, and a
cancelled request closes its socket at once.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import aiohttp
from yarl import URL

from llmbatch_cli.errors import BadReply, Interrupted, ProviderError, Unreachable
from llmbatch_cli.transport import Connection
from llmbatch_cli.transport.proxies import proxy_for
from llmbatch_cli.types import Send, WireReply, WireRequest

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
    (ValueError, BadReply),
)
"""aiohttp's errors as ours; the first that fits counts."""


@asynccontextmanager
async def open_send(connection: Connection) -> AsyncIterator[Send]:
    """A Send over one aiohttp session; its sockets are closed at the end."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connection.connect_timeout_s),
        skip_auto_headers=("user-agent",),
    )
    urls: dict[str, tuple[URL, str | None]] = {}

    def address(url: str) -> tuple[URL, str | None]:
        known = urls.get(url)
        if known is None:
            if len(urls) > 1000:
                urls.clear()
            known = urls[url] = URL(url, encoded=True), proxy_for(url)
        return known

    async def send(request: WireRequest) -> WireReply:
        with mapped(request):
            url, proxy = address(request.url)
            async with session.request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                proxy=proxy,
            ) as response:
                body = await _body(response, connection.max_reply_bytes)
                return WireReply(response.status, response.headers, body)

    async with session:
        yield send


@contextmanager
def mapped(request: WireRequest) -> Iterator[None]:
    """Turn aiohttp's errors into ours, by the table."""
    try:
        yield
    except ProviderError:
        raise
    except tuple(theirs for theirs, _ in ERRORS) as error:
        ours = next(ours for theirs, ours in ERRORS if isinstance(error, theirs))
        raise ours(describe(error, request)) from error


def describe(error: BaseException, request: WireRequest) -> str:
    """What failed, at which host; never headers or body."""
    host = URL(request.url).authority
    said = str(error) or type(error).__name__
    return f"{host}: {said}"


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body, decompressed, or BadReply when it is longer than allowed."""
    length = response.content_length
    if length is not None and length <= max_bytes and "content-encoding" not in response.headers:
        return await response.read()
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise BadReply(f"the reply is longer than {max_bytes:,} bytes", status=response.status)
        chunks.append(chunk)
    return b"".join(chunks)
