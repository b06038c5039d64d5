"""A provider that enforces limits as real ones do; no I/O, and the clock is the caller's."""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmbatch_cli.core.errors import RateLimited
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, RateInfo, Request

MEDIAN_S = 1.0
SIGMA = 0.4
"""Of the lognormal answer times: nine in ten between 0.5 and 1.9 s."""
MEAN_S = MEDIAN_S * math.exp(SIGMA**2 / 2)
REFUSAL_S = 0.08
"""The median time to a 429."""


class Bucket:
    """A token bucket: `capacity_s` seconds' worth at most, full at the start."""

    def __init__(self, per_minute: float, capacity_s: float, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._capacity_s = capacity_s
        self._clock = clock
        self._filled_at = clock()
        self.level = self.capacity

    @property
    def capacity(self) -> float:
        """The most it holds, never less than one."""
        return max(1.0, self.per_minute / 60 * self._capacity_s)

    def fill(self) -> None:
        """Add what has flowed in since."""
        now = self._clock()
        flowed = (now - self._filled_at) * self.per_minute / 60
        self.level, self._filled_at = min(self.capacity, self.level + flowed), now

    def change(self, per_minute: float) -> None:
        """Another limit from now on."""
        self.fill()
        self.per_minute = per_minute
        self.level = min(self.level, self.capacity)

    def wait_s(self, amount: float) -> float:
        """Seconds until so much is there."""
        return max(0.0, (amount - self.level) * 60 / self.per_minute)

    @property
    def told_left(self) -> int:
        """What a reply says is left of a whole minute, whatever is held back for each second."""
        return max(0, int(self.per_minute - self.capacity + self.level))

    @property
    def full_in_s(self) -> float:
        """Seconds until it is full."""
        return self.wait_s(self.capacity)


@dataclass
class Law:
    """What one account may do; None is no limit."""

    clock: Callable[[], float]
    rpm: float | None = None
    tpm: float | None = None
    at_once: int | None = None
    capacity_s: float = 60.0
    """How much the buckets save up; providers that count by the second save little."""
    headers: bool = False
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.requests = self._bucket(self.rpm)
        self.tokens = self._bucket(self.tpm)

    def _bucket(self, per_minute: float | None) -> Bucket | None:
        return Bucket(per_minute, self.capacity_s, self.clock) if per_minute else None

    def arrive(self, tokens: int) -> float | None:
        """None lets the request in; else seconds until it may come again."""
        if self.at_once is not None and self.in_flight >= self.at_once:
            return 0.0
        buckets = [(self.requests, 1.0), (self.tokens, float(tokens))]
        waits = []
        for bucket, amount in buckets:
            if bucket:
                bucket.fill()
                waits.append(bucket.wait_s(min(amount, bucket.capacity)))
        if waits and max(waits) > 1e-9:
            return max(waits)
        for bucket, amount in buckets:
            if bucket:
                bucket.level -= amount
        self.in_flight += 1
        return None

    def change(self, limits: Mapping[str, float]) -> None:
        """Other limits from now on: `rpm`, `tpm`, `at_once`, of those there were."""
        for bucket, name in ((self.requests, "rpm"), (self.tokens, "tpm")):
            if bucket and name in limits:
                bucket.change(limits[name])
        if "at_once" in limits:
            self.at_once = int(limits["at_once"])

    def leave(self) -> None:
        """A request that was let in is answered, or its client has gone."""
        self.in_flight -= 1

    def told(self, retry_after_s: float | None = None) -> RateInfo | None:
        """What a reply's headers say."""
        if not self.headers:
            return None
        requests, tokens = self.requests, self.tokens
        return RateInfo(
            limit_requests=int(requests.per_minute) if requests else None,
            remaining_requests=requests.told_left if requests else None,
            reset_requests_s=requests.full_in_s if requests else None,
            limit_tokens=int(tokens.per_minute) if tokens else None,
            remaining_tokens=tokens.told_left if tokens else None,
            reset_tokens_s=tokens.full_in_s if tokens else None,
            retry_after_s=retry_after_s,
        )


class SimulatedProvider:
    """A Call under a Law, on the running loop's clock; counts what it has seen."""

    def __init__(self, law: Law, seed: int) -> None:
        self.law = law
        self.accepted: list[tuple[float, int]] = []
        """When, and how many tokens."""
        self.refused_at: list[float] = []
        self._dice = random.Random(seed)

    async def call(self, request: Request) -> Completion:
        """Answer after a while, or refuse soon."""
        loop = asyncio.get_running_loop()
        answer_tokens = round(self._dice.lognormvariate(math.log(60), 0.3))
        tokens = 50 + answer_tokens
        wait_s = self.law.arrive(tokens)
        if wait_s is not None:
            self.refused_at.append(loop.time())
            await asyncio.sleep(self._dice.lognormvariate(math.log(REFUSAL_S), SIGMA))
            asked_s = math.ceil(wait_s) if self.law.headers else None
            raise RateLimited("slow down", status=429, retry_after_s=asked_s)
        self.accepted.append((loop.time(), tokens))
        try:
            await asyncio.sleep(self._dice.lognormvariate(math.log(MEDIAN_S), SIGMA))
        finally:
            self.law.leave()
        usage = Usage(50, answer_tokens, tokens)
        return Completion("done", "stop", usage=usage, limits=self.law.told())
