"""When to start the next model: after a fixed time, or when this one is slower than usual."""

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final, Self

from llmbatch_cli.core.errors import UsageError

REMEMBERED: Final = 1_000
"""Latencies that a quantile is taken of: the last ones."""
ENOUGH: Final = 20
"""With fewer latencies the quantile is unknown."""
CAUTION: Final = 2.5
"""Standard deviations of its rank by which a quantile is taken too low rather than too high."""


class Hedge:
    """The time that a model has before the next one starts, in seconds.

    Args:
        fixed_s: always this time; or None.
        quantile: from 0 to 1, of the latencies of the run's first models so far; until there
            are ENOUGH of them the time is unknown, and only a failure starts the next one.

    A request that was cancelled because the next model was faster counts with the time that
    it had: it would have taken longer still, so the quantile does not creep down.

    Where one answer in twenty is slow, the p95 of a sample is by chance a fast one's time or
    a slow one's, many times as long. So it is taken at the lower end of where it may be, at
    the rank n q - CAUTION sqrt(n q (1 - q)) of n: a few more requests, and no such chance.
    """

    def __init__(self, fixed_s: float | None = None, quantile: float | None = None) -> None:
        if (fixed_s is None) == (quantile is None):
            raise ValueError("a hedge has a fixed time or a quantile")
        self._fixed_s = fixed_s
        self._quantile = quantile
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    @classmethod
    def parse(cls, value: str | float | None) -> Self | None:
        """`0.8`, `0.8s`, `800ms` or `p95`, as --hedge has it; None for None. Raises UsageError."""
        if value is None:
            return None
        text = str(value)
        try:
            if text.startswith("p"):
                quantile = float(text[1:]) / 100
                if 0 < quantile < 1:
                    return cls(quantile=quantile)
            else:
                ms = text.endswith("ms")
                seconds = float(text[:-2]) / 1000 if ms else float(text.removesuffix("s"))
                if 0 < seconds < math.inf:
                    return cls(fixed_s=seconds)
        except ValueError:
            pass
        raise UsageError(
            f"--hedge {text!r} is not a time or a percentile", hint="as in --hedge 0.8 or p95"
        )

    def wait_s(self) -> float | None:
        """The time for the model that is about to start; None while it is unknown."""
        if self._quantile is None:
            return self._fixed_s
        count, quantile = len(self._sorted), self._quantile
        if count < ENOUGH:
            return None
        rank = count * quantile - CAUTION * math.sqrt(count * quantile * (1 - quantile))
        return self._sorted[max(0, int(rank))]

    def add(self, latency_s: float) -> None:
        """Learn how long a row's first model took, to its cancellation where it was cancelled."""
        if self._quantile is None:
            return
        self._recent.append(latency_s)
        insort(self._sorted, latency_s)
        if len(self._recent) > REMEMBERED:
            old_s = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, old_s)]
