"""The waits of a run, which end at once when the run does: they have nothing to lose."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from llmbatch_cli.core.errors import RunStopped

Task = asyncio.Task[Any]


class Postponed(Exception):
    """A row is left for another run; `reason` is why, where it is not that this run ends."""

    def __init__(self, reason: RunStopped | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class Waits:
    """Tasks that only wait: for their turn, for a cool-down, to try again. Nothing of theirs is
    on the wire."""

    def __init__(self) -> None:
        self._tasks: set[Task] = set()
        self._ending: set[Task] = set()
        self._ended = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait of this task. Raises Postponed when the waits are ended, or were."""
        if self._ended:
            raise Postponed
        task = cast("Task", asyncio.current_task())
        cancels = task.cancelling()
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            # Ours, and nobody else's as well?
            if task in self._ending and task.uncancel() <= cancels:
                raise Postponed from None
            raise
        finally:
            self._tasks.discard(task)
            self._ending.discard(task)

    def end(self) -> None:
        """End those that wait now, and every later wait."""
        self._ended = True
        for task in self._tasks - self._ending:
            self._ending.add(task)
            task.cancel()
