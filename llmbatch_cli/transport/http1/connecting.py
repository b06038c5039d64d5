"""Connections to one server: straight or through a proxy, with TLS or without."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs
import httptools

from llmbatch_cli.core.errors import Blocked, Unreachable
from llmbatch_cli.transport.certificates import trusted
from llmbatch_cli.transport.http1.address import PORTS, Server, proxy_authorization
from llmbatch_cli.transport.http1.names import addresses_of
from llmbatch_cli.transport.proxies import Proxy
from llmbatch_cli.transport.troubles import refused_by, tls_trouble

NAMES_KEPT_S: Final = 300.0
"""How long a host's addresses are remembered."""
NEXT_ADDRESS_S: Final = 0.25
"""When the next address of a host is tried beside one that has not answered: RFC 8305."""
SILENT_S: Final = 60
"""When the system asks a silent server whether it is still there, and how often."""


class Connected(asyncio.Protocol):
    """A protocol that keeps its transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way is open."""
        self.transport = transport  # type: ignore[assignment]


P = TypeVar("P", bound=Connected)


class Connector:
    """Makes connections to one server, and remembers its addresses."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        self._server = server
        self._proxy = server.proxy
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._turn = 0
        self._resolved: asyncio.Future[list[Any]] | None = None
        self._resolved_at = 0.0

    async def connect(self, factory: Callable[[], P]) -> P:
        """A protocol on a connection of its own. Raises Unreachable."""
        met = str(self._proxy) if self._proxy is not None else self._server.name
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._proxy is None or not self._server.is_tunnelled:
                    return await self._first_hop(factory, self._server.scheme == "https")
                tunnel = await self._first_hop(_Tunnel, is_tls=False)
                try:
                    await self._tunnelled(tunnel, self._proxy)
                    met = f"{self._server.name} through {self._proxy}"
                    return await self._tls_within(tunnel, factory())
                except BaseException:
                    tunnel.transport.abort()
                    raise
        except TimeoutError as error:
            told = f"{met}: cannot connect: no answer within {self._timeout_s:g} s"
            raise Unreachable(told) from error
        except (OSError, UnicodeError) as error:  # gaierror and SSLError are OSErrors
            raise tls_trouble(error, met) or Unreachable(
                f"{met}: cannot connect: {_words(error)}"
            ) from error

    def close(self) -> None:
        """Ask for no more addresses."""
        if self._resolved is not None:
            self._resolved.cancel()

    async def _first_hop(self, factory: Callable[[], P], is_tls: bool) -> P:
        """To the server itself, or to its proxy."""
        host, port = self._server.host, self._server.port
        if self._proxy is not None:
            parts = urlsplit(self._proxy.url)
            host = parts.hostname or ""
            port, is_tls = parts.port or PORTS[parts.scheme], parts.scheme == "https"
        context = trusted() if is_tls else None
        sock = await self._socket(host, port)
        protocol = factory()
        try:
            await self._loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=context,
                server_hostname=host if is_tls else None,
            )
        except BaseException:
            if (transport := getattr(protocol, "transport", None)) is not None:
                transport.abort()  # cancelled as the handshake was done, it would say goodbye first
            self._let_go(sock)
            raise
        if protocol.transport.is_closing():
            self._let_go(sock)
        return protocol

    def _let_go(self, sock: socket.socket) -> None:
        """Have the loop close the socket, and nobody else.

        uvloop closes the descriptor without a word to the socket where the other side is faster,
        and by then it may be another's.
        """
        if not isinstance(self._loop, asyncio.BaseEventLoop):
            sock.detach()

    async def _socket(self, host: str, port: int) -> socket.socket:
        """Connected to the first of the host's addresses that answers. Raises OSError."""
        addresses = await self._addresses(host, port)
        first = self._turn = (self._turn + 1) % len(addresses)
        try:
            sock = await aiohappyeyeballs.start_connection(
                addresses[first:] + addresses[:first],
                happy_eyeballs_delay=NEXT_ADDRESS_S,
                interleave=1,
                loop=self._loop,
            )
        except OSError:
            self._resolved = None  # the host may have moved
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _watch_silence(sock)
        return sock

    async def _addresses(self, host: str, port: int) -> list[Any]:
        """The host's addresses, asked for once for all who connect at the same time."""
        now = self._loop.time()
        found = self._resolved
        if (
            found is None
            or now - self._resolved_at > NAMES_KEPT_S
            or (found.done() and (found.cancelled() or found.exception() is not None))
        ):
            found = self._resolved = addresses_of(host, port, self._loop)
            self._resolved_at = now
        return list(await asyncio.shield(found))

    async def _tunnelled(self, tunnel: "_Tunnel", proxy: Proxy) -> None:
        """Have the proxy connect. Raises Unreachable, which names it, or OSError."""
        authority = self._server.authority
        headers = {"host": authority} | proxy_authorization(proxy)
        lines = [f"CONNECT {authority} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in headers.items()]
        try:
            status = await tunnel.ask("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        except httptools.HttpParserError as error:
            raise Blocked(
                f"{proxy}: it does not speak HTTP",
                hint=f"is the port in {proxy.variable} right?",
            ) from error
        if not 200 <= status < 300:
            raise refused_by(proxy, status, f"https://{self._server.name}")

    async def _tls_within(self, tunnel: "_Tunnel", protocol: P) -> P:
        transport = await self._loop.start_tls(
            tunnel.transport, protocol, trusted(), server_hostname=self._server.host
        )
        if transport is None:
            raise ConnectionError("the connection was closed in the handshake")
        protocol.connection_made(transport)
        return protocol


class _Tunnel(Connected):
    """What a proxy says to CONNECT."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask(self, data: bytes) -> int:
        """Write the request; returns the reply's status.

        Raises OSError where there is none, and HttpParserError for what is no HTTP.
        """
        self.transport.write(data)
        return await self._status

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        told = f": {exc}" if exc else ""
        self._refuse(ConnectionError(f"it has closed the connection{told}"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._status.done():
            self._status.set_result(status)

    def _refuse(self, error: Exception) -> None:
        if not self._status.done():
            self._status.set_exception(error)
            self._status.exception()  # it is no news where nobody asks


def _watch_silence(sock: socket.socket) -> None:
    """Learn of a server that is gone without a word, as behind a router that has forgotten."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_S)


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is a server running there?"
    if isinstance(error, ssl.SSLError | UnicodeError):
        return str(error) or type(error).__name__
    if isinstance(error, ConnectionResetError) and not error.args:
        return "the connection was closed in the TLS handshake"
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
