"""Many numbers in little memory: their percentiles and their histogram."""

from array import array
from collections import Counter
from collections.abc import Mapping
from math import exp, floor, log, log10
from typing import Any, Final

EXACT_VALUES: Final = 100_000
"""Up to so many values all are kept, and percentiles are exact."""
ERROR: Final = 0.005
"""Beyond, percentiles are right to this share: each bin is 1 % wider than the one before it."""
_GROWTH: Final = log(1.01)
_PER_LOG: Final = 1 / _GROWTH
_LEAST: Final = 1e-6
_LOWEST: Final = floor(log(_LEAST) * _PER_LOG)
_BARS: Final = 24
_FOLD: Final = 1_000
"""So many values go into the bins together."""


class Quantiles:
    """Numbers from 0 on."""

    def __init__(self, exact_values: int = EXACT_VALUES) -> None:
        self._room = exact_values
        self._values: array[float] = array("d")
        """All while `is_exact`, else those that are in no bin yet."""
        self._bins: Counter[int] = Counter()
        self._binned_count = 0
        self._binned_total = 0.0
        self._binned_most = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether every value is kept as it is."""
        return not self._bins

    @property
    def count(self) -> int:
        """How many values there are."""
        return self._binned_count + len(self._values)

    @property
    def total(self) -> float:
        """Their sum."""
        return self._binned_total + sum(self._values)

    @property
    def most(self) -> float:
        """The highest."""
        return max(self._binned_most, max(self._values, default=0.0))

    def add(self, value: float) -> None:
        """Take one more number into account, at about 0.1 microseconds."""
        self._values.append(value)
        if len(self._values) > self._room:
            self._fold()

    def state(self) -> dict[str, Any]:
        """All of it as values of JSON, for `merge`."""
        return {
            "values": self._values.tolist(),
            "bins": {str(number): count for number, count in self._bins.items()},
            "count": self._binned_count,
            "total": self._binned_total,
            "most": self._binned_most,
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Take the numbers of another one into account, by its `state`."""
        self._bins.update({int(number): count for number, count in state["bins"].items()})
        self._binned_count += state["count"]
        self._binned_total += state["total"]
        self._binned_most = max(self._binned_most, state["most"])
        self._values.extend(state["values"])
        if self._bins or len(self._values) > self._room:
            self._fold()

    def _fold(self) -> None:
        self._binned_count, self._binned_total = self.count, self.total
        self._binned_most = self.most
        self._bins.update(
            [floor(log(value) * _PER_LOG) if value > _LEAST else _LOWEST for value in self._values]
        )
        self._values, self._room = array("d"), _FOLD

    def at(self, *shares: float) -> list[float | None]:
        """The value that this share of all is at most, for each of the shares."""
        count = self.count
        if not count:
            return [None] * len(shares)
        if not self.is_exact:
            self._fold()
        ranks = [min(count - 1, int(share * count)) for share in shares]
        if self.is_exact:
            ordered = sorted(self._values)
            return [ordered[rank] for rank in ranks]
        return [self._near(rank) for rank in ranks]

    def _near(self, rank: int) -> float:
        before = 0
        for number in sorted(self._bins):
            before += self._bins[number]
            if before > rank:
                return min(_middle(number), self._binned_most)
        return self._binned_most

    def histogram(self) -> dict[str, Any]:
        """`edges` of the bars and their `counts`; the last bar has all that is beyond the p99,
        where a few values are far above it."""
        (low, high) = self.at(0, 0.99)
        if low is None or high is None:
            return {"edges": [], "counts": [], "is_open": False}
        is_open = self.most > 1.5 * high
        top = high if is_open else self.most
        step = _nice((top - low) / _BARS or top / _BARS or 1.0)
        first = floor(low / step + 1e-9)
        bars = max(1, floor(top / step + 1e-9) - first + 1)
        counts = [0] * (bars + is_open)
        for value, count in self._weighted():
            place = floor(value / step + 1e-9) - first
            counts[max(0, min(place, len(counts) - 1))] += count
        edges = [round((first + place) * step, 9) for place in range(bars + 1)]
        return {"edges": edges, "counts": counts, "is_open": is_open}

    def _weighted(self) -> list[tuple[float, int]]:
        if self.is_exact:
            return [(value, 1) for value in self._values]
        most = self._binned_most  # of all, as `at` was called before
        return [(min(_middle(number), most), count) for number, count in self._bins.items()]


def _middle(number: int) -> float:
    return exp((number + 0.5) * _GROWTH)


def _nice(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5, 10 and so on."""
    power: float = 10.0 ** floor(log10(step)) if step > 1e-9 else 1e-9
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= step * (1 - 1e-9))
