"""How the limits of one account are shared out among workers. No I/O.

A worker's share is a part of every limit. The shares in use never sum up to more than the account,
whatever is lost, late or started anew:

- a share is raised only by what nobody holds, and lowered by asking: what was taken from a worker
  is free when its next report says that it uses less;
- a worker that is not heard any more keeps its share for a lease, counted from when its last
  report came; by its own clock it stops sooner, as it counts from when it sent that report;
- a coordinator that is started anew gives nothing for a lease, as it does not know who holds what.

Workers that their limits hold back share equally what the others leave.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.engine.fence import Fenced
from llmbatch_cli.engine.limits.share import Heard, Seen

LEASE_S: Final = 15.0
MARGIN_S: Final = 1.0
"""How much sooner a worker stops by its own clock."""
UNITS: Final = 1_000_000
"""The whole account; shares are in whole units, so that their sum is exact."""
NEWEST: Final = 0.2
"""The weight of the newest report in how often a worker is held."""
HUNGRY: Final = 0.7
SATED: Final = 0.5
"""How often a worker is held that becomes hungry, and that is no more."""
QUIET_S: Final = 10.0
"""Without an answer for so long, a worker learns no more for the others."""
SPARE: Final = 1.5
"""How many times what it uses a worker keeps that is not hungry."""
RESERVE: Final = 1 / 20
"""The part of an equal share that it keeps at least, to begin with when it is hungry again."""
KEPT: Final = 0.2
"""A change of what a worker needs by less than this is none."""


@dataclass(slots=True)
class Member:
    """One worker, as it was last heard."""

    heard: float
    held: int = 0
    """Units that it may be using."""
    hunger: float = 1.0
    """How often it was held by its share lately, from 0 to 1."""
    is_hungry: bool = True
    needs: float = 0.0
    """Units, where it is not hungry."""

    said: Mapping[str, Seen] = field(default_factory=dict)
    """Of each of its limiters."""
    counts: dict[str, list[int]] = field(default_factory=dict)
    """What was accepted and refused there, since it is known."""
    active: dict[str, float] = field(default_factory=dict)
    """When an answer was there last."""

    def hear(self, using: int, said: Mapping[str, Seen], least: float) -> None:
        """What it says of its share; `least` is what it keeps in any case."""
        for name, one in said.items():
            before = self.said.get(name, one)
            counts = self.counts.setdefault(name, [0, 0])
            counts[0] += one.accepted - before.accepted
            counts[1] += one.refused - before.refused
            if before.accepted != one.accepted or before is one:
                self.active[name] = self.heard
        self.said = said
        is_held = any(one.held for one in said.values()) or not said
        self.hunger += (is_held - self.hunger) * NEWEST
        self.is_hungry = self.hunger > (SATED if self.is_hungry else HUNGRY)
        needs = max(SPARE * max((one.used for one in said.values()), default=1.0) * using, least)
        if abs(needs - self.needs) > KEPT * self.needs:
            self.needs = needs


@frozen
class Told:
    """What a worker is told of the account."""

    units: int
    part: float
    """The same as a part of the account, from 0 to 1."""
    limiters: Mapping[str, Heard]


class Shares:
    """Who may use which part of the account. Reports that come late must not be passed on."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        lease_s: float = LEASE_S,
        units: int = UNITS,
        is_fresh: bool = True,
    ) -> None:
        """
        Args:
            clock: seconds.
            lease_s: how long a worker that is not heard keeps its share.
            units: the whole account; with `-c` as many, so that each share has whole slots.
            is_fresh: whether no worker can hold anything of before.
        """
        self._clock = clock
        self._lease_s = lease_s
        self._units = units
        self._members: dict[str, Member] = {}
        self._leaders: dict[str, str] = {}
        """Of each limiter."""
        self._counts: dict[str, dict[str, list[int]]] = {}
        """Of each worker, also of those that have left, by limiter."""
        self._blind_until = float("-inf") if is_fresh else clock() + lease_s

    @property
    def members(self) -> Sequence[str]:
        """The workers that hold a share, or may soon."""
        self._expire()
        return list(self._members)

    @property
    def free(self) -> int:
        """Units that nobody holds."""
        return self._units - sum(member.held for member in self._members.values())

    def beat(self, worker: str, using: int, said: Mapping[str, Seen]) -> Told:
        """What a worker may use from now on, for a lease.

        Args:
            worker: its name; a worker that is started anew has another one.
            using: units, which it used when it sent the report.
            said: of its limiters.
        """
        self._expire()
        now = self._clock()
        member = self._members.get(worker)
        is_blind = now < self._blind_until
        if member is None:
            counts = self._counts.setdefault(worker, {})
            member = self._members[worker] = Member(now, counts=counts)
            if not is_blind:
                using = 0  # what it had was given back, and by its own clock it is over, too
        member.heard, member.held = now, using
        member.hear(using, said, self._units / len(self._members) * RESERVE)
        target = self._targets()[worker]
        granted = min(target, using) if is_blind else min(target, using + max(0, self.free))
        member.held = max(using, granted)
        heard = {name: self._heard(worker, name) for name in said}
        return Told(granted, granted / self._units, heard)

    def leave(self, worker: str) -> None:
        """The worker has ended for sure, and sends nothing more."""
        self._members.pop(worker, None)

    def _heard(self, worker: str, limiter: str) -> Heard:
        """What a worker is told of one of its limiters."""
        now = self._clock()
        waits_s = [
            member.said[limiter].wait_s - (now - member.heard)
            for name, member in self._members.items()
            if name != worker and limiter in member.said
        ]
        counts = self._counts.items()
        others = [of[limiter] for name, of in counts if name != worker and limiter in of]
        leader = self._leader(limiter)
        learned = None if leader == worker else self._members[leader].said[limiter].learned
        accepted, refused = (sum(count[place] for count in others) for place in (0, 1))
        return Heard(max([0.0, *waits_s]), accepted, refused, learned)

    def _leader(self, limiter: str) -> str:
        """Who learns for all: always the same one, as long as it gets answers."""
        leader = self._leaders.get(limiter, "")
        can = {name: one for name, one in self._members.items() if limiter in one.said}
        quiet = self._clock() - QUIET_S
        if leader not in can or can[leader].active[limiter] < quiet:
            leader = max(can, key=lambda name: (can[name].is_hungry, can[name].held))
            self._leaders[limiter] = leader
        return leader

    def _expire(self) -> None:
        before = self._clock() - self._lease_s
        for name in [name for name, one in self._members.items() if one.heard <= before]:
            self.leave(name)

    def _targets(self) -> Mapping[str, int]:
        """The units that each is to have: what it needs, and to those that are hungry the rest."""
        members, left = self._members, self._units
        everyone = not any(member.is_hungry for member in members.values())
        order = sorted(members, key=lambda name: _need(members[name], all_the_same=everyone))
        targets: dict[str, int] = {}
        for place, name in enumerate(order):
            fair = -(-left // (len(order) - place))  # upwards, so that few units go round
            needs = _need(members[name], all_the_same=everyone)
            targets[name] = min(fair, int(min(needs, self._units)) or 1)
            left -= targets[name]
        return targets


def _need(member: Member, *, all_the_same: bool) -> float:
    return float("inf") if member.is_hungry or all_the_same else member.needs


class Tenure:
    """A worker's side: how much it may use, and until when, by its own clock.

    Send no report before the last one is answered or given up.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        lease_s: float = LEASE_S,
        margin_s: float = MARGIN_S,
    ) -> None:
        self._clock = clock
        self._lasts_s = lease_s - margin_s
        self._units = 0
        self._until: float | None = None
        """None until the first report was answered."""
        self._number = 0
        self._sent_at = 0.0

    @property
    def using(self) -> int:
        """Units, for the next report; 0 once it has ended."""
        return 0 if self.has_ended else self._units

    @property
    def has_ended(self) -> bool:
        """Whether it is over, for good."""
        if self._until is not None and self._clock() >= self._until:
            self._until = float("-inf")
        return self._until == float("-inf")

    def begin(self) -> int:
        """A report is sent now; returns its number, from 1."""
        self._number += 1
        self._sent_at = self._clock()
        return self._number

    def answered(self, number: int, units: int) -> bool:
        """The report was answered; returns whether that counts, as it is not too late."""
        until = self._sent_at + self._lasts_s
        if number != self._number or self.has_ended or until <= self._clock():
            return False
        self._units, self._until = units, until
        return True

    def check(self) -> None:
        """Raise Fenced where nothing may be sent: give it to CallOptions as `before_send`."""
        if self._until is None or self.has_ended:
            raise Fenced
