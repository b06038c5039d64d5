"""How many requests at once, as far as their number is rejected."""

from typing import Final

from llmbatch_cli.engine.limits.probe import SURPRISING_STEP, Probe

EXCEPTIONS: Final = 5
"""Fewer accepted requests than this, with as many in flight, do not rule out a limit."""
KEPT_S: Final = 30.0
"""The least time for which accepted counts are kept, while no limit is certain."""


class Slots:
    """How many at once, as far as their number is rejected."""

    def __init__(self, most: int, *, growing: bool) -> None:
        self.limit = most
        self.accepted = [0] * most
        """How many requests were accepted with so many others in flight, since the last episode."""
        self._accepted_before = self.accepted
        self._kept_until = float("-inf")
        self._most = self._unpaused = most
        """The second is the last one above 0."""
        self._paused = 0
        """The limit that there was before it became 0."""
        self._probe = Probe()
        self.growing = growing
        """Whether every answer adds a slot, up to the most."""
        self.met = False
        """Whether a number was rejected."""

    def set_most(self, most: int, factor: float) -> None:
        """Never more than `most` from now on, 0 included, and never more than at the beginning.

        A limit below that was learned, and changes by `factor`.
        """
        before = self.limit if self._most else self._paused
        self._most = most
        if most == 0:
            self._paused, self.limit = before, 0
            return
        self.limit = max(1, min(most, most if before >= self._unpaused else round(before * factor)))
        self._unpaused = most

    @property
    def learned(self) -> int | None:
        """The limit, where it is below what was set."""
        return self.limit if self.limit < self._most else None

    def follow(self, learned: int | None) -> None:
        """Another process has learned this; None is nothing."""
        self.growing, self.met = False, learned is not None
        self.limit = self._most if learned is None else min(self._most, max(1, learned))

    def add(self) -> None:
        """One more, up to the most."""
        self.limit = min(self.limit + 1, self._most)

    def crowded(self, in_flight: int) -> bool:
        """Whether a rejection of one more than `in_flight` may be due to their number."""
        counts = (self.accepted, self._accepted_before)
        return in_flight > 0 and max(sum(one[in_flight:]) for one in counts) < EXCEPTIONS

    def rejected(self, now: float, *, plain: bool) -> None:
        """An episode begins; `plain` where so much was rejected that it means a limit."""
        if plain or now >= self._kept_until:
            self._accepted_before, self.accepted = self.accepted, [0] * len(self.accepted)
            self._kept_until = now + KEPT_S

    def shrink(self, in_flight: int, now: float, answers: int, pause_s: float) -> None:
        """More than `in_flight` were too many at once."""
        self.growing, self.met = False, True
        self.trim(in_flight)
        self._probe.rejected(now, answers, pause_s)

    def trim(self, in_flight: int) -> None:
        """More than `in_flight` were too many, in the same episode."""
        self.limit = min(self._most, max(1, min(self.limit, in_flight)))

    def grow(self, now: float, answers: int) -> None:
        """Try more where it is time to."""
        if self.limit < self._most and (step := self._probe.step(now, answers)):
            self.growing = step > SURPRISING_STEP  # so much more, and no rejection
            self.limit = min(self._most, self.limit + max(1, int(self.limit * step)))
