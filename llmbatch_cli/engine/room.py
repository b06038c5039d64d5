"""How many requests may be in flight at once, over several models together."""

from collections import deque
from collections.abc import Callable


class Room:
    """Room for so many requests at once, which several limiters share.

    A limiter takes a place only for a request that it would let go, so that one that is held
    by its own limits keeps no place from the others.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._wakes: deque[Callable[[], None]] = deque()

    @property
    def full(self) -> bool:
        """Whether nobody may take a place now."""
        return self._free <= 0

    def join(self, wake: Callable[[], None]) -> None:
        """Have this called when a place is free, in turn with the others."""
        self._wakes.append(wake)

    def take(self) -> None:
        """Take a place."""
        self._free -= 1

    def leave(self) -> None:
        """Give it back; whoever waits takes it."""
        self._free += 1
        for _ in range(len(self._wakes)):
            if self.full:
                return
            wake = self._wakes.popleft()
            self._wakes.append(wake)
            wake()
