"""Trying again: which failures, how often, and how long to wait between."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import BadReply, ProviderError, TimedOut
from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.calls import CancelledInFlight

BASE_S: Final = 0.5
CAP_S: Final = 60.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How much trouble a row may have."""

    max_attempts: int = 6
    """Tries in all, from 1. Being told to wait uses up none: the row's time bounds it."""
    base_s: float = BASE_S
    cap_s: float = CAP_S
    counts_waits: bool = False
    """Whether being told to wait uses up a try after all."""


class CancelledWithTries(asyncio.CancelledError):
    """A row was cancelled; `attempts` are the tries that had failed before.

    `in_flight` is the one that was on the way, if any, and `partial` what had come of it.
    """

    def __init__(
        self, attempts: Sequence[Attempt], in_flight: Attempt | None, partial: str | None
    ) -> None:
        super().__init__()
        self.attempts = tuple(attempts)
        self.in_flight = in_flight
        self.partial = partial

    def without_frames(self) -> "CancelledWithTries":
        """Another that says the same; see ProviderError.without_frames."""
        return CancelledWithTries(self.attempts, self.in_flight, self.partial)


def retried(
    call: Call,
    patience: RetryPolicy,
    *,
    sleep: Sleep,
    clock: Callable[[], float],
    chance: Callable[[], float] = random.random,
    on_retry: Callable[[ProviderError, float], None] = lambda error, wait_s: None,
) -> Call:
    """The call, tried again where its error says that it may succeed later.

    The wait before try k + 1 is uniform between 0 and min(cap_s, base_s * 2 ** (k - 1)) seconds,
    "full jitter" (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, read
    2026-11-22), or what the server asks for and up to a tenth more, where it does. A BadReply
    is tried again once; a streamed answer of which text was told is not. A rate limit counts
    apart: its waits grow the same way, and its tries do not end. The failed attempts are told
    in the completion's or the error's `attempts`, and in those of the CancelledWithTries that
    a cancellation becomes.
    """

    async def call_again(request: Request) -> Completion:
        failed: list[Attempt] = []
        started = clock()
        try:
            while True:
                started = clock()
                try:
                    completion = await call(request)
                except ProviderError as error:
                    if error.sent:
                        failed += error.attempts or (attempt_of(error, clock() - started),)
                    wait_s = wait_before_next(error, failed, patience, chance)
                    if wait_s is None:
                        error.attempts = tuple(failed)
                        raise
                    on_retry(error.without_frames(), wait_s)
                else:
                    if failed:
                        completion.attempts = (*failed, *completion.attempts)
                    return completion
                await sleep(wait_s)
        except asyncio.CancelledError as cancelled:
            raise _with_tries(cancelled, failed, clock() - started) from cancelled

    return call_again


def _with_tries(
    cancelled: asyncio.CancelledError, failed: Sequence[Attempt], latency_s: float
) -> CancelledWithTries:
    """The cancellation of a row whose last try began so long ago."""
    if not isinstance(cancelled, CancelledInFlight):
        return CancelledWithTries(failed, None, None)
    if cancelled.request_s is not None:
        latency_s = cancelled.request_s
    in_flight = Attempt(TimedOut.kind, None, latency_s, maybe_billed=True)
    return CancelledWithTries((*failed, *cancelled.attempts), in_flight, cancelled.partial)


def wait_before_next(
    error: ProviderError,
    failed: list[Attempt],
    patience: RetryPolicy,
    chance: Callable[[], float],
) -> float | None:
    """Seconds to wait until the next try; None where there is none.

    `failed` holds the attempts so far, this error's being the last.
    """
    if not error.retry or error.partial:
        return None
    if patience.counts_waits and len(failed) >= patience.max_attempts:
        return None
    if error.slow:
        tries = sum(attempt.kind == error.kind for attempt in failed)
    else:
        tries = sum(attempt.kind != "rate_limited" for attempt in failed)
        if tries >= patience.max_attempts:
            return None
        if isinstance(error, BadReply) and _count(failed, error.kind) > 1:
            return None
    if error.retry_after_s is not None:
        return error.retry_after_s * (1 + 0.1 * chance())
    longest_s: float = min(patience.cap_s, patience.base_s * 2 ** min(tries - 1, 30))
    return chance() * longest_s


def _count(failed: list[Attempt], kind: str) -> int:
    return sum(attempt.kind == kind for attempt in failed)


def attempt_of(error: ProviderError, latency_s: float) -> Attempt:
    """The failed attempt as a row of output tells it; `latency_s` where its own is not known."""
    took_s = latency_s if error.request_s is None else error.request_s
    return Attempt(error.kind, error.status, took_s, error.maybe_billed)
