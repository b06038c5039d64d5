"""A call that is begun when its limiter admits it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from llmbatch_cli.core.errors import ProviderError, TimedOut
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.limits.isolated_429 import Ticket
from llmbatch_cli.engine.limits.limiter import Limiter


def admitted(
    call: Call,
    limiter: Limiter,
    deadlines: Deadlines | None = None,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Call:
    """The call, begun when its limiter admits it; inside `retried`, so that each attempt pays anew.

    The time of `deadlines` does not run while the first attempt waits. Each wait is inside of
    `waiting`.
    """
    settle, try_admit, estimate = limiter.settle, limiter.try_admit, limiter.estimate

    async def paced(request: Request) -> Completion:
        tokens = estimate(request) if limiter.counts_tokens else 0
        ticket = try_admit(tokens)
        if ticket is None:
            ticket = await in_turn(request, tokens)
        result: Completion | ProviderError | None = None
        try:
            result = await call(request)
            return result
        except ProviderError as error:
            result = error
            raise
        except asyncio.CancelledError:
            if deadlines is not None and deadlines.is_over():
                result = TimedOut("no answer in time")
            raise
        finally:
            settle(ticket, result)

    async def in_turn(request: Request, tokens: int) -> Ticket:
        deferred = deadlines if request.ledger.started_s is None else None
        if deferred is not None:
            deferred.defer()
        try:
            with waiting():
                return await limiter.admit(tokens)
        finally:
            if deferred is not None:
                deferred.begin()

    return paced
