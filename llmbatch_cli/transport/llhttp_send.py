"""The network by our own HTTP/1.1: the fast one.

A request costs one write and one future, whatever is in flight beside it, and a cancelled one
closes its socket at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from llmbatch_cli.core.errors import Interrupted, ProviderError
from llmbatch_cli.core.types import WireReply, WireRequest, WireStream
from llmbatch_cli.transport import Connection, Network
from llmbatch_cli.transport.http1.exchange import Exchange, Streamed
from llmbatch_cli.transport.http1.pool import Pool
from llmbatch_cli.transport.packing import capped, unpacked
from llmbatch_cli.transport.troubles import check_proxy


@asynccontextmanager
async def open_network(connection: Connection) -> AsyncIterator[Network]:
    """The network over connections of our own; its sockets are closed at the end."""
    pool = Pool(connection)
    most = connection.max_reply_bytes

    async def send(request: WireRequest) -> WireReply:
        address, origin = pool.begin(request)
        exchange = Exchange(origin.loop, is_bodiless=request.method == "HEAD")
        wire = await origin.begin(address.data(request), exchange)
        try:
            await exchange.done
        except asyncio.CancelledError:
            wire.leave(exchange)
            raise
        except Interrupted as error:
            error.received = _readable(error.received, most)
            raise
        reply = exchange.reply()
        check_proxy(reply.status, request.url)
        return unpacked(reply, most) if "content-encoding" in reply.headers else reply

    @asynccontextmanager
    async def stream(request: WireRequest) -> AsyncIterator[WireStream]:
        address, origin = pool.begin(request)
        exchange = Streamed(origin.loop, is_bodiless=request.method == "HEAD")
        wire = await origin.begin(address.data(request), exchange)
        try:
            await exchange.done
            check_proxy(exchange.status, request.url)
            pieces = capped(exchange.pieces(), exchange.headers, exchange.status, most)
            yield WireStream(exchange.status, exchange.headers, pieces)
        finally:
            wire.leave(exchange)

    try:
        yield Network(send, stream)
    finally:
        pool.close()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn


def _readable(received: WireReply | None, max_bytes: int) -> WireReply | None:
    """What has come of a reply, unpacked as far as it goes."""
    with suppress(ProviderError):
        return unpacked(received, max_bytes) if received is not None else None
    return None
