"""Many numbers in little memory: their percentiles, their histogram, their course over time."""

import math
from array import array
from collections import Counter
from typing import Any, Final

EXACT_VALUES: Final = 100_000
"""Up to so many values all are kept, and percentiles are exact."""
_GROWTH: Final = math.log(1.01)
"""Beyond, each value is kept to 0.5 %: in bins of which each is 1 % wider than the one before."""
_LEAST: Final = 1e-6
_BARS: Final = 24
MOST_POINTS: Final = 120


class Quantiles:
    """Numbers from 0 on."""

    def __init__(self, exact_values: int = EXACT_VALUES) -> None:
        self._exact_values = exact_values
        self._values: array[float] = array("d")
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.most = 0.0

    @property
    def is_exact(self) -> bool:
        return self.count <= self._exact_values

    def add(self, value: float) -> None:
        """Take one more number into account."""
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        if self.is_exact:
            self._values.append(value)
            return
        if self._values:
            self._bins.update(map(_bin, self._values))
            self._values = array("d")
        self._bins[_bin(value)] += 1

    def at(self, *shares: float) -> list[float | None]:
        """The value that this share of all is at most, for each of the shares."""
        if not self.count:
            return [None] * len(shares)
        ranks = [min(self.count - 1, int(share * self.count)) for share in shares]
        if self.is_exact:
            ordered = sorted(self._values)
            return [ordered[rank] for rank in ranks]
        return [self._binned(rank) for rank in ranks]

    def _binned(self, rank: int) -> float:
        before = 0
        for number in sorted(self._bins):
            before += self._bins[number]
            if before > rank:
                return min(_middle(number), self.most)
        return self.most

    def histogram(self) -> dict[str, Any]:
        """`edges` of the bars and their `counts`; the last bar has all that is beyond the p99,
        where a few values are far above it."""
        (low, high) = self.at(0, 0.99)
        if low is None or high is None:
            return {"edges": [], "counts": [], "is_open": False}
        is_open = self.most > 1.5 * high
        top = high if is_open else self.most
        step = _nice((top - low) / _BARS or top / _BARS or 1.0)
        first = math.floor(low / step + 1e-9)
        bars = max(1, math.floor(top / step + 1e-9) - first + 1)
        counts = [0] * (bars + is_open)
        for value, count in self._weighted():
            place = math.floor(value / step + 1e-9) - first
            counts[max(0, min(place, len(counts) - 1))] += count
        edges = [round((first + place) * step, 9) for place in range(bars + 1)]
        return {"edges": edges, "counts": counts, "is_open": is_open}

    def _weighted(self) -> list[tuple[float, int]]:
        if self.is_exact:
            return [(value, 1) for value in self._values]
        return [(min(_middle(number), self.most), count) for number, count in self._bins.items()]


def _bin(value: float) -> int:
    return math.floor(math.log(max(value, _LEAST)) / _GROWTH)


def _middle(number: int) -> float:
    return math.exp((number + 0.5) * _GROWTH)


def _nice(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5, 10 and so on."""
    power: float = 10.0 ** math.floor(math.log10(step)) if step > 1e-9 else 1e-9
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= step * (1 - 1e-9))


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
