"""The part of an account that is this process's, where several use it together.

One process learns what nobody tells, of each limiter, and the others follow it: two that learn
at one account take each other's steps for the account's limits.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.limits.buckets import Pace
from llmbatch_cli.engine.limits.limiter import Learned, Limiter
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity

LATELY_S: Final = 10.0
"""The time constant of what was used lately."""
BRIEF_S: Final = 1.0
"""A shorter cool-down is over before other processes hear of it."""


@frozen
class Seen:
    """What a process says of one of its limiters."""

    held: bool = True
    """Whether requests wait because the share is not larger."""
    used: float = 1.0
    """The part of the share that was used lately, from 0 to 1."""
    wait_s: float = 0.0
    """For how long the provider has asked this process to wait."""
    accepted: int = 0
    """Requests that the provider has accepted, since the process was started."""
    refused: int = 0
    """And those that it has answered with 429."""
    learned: Learned = field(default_factory=Learned)


@frozen
class Heard:
    """What it is told of one of its limiters."""

    wait_s: float = 0.0
    """For how long the provider has asked other processes to wait."""
    accepted: int = 0
    """Requests of other processes that were accepted, counted from any time on."""
    refused: int = 0
    """And those that were answered with 429."""
    learned: Learned | None = None
    """What another one has learned; None: learn here."""


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

    def says(self) -> Mapping[str, Seen]:
        """How each limiter does, by its name; call it at each heartbeat."""
        return {name: watched.look() for name, watched in self._limiters.items()}

    def hears(self, told: Mapping[str, Heard]) -> None:
        """What other processes have said; names that are unknown here are ignored."""
        for name, heard in told.items():
            if (watched := self._limiters.get(name)) is not None:
                watched.hear(heard)


class Watched:
    """A limiter, and what it has used lately."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self._at = limiter.now()
        self._used_s: dict[Pace, float] = {}
        self._used = 1.0
        self._held = True
        self._accepted = self._refused = 0
        """Of other processes, as it was heard last."""

    def look(self) -> Seen:
        """How it does now; in a cool-down, whether it was held before."""
        limiter, now = self.limiter, self.limiter.now()
        took_s, self._at = now - self._at, now
        used = self._used_since(took_s)
        if limiter.cooling_s == 0 and took_s > 0:
            self._used += (used - self._used) * (1 - math.exp(-took_s / LATELY_S))
            self._held = limiter.is_held_by_share
        wait_s = limiter.cool_down.asked_s(now)
        wait_s = wait_s if wait_s >= BRIEF_S else 0.0
        learner = limiter.learner
        return Seen(
            self._held,
            min(1.0, self._used),
            wait_s,
            learner.answers,
            learner.refusals,
            limiter.learned,
        )

    def hear(self, heard: Heard) -> None:
        """What other processes have said; where they count anew, that is the begin."""
        limiter, now = self.limiter, self.limiter.now()
        if heard.wait_s:
            limiter.cool_down.hear(heard.wait_s, now)
        accepted, refused = heard.accepted - self._accepted, heard.refused - self._refused
        limiter.learner.hear(max(0, accepted), max(0, refused), now)
        self._accepted, self._refused = heard.accepted, heard.refused
        limiter.follow(heard.learned)

    def _used_since(self, took_s: float) -> float:
        """The part of the share that was used in the last so many seconds."""
        limiter, parts = self.limiter, [0.0]
        paces = [gate for gate in limiter.gates if isinstance(gate, Pace)]
        before, self._used_s = self._used_s, {pace: pace.used_s for pace in paces}
        if took_s > 0:
            parts += [(pace.used_s - before.get(pace, 0.0)) / took_s for pace in paces]
        if limiter.is_fixed and limiter.slots:
            parts.append(limiter.in_flight / limiter.slots)
        return max(parts)
