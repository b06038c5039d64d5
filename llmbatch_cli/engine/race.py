"""Several models at once: the first good answers win, and the others' sockets are closed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Completion
from llmbatch_cli.engine.retry import CancelledWithTries

Status = Literal["waiting", "running", "won", "lost", "cancelled", "failed"]

Start = Callable[[Callable[[], None]], Awaitable[Completion]]
"""One request; a streaming one calls its argument when the first text is there."""

Complaint = Callable[[int, Completion], ProviderError | None]
"""Why the answer to the request of this place cannot win; None for a good one."""


@dataclass(slots=True, eq=False)
class Runner:
    """How one model fares in one race."""

    status: Status = "waiting"
    started_s: float | None = None
    ended_s: float | None = None
    completion: Completion | None = None
    """Its answer, good or not."""
    error: ProviderError | None = None
    """Why it failed, or why its answer is no good."""
    cancelled: CancelledWithTries | None = None
    """What it had tried when it was cancelled; None before its first try too."""
    led: bool = False
    """Whether it was the first to call back, and so had the race to itself."""

    @property
    def latency_s(self) -> float | None:
        """How long its request took; of a cancelled one, from its own start to its end."""
        told = self.completion or self.error
        if told is not None and told.latency_s is not None:
            return told.latency_s
        if self.started_s is None or self.ended_s is None:
            return None
        return self.ended_s - self.started_s


async def race(
    starts: Sequence[Start],
    *,
    wins: int = 1,
    hedge_s: Callable[[], float | None] | None = None,
    complaint: Complaint,
    clock: Callable[[], float],
) -> list[Runner]:
    """Run requests until `wins` are answered well, or none is left; cancel the rest at once.

    Args:
        starts: in the order of preference, which decides between answers that are there in
            the same turn of the loop.
        wins: how many good answers are wanted; all run to their end when there are not more.
        hedge_s: the time that those before have, in seconds, before the next one starts (at
            once when one fails); with None all start together, and where it gives None
            the next one waits for a failure.
        complaint: judges an answer.
        clock: seconds, for the runners' times.

    The first one to call back, where `wins` is 1, has the race to itself: the others are
    cancelled before its answer is whole. If it fails after all, those that a hedge has held
    back so far start.

    Returns the runners in the order of `starts`, none of them running. No task is left.
    """
    course = _Course(starts, wins, complaint, clock)
    try:
        await course.run(hedge_s)
    finally:
        await course.close()
    return course.runners


Running = asyncio.Task[Completion | ProviderError]


class _Course:
    def __init__(
        self,
        starts: Sequence[Start],
        wins: int,
        complaint: Complaint,
        clock: Callable[[], float],
    ) -> None:
        self.runners = [Runner() for _ in starts]
        self._starts = starts
        self._wins = wins
        self._complaint = complaint
        self._clock = clock
        self._begun = 0
        self._tasks: dict[Running, Runner] = {}
        self._leader: Runner | None = None

    async def run(self, hedge_s: Callable[[], float | None] | None) -> None:
        while not self._over():
            if hedge_s is None:
                while self._next_waits():
                    self._begin()
            elif not self._tasks:
                self._begin()
            wait_s = hedge_s() if hedge_s is not None and self._next_waits() else None
            done, _ = await asyncio.wait(
                self._tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            self._judge(done)
            late = not done or not any(one.status == "won" for one in self.runners)
            if late and not self._over() and self._next_waits():
                self._begin()

    async def close(self) -> None:
        """Cancel who still runs, and wait until their sockets are closed."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            self._judge(set(left), decided=True)

    def _next_waits(self) -> bool:
        return self._begun < len(self._starts) and self._leader is None

    def _over(self) -> bool:
        won = sum(one.status == "won" for one in self.runners)
        return won >= self._wins or not (self._tasks or self._next_waits())

    def _begin(self) -> None:
        runner, start = self.runners[self._begun], self._starts[self._begun]
        self._begun += 1
        runner.status, runner.started_s = "running", self._clock()
        self._tasks[asyncio.ensure_future(self._run(runner, start))] = runner

    async def _run(self, runner: Runner, start: Start) -> Completion | ProviderError:
        try:
            return await start(lambda: self._lead(runner))
        except ProviderError as error:
            return error.without_frames()
        except CancelledWithTries as cancelled:
            runner.cancelled = cancelled.without_frames()
        raise asyncio.CancelledError  # another: the task keeps it, and that one's calls the task

    def _lead(self, runner: Runner) -> None:
        if self._wins > 1 or self._leader is not None:
            return
        self._leader, runner.led = runner, True
        for task, other in self._tasks.items():
            if other is not runner:
                task.cancel()

    def _judge(self, done: set[Running], *, decided: bool = False) -> None:
        """Take the finished tasks in the order of preference."""
        for task, runner in list(self._tasks.items()):
            if task not in done:
                continue
            del self._tasks[task]
            runner.ended_s = self._clock()
            if task.cancelled():
                runner.status = "cancelled"
            elif isinstance(result := task.result(), ProviderError):
                runner.status, runner.error = "failed", result
            else:
                self._answered(runner, result, decided=decided)
            if runner.status == "failed" and runner is self._leader:
                self._leader = None

    def _answered(self, runner: Runner, completion: Completion, *, decided: bool) -> None:
        runner.completion = completion
        runner.error = self._complaint(self.runners.index(runner), completion)
        if runner.error is not None:
            runner.status = "failed"
        elif decided or sum(one.status == "won" for one in self.runners) >= self._wins:
            runner.status = "lost"
        else:
            runner.status = "won"
