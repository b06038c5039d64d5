"""What the driver knows of time and chance; another one in tests."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from llmbatch_cli.core.frozen import frozen


@frozen(kw_only=True)
class Timing:
    """Clock, sleep and chance."""

    clock: Callable[[], float] = time.time
    """Seconds since the epoch: jobs outlive processes."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random

    async def pause(self, wait_s: float) -> None:
        """Wait for so long, give or take a tenth."""
        await self.sleep(wait_s * (0.9 + 0.2 * self.chance()))
