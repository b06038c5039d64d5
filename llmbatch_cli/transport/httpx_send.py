"""The network by httpx: the second one, for where the first is in trouble.

Its pool costs time that grows with the requests in flight: a few dozen are its best.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

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
from llmbatch_cli.transport.http_only import speak_http_only, take_one_reply
from llmbatch_cli.transport.packing import capped, offered
from llmbatch_cli.transport.proxies import Proxy, proxy_for
from llmbatch_cli.transport.troubles import (
    check_proxy,
    place_of,
    refused_by,
    tls_trouble,
    unparsed,
)

ERRORS: Final[tuple[tuple[type[Exception], type[ProviderError]], ...]] = (
    (httpx.ConnectError, Unreachable),
    (httpx.ConnectTimeout, Unreachable),
    (httpx.ProxyError, Unreachable),
    (httpx.UnsupportedProtocol, Unreachable),
    (httpx.LocalProtocolError, Unreachable),
    (httpx.PoolTimeout, Unreachable),
    (httpx.DecodingError, BadReply),
    (httpx.TransportError, Interrupted),
    (httpx.HTTPError, Interrupted),
    (httpx.InvalidURL, Unreachable),
    (httpx.StreamError, Interrupted),
    (httpx.CookieConflict, Interrupted),
)
"""httpx's errors as ours; the first that fits counts."""

_BROKEN_OFF: Final = re.compile("server disconnected|peer closed", re.IGNORECASE)
"""How httpx begins to say that the connection ended; what it says else is of a reply it refuses."""
_NO_HTTP: Final = re.compile("status line", re.IGNORECASE)
"""What it names where there is no reply at all."""


@dataclass(slots=True)
class Upload(WireRequest):
    """A request whose body is sent in pieces; its headers have the length."""

    pieces: Callable[[], AsyncIterator[bytes]] = field(kw_only=True, repr=False)


@asynccontextmanager
async def open_network(connection: Connection) -> AsyncIterator[Network]:
    """The network over one httpx client, and one a proxy; their sockets are closed at the end."""
    clients: dict[tuple[Proxy | None, bool], httpx.AsyncClient] = {}
    before_send = connection.before_send

    async def traced(event: str, info: dict[str, Any]) -> None:
        if before_send is not None and event.endswith("send_request_headers.started"):
            before_send()

    extensions = None if before_send is None else {"trace": traced}

    async def begun(request: WireRequest) -> AbstractAsyncContextManager[httpx.Response]:
        try:
            key = proxy_for(request.url), request.url.startswith("https:")
            if key not in clients:
                clients[key] = await stack.enter_async_context(_client(connection, *key))
        except UsageError as error:
            raise Blocked(error.message, hint=error.hint) from error
        # httpx itself refuses what is not ASCII
        headers = [(name.encode(), text.strip().encode()) for name, text in request.headers.items()]
        content = request.pieces() if isinstance(request, Upload) else request.body
        return clients[key].stream(
            request.method, request.url, content=content, headers=headers, extensions=extensions
        )

    def body_of(response: httpx.Response, request: WireRequest) -> AsyncIterator[bytes]:
        take_one_reply(response)
        raw, max_bytes = _raw(response, request), connection.max_reply_bytes
        return capped(raw, response.headers, response.status_code, max_bytes)

    async def send(request: WireRequest) -> WireReply:
        with mapped(request):
            async with await begun(request) as response:
                check_proxy(response.status_code, request.url)
                chunks = body_of(response, request)
                return await gathered(response.status_code, response.headers, chunks)

    @asynccontextmanager
    async def stream(request: WireRequest) -> AsyncIterator[WireStream]:
        with mapped(request):
            async with await begun(request) as response:
                check_proxy(response.status_code, request.url)
                chunks = body_of(response, request)
                yield WireStream(response.status_code, response.headers, chunks)

    async with AsyncExitStack() as stack:
        yield Network(send, stream)


def _client(connection: Connection, proxy: Proxy | None, tls: bool) -> httpx.AsyncClient:
    by = None
    if proxy is not None:
        by_tls = proxy.url.startswith("https:")
        by = httpx.Proxy(proxy.url, ssl_context=trusted() if by_tls else None)
    client = httpx.AsyncClient(
        proxy=by,
        trust_env=False,  # which would send loopback requests to a proxy, too
        verify=trusted() if tls else False,
        timeout=httpx.Timeout(None, connect=connection.connect_timeout_s),
        limits=httpx.Limits(
            max_connections=None,
            max_keepalive_connections=None,
            keepalive_expiry=connection.idle_timeout_s,
        ),
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    speak_http_only(client)
    client.headers.clear()
    client.headers["accept-encoding"] = offered()
    return client


@contextmanager
def mapped(request: WireRequest) -> Iterator[None]:
    """Turn httpx's errors into ours, by the table."""
    try:
        yield
    except tuple(theirs for theirs, _ in ERRORS) as error:
        raise translated(error, request) from error


def translated(error: Exception, request: WireRequest) -> ProviderError:
    """httpx's error as ours, by the table; never with a password."""
    ours = next(ours for theirs, ours in ERRORS if isinstance(error, theirs))
    proxy = proxy_for(request.url)
    if proxy is not None and isinstance(error, httpx.ProxyError):
        status = str(error).partition(" ")[0]
        if status.isdecimal():
            return refused_by(proxy, int(status), request.url)
    place = place_of(request.url, proxy)
    if (blocked := tls_trouble(error, place)) is not None:
        return blocked
    if isinstance(error, httpx.RemoteProtocolError) and not _BROKEN_OFF.match(str(error)):
        words = words_alone(str(error))
        return unparsed(place, words, other="llhttp", is_http=not _NO_HTTP.search(words))
    if proxy is not None and isinstance(error, httpx.ConnectError):
        place = str(proxy)
    return ours(f"{place}: {str(error) or type(error).__name__}")


async def _raw(response: httpx.Response, request: WireRequest) -> AsyncIterator[bytes]:
    with mapped(request):
        async for chunk in response.aiter_raw():
            yield chunk
