"""--max-cost over all workers: money goes out in slices, and what a lost worker held is spent."""

from collections.abc import Callable, Mapping
from typing import Final

from llmbatch_cli.cluster.messages import Money

SLICES: Final = 8
"""A slice is this part of what is free for each worker, or more where a request needs it."""


class Purse:
    """What all workers may spend together, in billionths of a US dollar.

    What is given is never more than the cap. A worker's part is what it says that it holds, since
    it has heard every order before it speaks again; it is lowered by an order that it confirms.
    """

    def __init__(
        self,
        cap: int,
        workers: int,
        *,
        given: Mapping[str, int] | None = None,
        save: Callable[[Mapping[str, int]], None] = lambda given: None,
    ) -> None:
        """
        Args:
            cap: of this run.
            workers: how many there are to be.
            given: what each worker held at most, before the coordinator was started anew.
            save: is called with what is given, which has to be durable before a worker hears of it.
        """
        self.cap = cap
        self._workers = max(1, workers)
        self._save = save
        self._given = dict(given or {})
        self._said: dict[str, Money] = {}

    @property
    def spent(self) -> int:
        """What is spent, and all that workers hold who do not speak any more."""
        return sum(map(self._spent_by, self._given))

    @property
    def free(self) -> int:
        """What nobody holds."""
        return self.cap - sum(self._given.values())

    def beat(self, worker: str, said: Money) -> int:
        """What the worker may spend in all, from now on."""
        self._said[worker] = said
        self._given[worker] = said.held
        free = self.free
        if not said.needed:
            others = any(one.needed > free for name, one in self._said.items() if name != worker)
            return said.committed if others else said.held
        if said.needed > free:
            return said.held
        given = said.held + min(free, max(said.needed, free // (SLICES * self._workers)))
        self._given[worker] = given
        self._save(self._given)
        return given

    def lose(self, worker: str) -> None:
        """The worker is lost: all that it held may be spent."""
        self._said.pop(worker, None)

    def is_used_up(self, said: Money) -> bool:
        """Whether there will never be room for what a worker needs, even when all that is reserved
        turns out to cost nothing."""
        return said.needed > 0 and said.needed + said.held - said.committed > self.cap - self.spent

    def _spent_by(self, worker: str) -> int:
        said = self._said.get(worker)
        return self._given[worker] if said is None else said.spent
