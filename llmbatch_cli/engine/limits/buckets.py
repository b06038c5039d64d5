"""How much may be sent in a minute: an even pace, and the sum of the last minute."""

from collections import deque
from typing import Final, Literal

SLACK_S: Final = 0.1
"""How late a request may be sent while the next one keeps its time: timers are never early."""
SLOT_S: Final = 0.25
"""The resolution of LastMinute; it is up to this much too strict."""

Counted = Literal["rpm", "tpm"]


class Pace:
    """So many requests, or tokens, a minute, spread evenly.

    Of requests, no more than `per_minute` are sent in any minute, its start counted and its end
    not. Of tokens, a request may be sent as soon as those before it are paid for, however large
    it is itself.
    """

    def __init__(self, per_minute: float, counts: Counted) -> None:
        self.counts: Counted = counts
        self.used_s = 0.0
        """How many seconds at this pace all that was sent has taken."""
        self._due = float("-inf")
        self.change(per_minute)

    def change(self, per_minute: float) -> None:
        """Continue at another speed, above 0."""
        self.per_minute = per_minute
        # Of N + 1 in a row, the first may be SLACK_S late; 1e-9 is for rounding.
        self._each_s = (60 + SLACK_S) * (1 + 1e-9) / per_minute

    def rescale(self, per_minute: float, now: float) -> None:
        """Continue at another speed, and what is still to be waited for at that speed, too."""
        if self._due > now:
            self._due = now + (self._due - now) * self.per_minute / per_minute
        self.change(per_minute)

    def ready_at(self, now: float, tokens: int) -> float:
        """When the next request may be sent; in the past if it may be sent now."""
        return self._due

    def take(self, now: float, tokens: int) -> None:
        """A request is sent."""
        start = self._due if now <= self._due + SLACK_S else now
        cost_s = self._cost_s(tokens)
        self.used_s += cost_s
        self._due = start + cost_s

    def give_back(self, at: float, tokens: int) -> None:
        """The request that was admitted at `at` was not sent."""
        self._add(-self._cost_s(tokens))

    def correct(self, at: float, more: int) -> None:
        """The request of `at` had so many tokens more than estimated, or fewer if below 0."""
        if self.counts == "tpm":
            self._add(more * self._each_s)

    def _add(self, cost_s: float) -> None:
        self.used_s += cost_s
        self._due += cost_s

    def _cost_s(self, tokens: int) -> float:
        return self._each_s if self.counts == "rpm" else tokens * self._each_s


class LastMinute:
    """Tokens that were sent in the last minute: real where known, estimated where not.

    With those of the next request they are never more than `most`; a request of more than that is
    sent where none was sent in the last minute.
    """

    counts: Counted = "tpm"

    def __init__(self, most: int) -> None:
        self.change(most)
        self._sum = 0
        self._slots: deque[list[int]] = deque()
        """Each a slot's number and its tokens, oldest first."""

    def change(self, most: int) -> None:
        """Continue with another limit."""
        self._most = most

    def ready_at(self, now: float, tokens: int) -> float:
        """When enough of the last minute has passed; in the past if it may be sent now."""
        self._forget(now)
        left = self._sum + tokens - self._most
        if left <= 0:
            return now
        for number, held in self._slots:
            left -= held
            if left <= 0:
                return _end_of(number)
        return _end_of(self._slots[-1][0]) if self._slots else now

    def take(self, now: float, tokens: int) -> None:
        """A request is sent."""
        self._forget(now)
        number = int(now // SLOT_S)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0])
        self._slots[-1][1] += tokens
        self._sum += tokens

    def give_back(self, at: float, tokens: int) -> None:
        """The request that was admitted at `at` was not sent."""
        self.correct(at, -tokens)

    def correct(self, at: float, more: int) -> None:
        """The request of `at` had so many tokens more than estimated, or fewer if below 0."""
        number = int(at // SLOT_S)
        for slot in reversed(self._slots):
            if slot[0] == number:
                slot[1] += more
                self._sum += more
            if slot[0] <= number:
                return

    def _forget(self, now: float) -> None:
        while self._slots and _end_of(self._slots[0][0]) <= now:
            self._sum -= self._slots.popleft()[1]


Gate = Pace | LastMinute


def _end_of(number: int) -> float:
    return (number + 1) * SLOT_S + 60
