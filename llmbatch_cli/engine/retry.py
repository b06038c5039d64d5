"""Retries: which failures, how often, and how long to wait between."""

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.clock import time_after
from llmbatch_cli.core.errors import (
    BadReply,
    ProviderError,
    QuotaSpent,
    RateLimited,
    Unauthorized,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, Ledger
from llmbatch_cli.core.types import Call, Completion, Request

BASE_S: Final = 0.5
CAP_S: Final = 60.0
STRAY_PAUSES_S: Final = (1.0, 3.0)
"""Before a key that has answered, and is refused now, is tried again: gateways under load do so,
as in esengine/DeepSeek-Reasonix PR 4106 and Comfy-Org/ComfyUI 15856."""
QUOTA_S: Final = 300.0
"""From here on a wait is for no limit of a minute, however short a row's own time is."""

Sleep = Callable[[float], Awaitable[None]]


@frozen
class RetryPolicy:
    """How often a row is attempted."""

    max_attempts: int = 6
    """From 1. Rate limits do not count: the row's time limit bounds them."""
    base_s: float = BASE_S
    cap_s: float = CAP_S
    counts_waits: bool = False
    """Whether rate limits count as attempts after all."""


@dataclass(slots=True)
class Patience:
    """What is known, at one model, about waiting."""

    timeout_s: float = math.inf
    """A row's whole time."""
    left_s: Callable[[], float] = lambda: math.inf
    """What is left of the time of the row at work."""
    answered: bool = False
    """Whether the model has answered with this key."""

    @property
    def longest_s(self) -> float:
        """A longer wait is a quota that is spent, for all rows."""
        return max(self.timeout_s, QUOTA_S)


def retried(
    call: Call,
    policy: RetryPolicy,
    *,
    patience: Patience | None = None,
    sleep: Sleep,
    chance: Callable[[], float] = random.random,
    on_retry: Callable[[ProviderError, float], None] = lambda error, wait_s: None,
) -> Call:
    """The call, made again where its error may pass.

    The wait before attempt k + 1 is uniform between 0 and min(cap_s, base_s * 2 ** (k - 1)) s,
    "full jitter" (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, read
    2026-11-22), or what the server asks for and up to a tenth more, where it does. A BadReply
    is retried once; a streamed answer of which text was passed on is not. Rate limits count
    apart: their waits grow the same way, and have no end. A wait that the server asks for and
    that is longer than the row has time is not begun.
    """
    patience = patience or Patience()

    async def call_again(request: Request) -> Completion:
        ledger = request.ledger
        before = len(ledger.attempts)
        while True:
            try:
                completion = await call(request)
                patience.answered = True
                return completion
            except ProviderError as error:
                wait_s = None
                if ledger.partial is None:
                    failed = ledger.attempts[before:]
                    wait_s = wait_before_next(
                        error, failed, policy, chance, answered=patience.answered
                    )
                if wait_s is None:
                    raise
                asked_s = error.retry_after_s
                if asked_s is not None and asked_s > patience.left_s():
                    _tell_long_wait(error, asked_s, patience, ledger)
                    raise
                ledger.cause = error.without_frames()
                on_retry(error, wait_s)
            await sleep(wait_s)

    return call_again


def wait_before_next(
    error: ProviderError,
    failed: Sequence[Attempt],
    policy: RetryPolicy,
    chance: Callable[[], float],
    *,
    answered: bool = False,
) -> float | None:
    """Seconds to wait until the next attempt; None where there is none.

    `failed` are the attempts so far, the one that gave this error last; `answered` says whether
    the model has answered with this key.
    """
    if isinstance(error, Unauthorized) and answered and error.status != 403:
        return _before_next_of_a_good_key(failed, policy, chance)
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


def _before_next_of_a_good_key(
    failed: Sequence[Attempt], policy: RetryPolicy, chance: Callable[[], float]
) -> float | None:
    refused = sum(attempt.kind == Unauthorized.kind for attempt in failed)
    if refused > len(STRAY_PAUSES_S) or len(failed) >= policy.max_attempts:
        return None
    return STRAY_PAUSES_S[refused - 1] * (1 + 0.1 * chance())


def _tell_long_wait(
    error: ProviderError, asked_s: float, patience: Patience, ledger: Ledger
) -> None:
    """End a row that would have to wait for longer than it may. Raises QuotaSpent for all rows."""
    at = time_after(asked_s)
    if error.slow and asked_s > patience.longest_s:
        hint = f"the quota is back at {at}; go on with --resume then"
        raise QuotaSpent(
            error.message, status=error.status, retry_after_s=asked_s, hint=hint
        ) from error
    wait = f"asks to wait until {at}, past the row's time limit"
    if len(ledger.attempts) > 1:
        wait = f"{ledger.tries_in(patience.timeout_s - patience.left_s())}; {wait}"
    error.message = f"{error.message} ({wait})"
