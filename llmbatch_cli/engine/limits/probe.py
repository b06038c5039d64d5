"""When more than what is known to be allowed is tried, and how much more."""

from typing import Final

PROBE_EVERY_S: Final = 5.0
PROBE_EVERY: Final = 25
"""Seconds and answers, both at least, between two steps up."""
FIRST_STEP: Final = 0.04
LONGEST_STEP: Final = 0.5
SURPRISING_STEP: Final = 0.16
MOST_SURE: Final = 4
PAUSES_APART: Final = 60.0
"""How many times the last cool-down passes at least before anything is risked again."""


class Probe:
    """When to try for more, and how much more: seldom and little at first, then in leaps.

    The surer the last two limits were alike, the longer the wait and the smaller the step.
    """

    def __init__(self) -> None:
        self._sure = -1
        self._step, self._last_step = FIRST_STEP, 0.0
        self._not_before_s = 0.0
        self._not_before = 0

    @property
    def stepped(self) -> bool:
        """Whether there was a step up since the last objection."""
        return self._last_step > 0

    def forget(self) -> None:
        """What was tried has come to nothing, and to no harm."""
        self._last_step = 0.0

    def objected(self, now: float, answers: int, pause_s: float) -> None:
        """Wait again from the beginning: at an objection, which a probe should have met."""
        surprise = not 0 < self._last_step <= SURPRISING_STEP
        self._sure = 0 if surprise else min(self._sure + 1, MOST_SURE)
        self._step, self._last_step = FIRST_STEP / 2**self._sure, 0.0
        wait_s = PROBE_EVERY_S * 2**self._sure
        if self._sure:
            wait_s = max(wait_s, PAUSES_APART * pause_s)
        self._not_before_s = now + pause_s + wait_s
        self._not_before = answers + PROBE_EVERY * 2**self._sure

    def step(self, now: float, answers: int) -> float:
        """How much more to try from now on, as a part of what is used; 0 for nothing."""
        if now < self._not_before_s or answers < self._not_before:
            return 0.0
        self._last_step = step = self._step
        self._step = min(2 * step, LONGEST_STEP)
        self._not_before_s = now + PROBE_EVERY_S
        self._not_before = answers + PROBE_EVERY
        return step
