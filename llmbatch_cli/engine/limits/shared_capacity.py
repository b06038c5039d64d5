"""How many requests may be in flight at once, over several models together."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

TURNS: Final = 3
"""Turns of the loop from a request's answer to the end of its race: its task ends, the waiter for
any of the tasks is woken, and continues."""


class SharedCapacity:
    """Slots for so many requests at once, which several limiters share.

    A limiter takes a slot only for a request that it would admit, so that one that is held by its
    own limits keeps no slot from the others.
    """

    def __init__(self, most: int) -> None:
        self._whole = self._most = most
        self._free = most
        self._wakes: deque[Callable[[], None]] = deque()
        self._waking = False

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return self._free <= 0

    def join(self, wake: Callable[[], None]) -> None:
        """Call this when a slot is free, in turn with the others."""
        self._wakes.append(wake)

    def set_share(self, part: float) -> None:
        """So much of it is this process's, from 0 to 1; at least one slot, unless it is 0."""
        most = max(1, int(self._whole * part + 1e-6)) if part else 0
        self._free += most - self._most
        self._most = most
        self._wake()

    def take(self) -> None:
        """Take a slot."""
        self._free -= 1

    def leave(self) -> None:
        """Free a slot; a waiting request takes it a few turns of the loop later.

        Until then the race whose request has ended cancels its other requests that wait.
        """
        self._free += 1
        if not self._waking:
            self._waking = True
            self._later(TURNS)

    def _later(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._later, turns - 1)
        else:
            self._waking = False
            self._wake()

    def _wake(self) -> None:
        for _ in range(len(self._wakes)):
            if self.full:
                return
            wake = self._wakes.popleft()
            self._wakes.append(wake)
            wake()
