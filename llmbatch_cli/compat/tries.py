"""How often a request is tried again, where the caller has said how often."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from llmbatch_cli.engine.retry import Patience, retried
from llmbatch_cli.engine.stack import StreamCall
from llmbatch_cli.errors import ProviderError
from llmbatch_cli.events import Event, Retried
from llmbatch_cli.types import Call, Completion, Request


class Enough(Exception):
    """Raised where a retry is announced that nobody wants; its context is the failure."""


class Tries:
    """Ends retries after the number that was asked for, rate limits included.

    engine/retry.py lets a rate limit's tries go on for the row's whole time, which is what a
    bulk run wants; `num_retries=0` has always meant that a 429 comes back at once.
    """

    def __init__(self) -> None:
        self._left: dict[asyncio.Task[Any] | None, int] = {}

    def observe(self, event: Event) -> None:
        """Is told of each retry, in the task whose request failed, before the wait."""
        if not isinstance(event, Retried):
            return
        task = asyncio.current_task()
        left = self._left.get(task)
        if left == 0:
            raise Enough
        if left is not None:
            self._left[task] = left - 1

    async def call(self, call: Call, request: Request, retries: int | None) -> Completion:
        """The call, with so many retries at most; None sets no bound of its own."""
        if retries is None:
            return await call(request)
        task = asyncio.current_task()
        self._left[task] = retries
        try:
            return await call(request)
        except Enough as enough:
            if isinstance(enough.__context__, ProviderError):
                raise enough.__context__ from enough.__context__.__cause__
            raise
        finally:
            del self._left[task]


async def stream_again(
    stream: StreamCall,
    request: Request,
    patience: Patience,
    retries: int | None,
    on_text: Callable[[str], None],
) -> Completion:
    """The streamed call, tried again as long as it has told no text."""
    left = retries
    told = False

    def tell(text: str) -> None:
        nonlocal told
        told = True
        on_text(text)

    def on_retry(error: ProviderError, wait_s: float) -> None:
        nonlocal left
        if told or left == 0:
            raise error
        left = None if left is None else left - 1

    async def call(request: Request) -> Completion:
        return await stream(request, tell)

    again = retried(call, patience, sleep=asyncio.sleep, clock=time.monotonic, on_retry=on_retry)
    return await again(request)
