"""A call that is begun when its limiter admits it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from llmbatch_cli.core.errors import ProviderError, TimedOut
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.limits.limiter import Limiter


def admitted(
    call: Call,
    limiter: Limiter,
    on_admit: Callable[[], None] = lambda: None,
    is_late: Callable[[], bool] = lambda: False,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Call:
    """The call, begun when its limiter admits it; inside `retried`, so that each attempt pays anew.

    `on_admit` is called in that moment, and the wait until then is inside of `waiting`; `is_late`
    tells a cancelled call whether its time was over.
    """
    settle, try_admit, estimate = limiter.settle, limiter.try_admit, limiter.estimate

    async def paced(request: Request) -> Completion:
        tokens = estimate(request) if limiter.counts_tokens else 0
        ticket = try_admit(tokens)
        if ticket is None:
            with waiting():
                ticket = await limiter.admit(tokens)
        on_admit()
        result: Completion | ProviderError | None = None
        try:
            result = await call(request)
            return result
        except ProviderError as error:
            result = error
            raise
        except asyncio.CancelledError:
            if is_late():
                result = TimedOut("no answer in time")
            raise
        finally:
            settle(ticket, result)

    return paced
