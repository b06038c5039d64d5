"""When to try more than is known to be allowed, and how much more."""

from typing import Final

PROBE_EVERY_S: Final = 5.0
PROBE_EVERY: Final = 25
"""Seconds and answers, both at least, between two steps up."""
FIRST_STEP: Final = 0.04
LONGEST_STEP: Final = 0.5
SURPRISING_STEP: Final = 0.16
MOST_SURE: Final = 4
PAUSES_APART: Final = 60.0
"""The least wait before the next step up, in cool-downs."""


class Probe:
    """When to try more, and how much more: seldom and little at first, then in doubling steps.

    The more often the same limit was confirmed, the longer the wait and the smaller the step.
    """

    def __init__(self) -> None:
        self.sure = -1
        """How often the limit was confirmed, after a first time, up to MOST_SURE."""
        self._step, self._last_step = FIRST_STEP, 0.0
        self._not_before_s = 0.0
        self._not_before = 0

    @property
    def stepped(self) -> bool:
        """Whether there was a step up since the last rejection."""
        return self._last_step > 0

    def forget(self) -> None:
        """The last step is no longer the cause of a rejection."""
        self._last_step = 0.0

    def rejected(self, now: float, answers: int, pause_s: float) -> None:
        """Start the wait again: at a rejection, which should have followed a step up."""
        surprise = not 0 < self._last_step <= SURPRISING_STEP
        self.sure = 0 if surprise else min(self.sure + 1, MOST_SURE)
        self.wait(now, answers, pause_s)

    def wait(self, now: float, answers: int, pause_s: float) -> None:
        """Start the wait."""
        often = 2 ** max(0, self.sure)
        self._step, self._last_step = FIRST_STEP / often, 0.0
        wait_s = PROBE_EVERY_S * often
        if self.sure > 0:
            wait_s = max(wait_s, PAUSES_APART * pause_s)
        self._not_before_s = now + pause_s + wait_s
        self._not_before = answers + PROBE_EVERY * often

    def step(self, now: float, answers: int) -> float:
        """How much more to use from now on, as a part of what is used; 0 for nothing."""
        if now < self._not_before_s or answers < self._not_before:
            return 0.0
        self._last_step = step = self._step
        self._step = min(2 * step, LONGEST_STEP)
        self._not_before_s = now + PROBE_EVERY_S
        self._not_before = answers + PROBE_EVERY
        return step
