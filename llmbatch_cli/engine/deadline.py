"""A time limit for many calls at once, with one timer for all of them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from llmbatch_cli.core.errors import TimedOut
from llmbatch_cli.core.types import Call, Completion, Request

Task = asyncio.Task[Any]


class Deadlines:
    """The calls of many tasks, each ended as TimedOut after the same time.

    What asyncio.timeout does, at a tenth of its cost: since all have the same time, the
    oldest is the next to expire, and one timer serves them all.

    With `deferred`, a call's time begins only when `begin` is called in its task: a wait for the
    first request, however long, does not count.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        deferred: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._deferred = deferred
        self._clock = clock
        self._began: dict[Task, float] = {}
        """When the tasks' time began, oldest first."""
        self._expired: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, call: Call) -> Call:
        """The call with this limit. An attempt that it ends stands in the ledger as timed out."""

        async def timed(request: Request) -> Completion:
            task = cast("Task", asyncio.current_task())
            cancels = task.cancelling()
            if not self._deferred:
                self.begin()
            try:
                return await call(request)
            except asyncio.CancelledError as error:
                # Ours, and nobody else's as well?
                if task in self._expired and task.uncancel() <= cancels:
                    request.ledger.time_out(TimedOut.kind, self._timeout_s)
                    raise TimedOut(f"no answer within {self._timeout_s:g} s") from error
                raise
            finally:
                self._leave(task)

        return timed

    def begin(self) -> None:
        """The time of this task's call runs from now, unless it runs already."""
        task = cast("Task", asyncio.current_task())
        if task in self._began or task in self._expired:
            return
        self._began[task] = self._clock()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._sweep)

    def is_over(self) -> bool:
        """Whether this task's time is over."""
        return asyncio.current_task() in self._expired

    def _leave(self, task: Task) -> None:
        self._began.pop(task, None)
        self._expired.discard(task)
        if not self._began and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        """Cancel the tasks whose time is over, and wake for the next."""
        self._timer = None
        while self._began:
            task, began_s = next(iter(self._began.items()))
            left_s = began_s + self._timeout_s - self._clock()
            if left_s > 0:
                self._timer = asyncio.get_running_loop().call_later(left_s, self._sweep)
                return
            del self._began[task]
            self._expired.add(task)
            task.cancel()
