"""The course of a run over time, in little memory."""

from typing import Final

MOST_POINTS: Final = 120


class Timeline:
    """What was done when, in at most MOST_POINTS spans of time; each is as long as need be."""

    def __init__(self) -> None:
        self.width_s = 1
        self._spans: dict[int, list[int]] = {}

    def add(self, at_s: float, answered: int, failed: int, tokens: int) -> None:
        """Count these at a time in seconds since the epoch."""
        span = self._spans.setdefault(int(at_s) // self.width_s, [0, 0, 0])
        span[0] += answered
        span[1] += failed
        span[2] += tokens
        while len(self._spans) > MOST_POINTS:
            self._widen()

    def _widen(self) -> None:
        self.width_s *= 2
        wider: dict[int, list[int]] = {}
        for number, counts in self._spans.items():
            into = wider.setdefault(number // 2, [0, 0, 0])
            for place, count in enumerate(counts):
                into[place] += count
        self._spans = wider

    def points(self) -> list[list[int]]:
        """The beginning of each span that has any, and what is in it; a longer time without any
        is one span of zeros."""
        found: list[list[int]] = []
        for number in sorted(self._spans):
            begin = number * self.width_s
            if found and begin - found[-1][0] > self.width_s:
                found.append([found[-1][0] + self.width_s, 0, 0, 0])
            found.append([begin, *self._spans[number]])
        return found
