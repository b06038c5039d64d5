"""What all models of a pool share: the network, the limits, and how many wait."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity
from llmbatch_cli.engine.waits import Waits
from llmbatch_cli.transport import Network

if TYPE_CHECKING:
    from llmbatch_cli.engine.cache.opening import Known
    from llmbatch_cli.models.spending import Spending


class Shared:
    """Used by one event loop."""

    def __init__(
        self,
        stack: AsyncExitStack,
        opening: AbstractAsyncContextManager[Network],
        limits: RateLimits | None,
    ) -> None:
        self.stack = stack
        self.limiters: dict[tuple[str, str, str], Limiter] = {}
        self.sleeping = 0
        """Requests that wait to be tried again."""
        together = limits is not None and limits.together
        self.capacity = SharedCapacity(limits.most_in_flight) if limits and together else None
        self._opening = opening
        self.known: Known | None = None
        """Answers that need no request; None without a cache."""
        self.spending: Spending | None = None
        """What all of it may cost; None without --max-cost."""
        self._network: Network | None = None
        self._connecting = asyncio.Lock()

    async def network(self) -> Network:
        """The network, from its first use on: importing it takes longer than all the rest."""
        async with self._connecting:
            if self._network is None:
                self._network = await self.stack.enter_async_context(self._opening)
        return self._network

    async def sleep(self, wait_s: float, waits: Waits) -> None:
        """Wait to try again."""
        self.sleeping += 1
        try:
            with waits.waiting():
                await asyncio.sleep(wait_s)
        finally:
            self.sleeping -= 1
