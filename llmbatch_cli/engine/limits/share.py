"""The part of an account that is this process's, where several use it together."""

import math
from collections.abc import Mapping
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.limits.buckets import Pace
from llmbatch_cli.engine.limits.limiter import Limiter
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity

LATELY_S: Final = 5.0
"""The time constant of what was used lately."""
BRIEF_S: Final = 1.0
"""A shorter cool-down is over before other processes hear of it."""


@frozen
class Wants:
    """What a process says of its share."""

    held: bool = True
    """Whether its requests wait because the share is not larger."""
    used: float = 1.0
    """The part of the share that it has used lately, from 0 to 1."""


class Share:
    """What part of every limit holds here; all limiters of a pool follow it.

    Used by one event loop.
    """

    def __init__(self, part: float = 0.0) -> None:
        """
        Args:
            part: of the account, from 0 to 1; with 0 nothing is sent until more is set.
        """
        self.part = part
        self._limiters: dict[str, Watched] = {}
        self._capacity: SharedCapacity | None = None

    def set(self, part: float) -> None:
        """So much is this process's from now on, from 0 to 1."""
        if part == self.part:
            return
        self.part = part
        for watched in self._limiters.values():
            watched.limiter.set_share(part)
        if self._capacity is not None:
            self._capacity.set_share(part)

    def join(self, name: str, limiter: Limiter) -> None:
        """Have the limiter follow; its name is the same in every process."""
        self._limiters[name] = Watched(limiter)
        limiter.set_share(self.part)

    def join_capacity(self, capacity: SharedCapacity) -> None:
        """Have it follow, too."""
        self._capacity = capacity
        capacity.set_share(self.part)

    def wants(self) -> Wants:
        """How the share is used, of the limiter that needs it most; call it at each heartbeat."""
        seen = [watched.look() for watched in self._limiters.values()]
        return Wants(
            any(one.held for one in seen) or not seen,
            max((one.used for one in seen), default=1.0),
        )

    def cool_downs(self) -> Mapping[str, float]:
        """Limiters whose provider has asked this process to wait, and for how many seconds more."""
        found = {name: one.limiter.asked_to_wait_s for name, one in self._limiters.items()}
        return {name: wait_s for name, wait_s in found.items() if wait_s >= BRIEF_S}

    def cool_down(self, waits_s: Mapping[str, float]) -> None:
        """The same as another process has said it; names that are unknown here are ignored."""
        for name, wait_s in waits_s.items():
            if name in self._limiters:
                self._limiters[name].limiter.cool_down(wait_s)


class Watched:
    """A limiter, and what it has used lately."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._at = limiter.now()
        self._used_s: dict[Pace, float] = {}
        self._used = 1.0
        self._held = True

    def look(self) -> Wants:
        """What it wants now; in a cool-down, what it wanted before."""
        limiter, now = self.limiter, self.limiter.now()
        took_s, self._at = now - self._at, now
        used = self._used_since(took_s)
        if limiter.cooling_s == 0 and took_s > 0:
            self._used += (used - self._used) * (1 - math.exp(-took_s / LATELY_S))
            self._held = limiter.is_held_by_share
        return Wants(self._held, self._used)

    def _used_since(self, took_s: float) -> float:
        """The part of the share that was used in the last so many seconds."""
        limiter, parts = self.limiter, [0.0]
        paces = [gate for gate in limiter.gates if isinstance(gate, Pace)]
        before, self._used_s = self._used_s, {pace: pace.used_s for pace in paces}
        if took_s > 0:
            parts += [(pace.used_s - before.get(pace, 0.0)) / took_s for pace in paces]
        if limiter.is_fixed and limiter.slots:
            parts.append(limiter.in_flight / limiter.slots)
        return min(1.0, max(parts))
