"""Single requests that are not hot, such as for a list of models: by httpx, with a time limit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmbatch_cli.core.errors import Interrupted
from llmbatch_cli.core.types import Send, WireReply, WireRequest
from llmbatch_cli.transport import Connection, open_network

TIMEOUT_S = 30.0


@asynccontextmanager
async def open_control(timeout_s: float = TIMEOUT_S) -> AsyncIterator[Send]:
    """A Send for the time of an `async with`; each reply may take `timeout_s` seconds.

    Follows no redirects. Raises Interrupted when the time is over, else what the network does.
    """
    async with open_network(Connection(http="httpx", connect_timeout_s=timeout_s)) as network:

        async def send(request: WireRequest) -> WireReply:
            try:
                async with asyncio.timeout(timeout_s):
                    return await network.send(request)
            except TimeoutError as error:
                raise Interrupted(f"no answer within {timeout_s:g} s") from error

        yield send
