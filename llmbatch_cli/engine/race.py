"""Several calls at once: the first good answers win, and the others' sockets are closed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Completion
from llmbatch_cli.engine.waits import Postponed

Status = Literal["waiting", "running", "won", "lost", "cancelled", "failed"]

Start = Callable[[Callable[[], None]], Awaitable[Completion]]
"""One call; a streaming one calls its argument when its first text is there."""

Rejection = Callable[[int, Completion], ProviderError | None]
"""Why the answer to the call of this place cannot win; None for a good one."""


@dataclass(slots=True, eq=False)
class RaceResult:
    """How one call fares in one race."""

    status: Status = "waiting"
    started_s: float | None = None
    ended_s: float | None = None
    completion: Completion | None = None
    """Its answer, good or not."""
    error: ProviderError | None = None
    """Why it failed, or why its answer cannot win."""
    postponed: Postponed | None = None
    """Why it was cancelled while it only waited: the run was stopped, or its money is spent."""
    led: bool = False
    """Whether it was the first to produce text, so that the others were cancelled."""

    @property
    def latency_s(self) -> float | None:
        """From its start to its end; None for one that was not started."""
        if self.started_s is None or self.ended_s is None:
            return None
        return self.ended_s - self.started_s


async def race(
    starts: Sequence[Start],
    *,
    wins: int = 1,
    hedge_s: Callable[[], float | None] | None = None,
    rejection: Rejection = lambda place, completion: None,
    clock: Callable[[], float],
) -> list[RaceResult]:
    """Run calls until `wins` have a good answer, or none is left; cancel the others at once.

    Args:
        starts: in the order of preference, which decides between answers that are there in
            the same turn of the loop.
        wins: good answers wanted; all calls run to their end where there are not more.
        hedge_s: seconds until the next call starts while those before run (at once where one
            fails). With None all start together; where it returns None, only a failure starts
            the next one.
        rejection: checks an answer.
        clock: seconds, for the results' times.

    With `wins` 1, the first one to produce text has the race to itself: the others are cancelled
    before its answer is whole. If it fails after all, those that a hedge has held back start.

    Returns the results in the order of `starts`, none of them running. No task is left.
    """
    running = _Race(starts, wins, rejection, clock)
    try:
        await running.run(hedge_s)
    finally:
        await running.close()
    return running.results


Running = asyncio.Task[Completion | ProviderError]


class _Race:
    def __init__(
        self,
        starts: Sequence[Start],
        wins: int,
        rejection: Rejection,
        clock: Callable[[], float],
    ) -> None:
        self.results = [RaceResult() for _ in starts]
        self._starts = starts
        self._wins = wins
        self._rejection = rejection
        self._clock = clock
        self._started = 0
        self._tasks: dict[Running, RaceResult] = {}
        self._leader: RaceResult | None = None

    async def run(self, hedge_s: Callable[[], float | None] | None) -> None:
        while not self._is_over():
            if hedge_s is None:
                while self._may_start():
                    self._start()
            elif not self._tasks:
                self._start()
            wait_s = hedge_s() if hedge_s is not None and self._may_start() else None
            done, _ = await asyncio.wait(
                self._tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            self._judge(done)
            late = not done or not self._won()
            if late and not self._is_over() and self._may_start():
                self._start()

    async def close(self) -> None:
        """Cancel what still runs, and wait until its sockets are closed."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            self._judge(set(left), decided=True)

    def _won(self) -> int:
        return sum(one.status == "won" for one in self.results)

    def _may_start(self) -> bool:
        return self._started < len(self._starts) and self._leader is None

    def _is_over(self) -> bool:
        return self._won() >= self._wins or not (self._tasks or self._may_start())

    def _start(self) -> None:
        result, start = self.results[self._started], self._starts[self._started]
        self._started += 1
        result.status, result.started_s = "running", self._clock()
        self._tasks[asyncio.ensure_future(self._run(result, start))] = result

    async def _run(self, result: RaceResult, start: Start) -> Completion | ProviderError:
        try:
            return await start(lambda: self._lead(result))
        except ProviderError as error:
            return error.without_frames()
        except Postponed as postponed:
            result.postponed = Postponed(postponed.reason, ends=postponed.ends)
        except asyncio.CancelledError:
            pass
        # A new one: a task keeps its exception, whose frames would hold the task.
        raise asyncio.CancelledError

    def _lead(self, result: RaceResult) -> None:
        if self._wins > 1 or self._leader is not None:
            return
        self._leader, result.led = result, True
        for task, other in self._tasks.items():
            if other is not result:
                task.cancel()

    def _judge(self, done: set[Running], *, decided: bool = False) -> None:
        """Take the finished tasks in the order of preference."""
        for task, result in list(self._tasks.items()):
            if task not in done:
                continue
            del self._tasks[task]
            result.ended_s = self._clock()
            if task.cancelled():
                result.status = "cancelled"
            elif isinstance(ended := task.result(), ProviderError):
                result.status, result.error = "failed", ended
            else:
                self._answered(result, ended, decided=decided)
            if result.status == "failed" and result is self._leader:
                self._leader = None

    def _answered(self, result: RaceResult, completion: Completion, *, decided: bool) -> None:
        result.completion = completion
        result.error = self._rejection(self.results.index(result), completion)
        if result.error is not None:
            result.status = "failed"
        elif decided or self._won() >= self._wins:
            result.status = "lost"
        else:
            result.status = "won"
