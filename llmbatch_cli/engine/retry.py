"""Retries: which failures, how often, and how long to wait between."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import BadReply, ProviderError, RateLimited
from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.types import Call, Completion, Request

BASE_S: Final = 0.5
CAP_S: Final = 60.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a row is attempted."""

    max_attempts: int = 6
    """From 1. Rate limits do not count: the row's time limit bounds them."""
    base_s: float = BASE_S
    cap_s: float = CAP_S
    counts_waits: bool = False
    """Whether rate limits count as attempts after all."""


def retried(
    call: Call,
    policy: RetryPolicy,
    *,
    sleep: Sleep,
    chance: Callable[[], float] = random.random,
    on_retry: Callable[[ProviderError, float], None] = lambda error, wait_s: None,
) -> Call:
    """The call, made again where its error may pass.

    The wait before attempt k + 1 is uniform between 0 and min(cap_s, base_s * 2 ** (k - 1)) s,
    "full jitter" (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, read
    2026-11-22), or what the server asks for and up to a tenth more, where it does. A BadReply
    is retried once; a streamed answer of which text was passed on is not. Rate limits count
    apart: their waits grow the same way, and have no end.
    """

    async def call_again(request: Request) -> Completion:
        ledger = request.ledger
        before = len(ledger.attempts)
        while True:
            try:
                return await call(request)
            except ProviderError as error:
                wait_s = None
                if ledger.partial is None:
                    failed = ledger.attempts[before:]
                    wait_s = wait_before_next(error, failed, policy, chance)
                if wait_s is None:
                    raise
                on_retry(error.without_frames(), wait_s)
            await sleep(wait_s)

    return call_again


def wait_before_next(
    error: ProviderError,
    failed: Sequence[Attempt],
    policy: RetryPolicy,
    chance: Callable[[], float],
) -> float | None:
    """Seconds to wait until the next attempt; None where there is none.

    `failed` are the attempts so far, the one that gave this error last.
    """
    if not error.retry:
        return None
    if policy.counts_waits and len(failed) >= policy.max_attempts:
        return None
    same = sum(attempt.kind == error.kind for attempt in failed)
    if error.slow:
        count = same
    else:
        count = sum(attempt.kind != RateLimited.kind for attempt in failed)
        if count >= policy.max_attempts or (isinstance(error, BadReply) and same > 1):
            return None
    if error.retry_after_s is not None:
        return error.retry_after_s * (1 + 0.1 * chance())
    longest_s: float = min(policy.cap_s, policy.base_s * 2 ** min(count - 1, 30))
    return chance() * longest_s
