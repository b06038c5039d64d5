"""The waits of a run, which end at once when the run does: they have nothing to lose."""

import asyncio
from typing import Any, cast

from llmbatch_cli.core.errors import RunStopped

Task = asyncio.Task[Any]


class Postponed(Exception):
    """A row is left for another run; `reason` is why, where it is not that this run ends.

    `ends`: no further row can be answered, so that the run is to end.
    """

    def __init__(self, reason: RunStopped | None = None, *, ends: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ends = ends


class Waits:
    """Tasks that only wait: for their turn, for a cool-down, to try again. Nothing of theirs is
    on the wire."""

    def __init__(self) -> None:
        self._tasks: set[Task] = set()
        self._ending: set[Task] = set()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept, since to ask for it is a system call."""

    def waiting(self) -> "_Waiting":
        """Around a wait of this task. Raises Postponed when the waits are ended, or were."""
        if self._ended:
            raise Postponed
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return _Waiting(self._tasks, self._ending, cast("Task", asyncio.current_task(self._loop)))

    def end(self) -> None:
        """End those that wait now, and every later wait."""
        self._ended = True
        for task in self._tasks - self._ending:
            self._ending.add(task)
            task.cancel()


class _Waiting:
    """One wait; not made of a generator, since most rows of some runs wait for their turn."""

    __slots__ = ("_cancels", "_ending", "_task", "_tasks")

    def __init__(self, tasks: set[Task], ending: set[Task], task: Task) -> None:
        self._tasks, self._ending, self._task = tasks, ending, task
        self._cancels = task.cancelling()

    def __enter__(self) -> None:
        self._tasks.add(self._task)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, ours = self._task, self._task in self._ending
        self._tasks.discard(task)
        self._ending.discard(task)
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        # Ours, and nobody else's as well?
        if cancelled and ours and task.uncancel() <= self._cancels:
            raise Postponed from None
