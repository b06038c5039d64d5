"""Short-lived credentials, renewed in the background."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from llmbatch_cli.core.errors import UsageError


@asynccontextmanager
async def renewed(renew: Callable[[], object], wait_s: Callable[[], float]) -> AsyncIterator[None]:
    """Call `renew`, which may block, at once and then every `wait_s()` seconds, in a thread.

    Raises what the first call does. A later UsageError is ignored: the old credentials may do.
    """

    async def again() -> None:
        while True:
            await asyncio.sleep(wait_s())
            with suppress(UsageError):
                await asyncio.to_thread(renew)

    await asyncio.to_thread(renew)
    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
