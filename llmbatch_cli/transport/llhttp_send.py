"""The network by our own HTTP/1.1: the fast one.

A request costs one write and one future, whatever is in flight beside it, and a cancelled one
closes its socket at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmbatch_cli.core.types import WireReply, WireRequest, WireStream
from llmbatch_cli.transport import Connection, Network
from llmbatch_cli.transport.http1.exchange import Exchange, Streamed
from llmbatch_cli.transport.http1.pool import Pool
from llmbatch_cli.transport.troubles import check_proxy


@asynccontextmanager
async def open_network(connection: Connection) -> AsyncIterator[Network]:
    """The network over connections of our own; its sockets are closed at the end."""
    pool = Pool(connection)

    async def send(request: WireRequest) -> WireReply:
        address, origin = pool.begin(request)
        exchange = Exchange(origin.loop, is_bodiless=request.method == "HEAD")
        wire = await origin.begin(address.data(request), exchange)
        try:
            await exchange.done
        except asyncio.CancelledError:
            wire.leave(exchange)
            raise
        check_proxy(exchange.status, request.url)
        return exchange.reply()

    @asynccontextmanager
    async def stream(request: WireRequest) -> AsyncIterator[WireStream]:
        address, origin = pool.begin(request)
        exchange = Streamed(origin.loop, is_bodiless=request.method == "HEAD")
        wire = await origin.begin(address.data(request), exchange)
        try:
            await exchange.done
            check_proxy(exchange.status, request.url)
            yield WireStream(exchange.status, exchange.headers, exchange.pieces())
        finally:
            wire.leave(exchange)

    try:
        yield Network(send, stream)
    finally:
        pool.close()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn
