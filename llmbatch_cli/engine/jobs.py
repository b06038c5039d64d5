"""Waiting for an answer that the provider works out in the background."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from llmbatch_cli.core.errors import NotFinished, ProviderError, Unreadable
from llmbatch_cli.core.types import Completion, Send, WireReply

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 10.0


async def finished(
    job: NotFinished,
    send: Send,
    read: Callable[[WireReply], Completion],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Completion:
    """The job's answer, asked for until it is there; only the row's time limit ends that.

    Trouble in asking does not end it, since another job would be paid for, too. Raises the job's
    own ProviderError, and Unreadable where the server does not know it.
    """
    wait_s = FIRST_WAIT_S
    while True:
        await sleep(wait_s)
        wait_s = min(1.5 * wait_s, LONGEST_WAIT_S)
        try:
            return read(await send(job.ask))
        except NotFinished:
            continue
        except ProviderError as error:
            if error.status == 200:
                raise
            if not error.retry:
                message = f"{job.message}, and cannot be asked for: {error.message}"
                raise Unreadable(message, status=error.status) from error
            wait_s = max(wait_s, min(error.retry_after_s or 0.0, 60.0))
