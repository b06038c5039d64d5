"""Tells an isolated 429 from one that means a limit.

A limit that is exceeded rejects what follows, too; trouble at the provider rejects a request here
and there, however few are sent.
"""

from collections import deque
from typing import Final

SPORADIC: Final = 0.005
"""The share of the last RECENT_S that may be rejected without an episode."""
MOST_SPORADIC: Final = 0.03
"""The same where slowing down has not helped, at most."""
RECENT_S: Final = 10
MINUTE_S: Final = 60
DENSE: Final = 20
"""So many requests admitted between a rejected one and its reply can show what it means."""
ALONE: Final = 0.1
"""Of these, the largest part that may be rejected with it if it is isolated."""
FEW: Final = 5
"""So many isolated ones in RECENT_S are no episode, besides the share that is SPORADIC."""

Ticket = tuple[float, int, int, int]
"""What a request was admitted with, to be settled when it ends.

When (seconds, by the loop's clock), how many others were in flight at that moment, the estimate
of its tokens, and its number among all that were admitted, from 0. A bare tuple, since one is
made for every request.
"""


class Recent:
    """How many requests were accepted and rejected in the last minute, to a second."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        """Each a second, and the requests that were accepted and rejected in it."""
        self._next_second = float("-inf")
        self._tolerated = SPORADIC

    def add(self, now: float, refused: int) -> None:
        """One more, now."""
        if now >= self._next_second:
            self._begin(int(now))
        self._seconds[-1][1 + refused] += 1

    def add_others(self, now: float, accepted: int, refused: int) -> None:
        """So many more of other processes."""
        if now >= self._next_second:
            self._begin(int(now))
        self._seconds[-1][1] += accepted
        self._seconds[-1][2] += refused

    def _begin(self, second: int) -> None:
        self._next_second = second + 1
        self._seconds.append([second, 0, 0])
        while self._seconds[0][0] <= second - MINUTE_S:
            self._seconds.popleft()

    def sporadic(self, few: int = 0) -> bool:
        """Whether there were no more rejections than `few` and the tolerated share."""
        ended, refused = self._sums()
        return refused <= few + self._tolerated * ended

    def raise_tolerance(self) -> None:
        """Slowing down did not help: tolerate twice the share that was seen."""
        ended, refused = self._sums()
        self._tolerated = min(max(SPORADIC, 2 * refused / max(1, ended)), MOST_SPORADIC)

    def reset_tolerance(self) -> None:
        """There is a limit after all."""
        self._tolerated = SPORADIC

    def per_minute(self, now: float) -> float:
        """How many a minute were accepted in the last RECENT_S."""
        recent = [second for second in self._seconds if second[0] > now - RECENT_S - 1]
        return MINUTE_S * sum(second[1] for second in recent) / RECENT_S

    def proven_per_minute(self, now: float) -> float:
        """The lowest limit that agrees with what was accepted in the last minute.

        No provider lets more than a minute's worth of unused requests accumulate.
        """
        accepted = sum(second[1] for second in self._seconds)
        since = next((second[0] for second in self._seconds if second[1]), 0)
        return MINUTE_S * accepted / (now - since + MINUTE_S) if accepted else 0.0

    def _sums(self) -> tuple[int, int]:
        """Those of the last RECENT_S, and the rejected of them."""
        after = self._seconds[-1][0] - RECENT_S if self._seconds else 0
        recent = [second for second in self._seconds if second[0] > after]
        refused = sum(second[2] for second in recent)
        return refused + sum(second[1] for second in recent), refused


class Doubt:
    """A rejection of unclear cause: what became of those admitted after the rejected one?"""

    def __init__(self, ticket: Ticket, last: int, pause_s: float) -> None:
        self.ticket = ticket
        self.pause_s = pause_s
        self._since, self._last = ticket[3], last
        self._open = last - ticket[3]
        self._refused = 0

    def covers(self, number: int) -> bool:
        """Whether this is one of them."""
        return self._since < number <= self._last

    def add(self, number: int, refused: int) -> None:
        """One of them has ended."""
        if self.covers(number):
            self._open -= 1
            self._refused += refused

    @property
    def many_refused(self) -> bool:
        """Whether it is already too many for an isolated rejection."""
        return self._refused > ALONE * (self._last - self._since)

    @property
    def over(self) -> bool:
        """Whether nearly all of them have ended."""
        return self._open <= ALONE * (self._last - self._since)
