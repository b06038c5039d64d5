"""A time limit for many calls at once, with one timer for all of them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from llmbatch_cli.core.errors import ProviderError, TimedOut
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.core.types import Call, Completion, Request

BEAT_S: Final = 0.25
"""How often the time is looked at."""
PAUSE_S: Final = 0.5
"""A look that comes so much too late: this process was stopped, or the machine slept."""

Task = asyncio.Task[Any]


class Deadlines:
    """The calls of many tasks, each ended as TimedOut after the same time.

    What asyncio.timeout does, at a tenth of its cost: since all have the same time, the
    oldest is the next to expire, and one timer serves them all.

    The wait for the first request, however long, does not count where it is told by `defer` and
    `begin`. Nor does a time in which this process did not run (SIGSTOP, a closed laptop): replies
    that came in the meantime are still to be read.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._began: dict[Task, float] = {}
        """When the tasks' time began, oldest first."""
        self._expired: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept, since to ask for it is a system call, which takes longer than all the rest here."""
        self._looked_s = 0.0
        self._paused_s = 0.0

    def within(self, call: Call) -> Call:
        """The call with this limit. An attempt that it ends stands in the ledger as timed out."""

        began, expired = self._began, self._expired

        async def timed(request: Request) -> Completion:
            if self._timer is None:
                self._start()
            task: Task = asyncio.current_task(self._loop)  # type: ignore[assignment]
            cancels = task.cancelling()
            began[task] = self._now()
            try:
                return await call(request)
            except asyncio.CancelledError as error:
                # Ours, and nobody else's as well?
                if task in expired and task.uncancel() <= cancels:
                    request.ledger.time_out(TimedOut.kind, self._timeout_s)
                    raise out_of_time(request.ledger, self._timeout_s) from error
                raise
            finally:
                if began.pop(task, None) is None:
                    expired.discard(task)

        return timed

    def defer(self) -> None:
        """The time of this task's call does not run yet: it waits for its first request."""
        self._began.pop(cast("Task", asyncio.current_task(self._loop)), None)

    def begin(self) -> None:
        """The time of this task's call, which was deferred, runs from now."""
        if self._timer is None:
            self._start()
        self._began[cast("Task", asyncio.current_task(self._loop))] = self._now()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time of this task's call does not run meanwhile."""
        task = cast("Task", asyncio.current_task(self._loop))
        began_s = self._began.pop(task, None)
        if began_s is None:
            yield
            return
        used_s = self._now() - began_s
        try:
            yield
        finally:
            self._began[task] = self._now() - used_s
            oldest_first = sorted(self._began.items(), key=lambda item: item[1])
            self._began.clear()
            self._began.update(oldest_first)
            if self._timer is None:
                self._start()

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looked_s = self._clock()
        self._wake_after(self._timeout_s)

    def left_s(self) -> float:
        """What is left of the time of this task's call."""
        began_s = self._began.get(cast("Task", asyncio.current_task()))
        return self._timeout_s if began_s is None else began_s + self._timeout_s - self._now()

    def _now(self) -> float:
        """Seconds in which this process has run."""
        now_s = self._clock()
        if now_s - self._looked_s > BEAT_S + PAUSE_S:
            self._paused_s += now_s - self._looked_s
            self._looked_s = now_s
        return now_s - self._paused_s

    def is_over(self) -> bool:
        """Whether this task's time is over."""
        return asyncio.current_task() in self._expired

    def _wake_after(self, left_s: float) -> None:
        wait_s = min(left_s, BEAT_S)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._sweep)

    def _sweep(self) -> None:
        """Cancel the tasks whose time is over, and wake for the next."""
        self._timer = None
        now_s = self._now()
        self._looked_s = self._clock()
        while self._began:
            task, began_s = next(iter(self._began.items()))
            left_s = began_s + self._timeout_s - now_s
            if left_s > 0:
                self._wake_after(left_s)
                return
            del self._began[task]
            self._expired.add(task)
            task.cancel()


def out_of_time(ledger: Ledger, timeout_s: float) -> ProviderError:
    """Why a row has no answer at the end of its time: what kept failing, if it was tried again.

    An attempt that was in flight then is what timed out, whatever went before.
    """
    cause, spent = ledger.cause, f"({ledger.tries_in(timeout_s)})"
    if cause is None:
        return TimedOut(f"no answer within {timeout_s:g} s")
    if ledger.attempts and ledger.attempts[-1].kind == TimedOut.kind:
        message = f"no answer within {timeout_s:g} s; before that {cause.kind}: {cause.message}"
        return TimedOut(f"{message} {spent}", status=cause.status, hint=cause.hint)
    cause.message = f"{cause.message} {spent}"
    return cause
