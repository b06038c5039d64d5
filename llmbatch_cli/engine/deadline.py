"""A time limit for many calls at once, with one timer for all of them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from llmbatch_cli.core.errors import ProviderError, TimedOut
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.retry import CancelledWithTries

Task = asyncio.Task[Any]


class Deadlines:
    """The calls of many tasks, each given up as TimedOut after the same time.

    What asyncio.timeout does, at a tenth of its cost: since all have the same time, the
    oldest is the next to expire, and one timer serves them all.

    With `deferred`, a call's time begins only when `begin` is called in its task: what has to
    wait for its first request, however long, has not used up any of it.
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
        """The call with this limit; its answer or error tells how long it took."""

        async def timed(request: Request) -> Completion:
            task, before = self._enter()
            try:
                completion = await call(request)
                completion.latency_s = self._took_s(task)
                return completion
            except ProviderError as error:
                error.latency_s = self._took_s(task)
                raise
            except asyncio.CancelledError as error:
                if self._meant(task, before):
                    raise self._error(error) from error
                raise
            finally:
                self._leave(task)

        return timed

    def begin(self) -> None:
        """The time of this task's call runs from now, unless it runs already."""
        self._begin(cast("Task", asyncio.current_task()))

    def _begin(self, task: Task) -> None:
        if task in self._began or task in self._expired:
            return
        self._began[task] = self._clock()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._sweep)

    def _took_s(self, task: Task) -> float | None:
        began_s = self._began.get(task)
        return self._clock() - began_s if began_s is not None else None

    def _enter(self) -> tuple[Task, int]:
        """The task, and how often it was cancelled before."""
        task = cast("Task", asyncio.current_task())
        if not self._deferred:
            self._begin(task)
        return task, task.cancelling()

    def _leave(self, task: Task) -> None:
        self._began.pop(task, None)
        self._expired.discard(task)
        if not self._began and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _meant(self, task: Task, before: int) -> bool:
        """Whether this cancellation is ours, and nobody else's as well."""
        return task in self._expired and task.uncancel() <= before

    def _error(self, cancelled: asyncio.CancelledError) -> TimedOut:
        error = TimedOut(f"no answer within {self._timeout_s:g} s")
        error.latency_s = self._timeout_s
        if isinstance(cancelled, CancelledWithTries):
            in_flight = (cancelled.in_flight,) if cancelled.in_flight is not None else ()
            error.attempts = (*cancelled.attempts, *in_flight)
            error.partial = cancelled.partial
        return error

    def _sweep(self) -> None:
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
