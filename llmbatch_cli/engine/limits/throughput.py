"""The throughput at one number in flight, by Little's law: in flight over mean latency.

It needs no wait until a queue is drained, and is right for what was sent at that number, even
where the answers come when another number is tried.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple, Self

FITS: Final = 8
"""Fewer answers do not show how latency depends on length."""


@dataclass(slots=True)
class Sample:
    """Answers to requests that were sent at about one number in flight, as sums."""

    answers: int = 0
    in_flight: float = 0.0
    latency: float = 0.0
    latency_squared: float = 0.0
    tokens: float = 0.0
    tokens_squared: float = 0.0
    product: float = 0.0
    """Of latency and tokens."""

    def add(self, in_flight: float, latency_s: float, tokens: float) -> None:
        """One more answer."""
        self.answers += 1
        self.in_flight += in_flight
        self.latency += latency_s
        self.latency_squared += latency_s * latency_s
        self.tokens += tokens
        self.tokens_squared += tokens * tokens
        self.product += latency_s * tokens

    def __add__(self, other: Self) -> "Sample":
        return Sample(
            self.answers + other.answers,
            self.in_flight + other.in_flight,
            self.latency + other.latency,
            self.latency_squared + other.latency_squared,
            self.tokens + other.tokens,
            self.tokens_squared + other.tokens_squared,
            self.product + other.product,
        )

    @property
    def mean_in_flight(self) -> float:
        """How many were in flight, each counted with itself when it was sent."""
        return self.in_flight / self.answers

    @property
    def mean_latency(self) -> float:
        """Seconds."""
        return self.latency / self.answers

    def latency_at(self, tokens: float) -> tuple[float, float]:
        """The mean latency if the mean answer had so many tokens; its relative variance.

        A straight line through the answers, where longer ones took longer.
        """
        count = self.answers
        mean, mean_tokens = self.latency / count, self.tokens / count
        variance = max(0.0, self.latency_squared / count - mean * mean)
        spread = self.tokens_squared / count - mean_tokens * mean_tokens
        covariance = self.product / count - mean * mean_tokens
        if count < FITS or spread <= 1e-9 * (1 + mean_tokens * mean_tokens) or covariance <= 0:
            return mean, variance / mean**2 / count
        slope = covariance / spread
        at = max(mean / 3, mean + slope * (tokens - mean_tokens))
        return at, max(0.0, variance - slope * covariance) / at**2 / count


class Gain(NamedTuple):
    """How the throughput of a higher number in flight compares with that of a lower one."""

    ratio: float
    error: float
    """The standard error of the ratio's logarithm."""
    latency_s: float
    """Mean latency at the higher number."""


def gain(higher: Sample, lower: Sample) -> Gain:
    """The throughput at `higher` over that at `lower`, for answers of one mean length."""
    tokens = (higher.tokens + lower.tokens) / (higher.answers + lower.answers)
    high_s, high_variance = higher.latency_at(tokens)
    low_s, low_variance = lower.latency_at(tokens)
    more = higher.mean_in_flight / lower.mean_in_flight
    return Gain(more * low_s / high_s, sqrt(high_variance + low_variance), high_s)
