"""--max-cost over all workers: money goes out in slices, and what a lost worker held is spent."""

from collections.abc import Callable, Mapping
from typing import Final

from llmbatch_cli.cluster.messages import Money

SLICES: Final = 8
"""A slice is this part of what is free for each worker at most, unless a request needs more."""
BEGIN: Final = 1_000
"""The first slice is this part of the cap for each worker."""
AHEAD: Final = 8
"""A slice lasts for so many reports: what a worker holds that is lost counts as spent."""
SLOWER: Final = 0.8
"""How much of its speed is remembered from one report to the next."""


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
            save: makes what is given durable, before a worker hears of it.
        """
        self.cap = cap
        self._workers = max(1, workers)
        self._save = save
        self._given = dict(given or {})
        self._said: dict[str, Money] = {}
        self._paces: dict[str, float] = {}
        """What each commits from one report to the next."""

    @property
    def spent(self) -> int:
        """What is spent, and all that workers hold who do not speak any more."""
        return sum(map(self._spent_by, self._given))

    @property
    def free(self) -> int:
        """What nobody holds."""
        return self.cap - sum(self._given.values())

    @property
    def left(self) -> int:
        """What there will be at most, if all that is reserved turns out to cost nothing."""
        return self.cap - self.spent

    def beat(self, worker: str, said: Money) -> int:
        """What the worker may spend in all, from now on."""
        self._hear(worker, said)
        slack = said.held - said.committed
        first, needed = self._next()
        if needed > self.free and worker != first:
            return said.committed  # what is left goes to the one that needs the least of it
        wanted = max(said.needed, self._slice(worker) - slack)
        if said.needed > self.free or not (said.needed or 2 * slack < self._slice(worker)):
            return said.held
        if (more := min(self.free, wanted)) <= 0:
            return said.held
        self._given[worker] = said.held + more
        self._save(self._given)
        return said.held + more

    def _hear(self, worker: str, said: Money) -> None:
        before = self._said.get(worker, said).committed
        pace = self._paces.get(worker, 0.0) * SLOWER
        self._paces[worker] = max(pace, said.committed - before)
        self._said[worker] = said
        self._given[worker] = said.held

    def _next(self) -> tuple[str, int]:
        """Who needs the least for a request, and how much; nobody needs nothing."""
        needs = [(said.needed, name) for name, said in self._said.items() if said.needed]
        needed, name = min(needs, default=(0, ""))
        return name, needed

    def _slice(self, worker: str) -> int:
        most = max(0, self.free) // (SLICES * self._workers)
        least = self.cap // (BEGIN * self._workers)
        return min(most, max(int(AHEAD * self._paces[worker]), least))

    def lose(self, worker: str) -> None:
        """The worker is lost: all that it held may be spent."""
        self._said.pop(worker, None)
        self._paces.pop(worker, None)

    def _spent_by(self, worker: str) -> int:
        said = self._said.get(worker)
        return self._given[worker] if said is None else said.spent
