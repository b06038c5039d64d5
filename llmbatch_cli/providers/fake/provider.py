"""A provider that costs nothing and sends nothing, to rehearse a run with all its troubles.

`fake/echo` answers with the last user message, `fake/lorem` with made-up words, or JSON of the
form that a request asks for. Options go
behind the model: `fake/echo?latency=0.2&jitter=0.5&rate_limited=0.05`. The replies are bytes
in OpenAI's shape, so everything above the network is exercised as with the real one.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import orjson

from llmbatch_cli.core.errors import Interrupted, NotAnswered, Unreachable, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.types import Completion, Request, Send, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.fake.options import FAILURES, FakeOptions, parse_options
from llmbatch_cli.providers.fake.replies import CUT_SHORT, ERRORS, answer, error_reply
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.registry import Target

MODELS: Final = ("echo", "lorem")
MOST_REMEMBERED: Final = 100_000
"""Failed contents whose attempts are counted; the oldest are forgotten, to keep memory flat."""
LASTING: Final = frozenset(("out_of_quota", "unauthorized", "rejected", "refused", "truncated"))
"""Failures that the same content meets again at every attempt."""
ANSWERED: Final = frozenset(("truncated", "refused"))
"""Failures that arrive as a completion."""


class Fake(OpenAI):
    """The fake provider. Nothing is sent: `serving` yields a Send that makes the replies up.

    Whether a request fails, and how, depends on the seed, the request's content and how often
    that content has failed before: two runs agree whatever order the answers come in, and a
    retry may succeed.

    Args:
        options: how it behaves.
        sleep: waits out the latency, in seconds; never called for 0.
        clock: seconds, for `rpm`.
    """

    def __init__(
        self,
        options: FakeOptions | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(Settings("fake", "http://fake.invalid/v1"))
        options = options or FakeOptions()
        self._options = options
        self._sleep = sleep
        self._bucket = _Bucket(options.rpm, clock) if options.rpm else None
        rates = ((name, getattr(options, name)) for name in FAILURES)
        self._rates = [(name, rate) for name, rate in rates if rate > 0]
        self._draws = bool(self._rates) or options.latency * options.jitter > 0
        self._seed = blake2b(str(options.seed).encode()).digest()
        self._attempts: OrderedDict[bytes, int] = OrderedDict()

    @classmethod
    def target(cls, model: str, query: str) -> Target:
        """`echo` or `lorem` with the options in `query`. Raises UsageError for any other."""
        if model not in MODELS:
            names = " and ".join(f"fake/{name}" for name in MODELS)
            raise UsageError(f"the fake provider has no model {model!r}", hint=f"it has {names}")
        return Target(cls(parse_options(query)), model, {})

    @property
    def source(self) -> Sequence[str]:
        return (*super().source, repr(self._options))

    def parse(self, request: Request, reply: WireReply) -> Completion:
        return replace(super().parse(request, reply), cost_usd=0.0)

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        yield self.send

    @property
    def latency_s(self) -> float:
        """The mean of a request's."""
        return self._options.latency

    async def send(self, wire: WireRequest, *, waits: bool = True) -> WireReply:
        """A made-up reply, after its latency if it waits.

        Raises Unreachable and Interrupted where the options ask for them, and NotAnswered for what
        would hang and does not wait.
        """
        headers: dict[str, str] = {"content-type": "application/json"}
        if self._bucket is not None and not self._bucket.take(headers):
            return error_reply("rate_limited", headers)
        failure, latency_s = self._fate(wire.body)
        if failure == "hang" and not waits:
            raise NotAnswered("the fake provider has no answer to this row")
        if latency_s > 0 and waits:
            await self._sleep(latency_s)
        if failure is None or failure in ANSWERED:
            return WireReply(200, headers, answer(orjson.loads(wire.body), self._options, failure))
        if failure == "rate_limited" and self._options.retry_after is not None:
            headers["retry-after"] = f"{self._options.retry_after:g}"
        if failure in ERRORS:
            return error_reply(failure, headers)
        return await _broken_reply(failure, headers)

    def _fate(self, body: bytes) -> tuple[str | None, float]:
        """How this attempt fails, None if it does not, and its latency in seconds."""
        if not self._draws:
            return None, self._options.latency
        content = blake2b(body, digest_size=16, key=self._seed).digest()
        attempts = self._attempts.pop(content, 0)
        drawn = blake2b(attempts.to_bytes(8, "big"), digest_size=16, key=content).digest()
        failure = self._failure(_fraction(drawn[:8]))
        if failure is not None and failure not in LASTING:
            self._remember(content, attempts + 1)
        return failure, self._latency_s(drawn[8:])

    def _failure(self, fraction: float) -> str | None:
        for name, rate in self._rates:
            if fraction < rate:
                return name
            fraction -= rate
        return None

    def _remember(self, content: bytes, attempts: int) -> None:
        self._attempts[content] = attempts
        if len(self._attempts) > MOST_REMEMBERED:
            self._attempts.popitem(last=False)

    def _latency_s(self, drawn: bytes) -> float:
        """Lognormal with the option's mean, since exp(sigma z - sigma^2 / 2) has the mean 1."""
        mean, sigma = self._options.latency, self._options.jitter
        if mean == 0 or sigma == 0:
            return mean
        from statistics import NormalDist

        z = NormalDist().inv_cdf(_fraction(drawn))
        return mean * math.exp(sigma * z - sigma * sigma / 2)


class _Bucket:
    """`rpm` tokens, refilled evenly over a minute; full at the start."""

    def __init__(self, rpm: int, clock: Callable[[], float]) -> None:
        self._rpm = rpm
        self._clock = clock
        self._tokens = float(rpm)
        self._filled_at_s = clock()

    def take(self, headers: dict[str, str]) -> bool:
        """Whether a request may pass; adds OpenAI's rate headers, and the wait if it may not."""
        now_s = self._clock()
        gained = (now_s - self._filled_at_s) * self._rpm / 60
        self._tokens, self._filled_at_s = min(self._rpm, self._tokens + gained), now_s
        passes = self._tokens >= 1
        self._tokens -= passes
        headers["x-ratelimit-limit-requests"] = str(self._rpm)
        headers["x-ratelimit-remaining-requests"] = str(int(self._tokens))
        headers["x-ratelimit-reset-requests"] = f"{self._wait_s(self._rpm):.3f}s"
        if not passes:
            headers["retry-after"] = f"{self._wait_s(1):.3f}"
        return passes

    def _wait_s(self, tokens: float) -> float:
        return (tokens - self._tokens) * 60 / self._rpm


def _fraction(drawn: bytes) -> float:
    """Eight bytes as a number between 0 and 1, never either of them."""
    return ((int.from_bytes(drawn, "big") >> 12) + 0.5) / (1 << 52)


async def _broken_reply(failure: str, headers: Mapping[str, str]) -> WireReply:
    """The failures that are not even an error reply."""
    if failure == "bad_reply":
        return WireReply(200, headers, CUT_SHORT)
    if failure == "unreachable":
        raise Unreachable("the fake provider refused the connection")
    if failure == "interrupted":
        raise Interrupted("the fake provider reset the connection before its reply")
    never: asyncio.Future[WireReply] = asyncio.get_running_loop().create_future()
    return await never
