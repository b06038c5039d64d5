"""The open connections to each server: the one used last is used next."""

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Final

from llmbatch_cli.core.errors import Blocked, Unreachable, UsageError
from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.transport import Connection
from llmbatch_cli.transport.http1.address import Address, Server, address_of
from llmbatch_cli.transport.http1.connecting import Connector
from llmbatch_cli.transport.http1.exchange import Exchange
from llmbatch_cli.transport.http1.wire import Wire
from llmbatch_cli.transport.proxies import host_of, proxy_for
from llmbatch_cli.transport.troubles import place_of

MOST_OPENING: Final = 256
"""Connections to one server that are made at the same time: of a thousand handshakes at once,
each takes as long as all."""
MOST_ADDRESSES: Final = 1_000
"""URLs whose parsing is remembered; some wires have the model in theirs."""
QUIET_S: Final = 0.05
"""What has been idle for longer is looked at before it is used, as is what has been used once: some
servers close each connection, and do not say so."""


class Pool:
    """All connections of one run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._addresses: dict[str, tuple[Address, Origin]] = {}
        self._origins: dict[Server, Origin] = {}

    def begin(self, request: WireRequest) -> "tuple[Address, Origin]":
        """The way that a request takes. Raises Blocked where there is none."""
        known = self._addresses.get(request.url)
        if known is None:
            if len(self._addresses) >= MOST_ADDRESSES:
                self._addresses.clear()
            known = self._addresses[request.url] = self._found(request.url)
        return known

    def _found(self, url: str) -> "tuple[Address, Origin]":
        try:
            proxy = proxy_for(url)
            address = address_of(url, proxy)
        except UsageError as error:
            raise Blocked(error.message, hint=error.hint) from error
        except (ValueError, UnicodeError) as error:
            raise Blocked(f"{host_of(url)}: cannot connect: {error}") from error
        origin = self._origins.get(address.server)
        if origin is None:
            place = place_of(url, proxy)
            origin = self._origins[address.server] = Origin(address.server, place, self._connection)
        return address, origin

    def close(self) -> None:
        """Close every socket, whatever it is doing."""
        for origin in self._origins.values():
            origin.close()


class Origin:
    """The connections to one server."""

    def __init__(self, server: Server, place: str, connection: Connection) -> None:
        self._place = place
        self._idle_s = connection.idle_timeout_s
        self._max_reply_bytes = connection.max_reply_bytes
        self._before_send = connection.before_send
        self.loop = asyncio.get_running_loop()
        self._connector = Connector(server, connection.connect_timeout_s)
        self._opening = asyncio.Semaphore(MOST_OPENING)
        self._wires: set[Wire] = set()
        self._idle: deque[Wire] = deque()
        """The longest idle first."""
        self._sweeper: asyncio.TimerHandle | None = None

    async def begin(self, data: bytes, exchange: Exchange) -> Wire:
        """Write a request on a connection that is open. Raises Unreachable."""
        wire = self._ready()
        if wire is None:
            async with self._opening:
                wire = self._ready() or await self._open()
            if self._before_send is not None:
                _check(wire, self._before_send)
        wire.begin(data, exchange)
        return wire

    def _ready(self) -> Wire | None:
        """An idle connection that its server has not closed."""
        while self._idle:
            wire = self._idle.pop()
            idle_s = self.loop.time() - wire.idle_since
            if wire.transport.is_closing():
                continue
            is_sure = wire.is_proven and idle_s < QUIET_S
            if idle_s < self._idle_s and (is_sure or _is_quiet(wire.transport)):
                return wire
            wire.transport.abort()
        return None

    async def _open(self) -> Wire:
        wire = await self._connector.connect(self._wire)
        self._wires.add(wire)
        if wire.transport.is_closing() and not wire.has_early:
            self._wires.discard(wire)
            raise Unreachable(f"{self._place}: the server has closed the connection at once")
        return wire

    def _wire(self) -> Wire:
        return Wire(self._place, self._max_reply_bytes, self._keep, self._wires.discard)

    def _keep(self, wire: Wire) -> None:
        wire.is_proven = wire.idle_since > 0
        wire.idle_since = self.loop.time()
        self._idle.append(wire)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        self._sweeper = None
        now = self.loop.time()
        while self._idle:
            left_s = self._idle[0].idle_since + self._idle_s - now
            if left_s > 0:
                self._sweeper = self.loop.call_later(left_s, self._sweep)
                return
            self._idle.popleft().transport.abort()

    def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._connector.close()
        for wire in list(self._wires):
            wire.close()


def _check(wire: Wire, before_send: Callable[[], None]) -> None:
    """Close the connection where the request is not to be sent."""
    try:
        before_send()
    except Exception:
        wire.close()
        raise


def _is_quiet(transport: asyncio.Transport) -> bool:
    """Whether nothing has come that the loop has not read yet: its end, or unasked bytes."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not poll.poll(0)
