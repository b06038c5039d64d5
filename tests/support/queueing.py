"""A server that queues what it cannot serve yet; no I/O, and the clock is the running loop's."""

import asyncio
import math
import random
from typing import NamedTuple

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request

TOKENS_A_SECOND = 200


class Sums(NamedTuple):
    """What was at a server, up to a moment."""

    at_s: float
    """By the loop's clock."""
    in_flight: float
    """How many were served or waited, times the seconds."""
    used: float
    """The part of its throughput that was used, times the seconds."""

    def since(self, before: "Sums") -> tuple[float, float]:
        """How many were in flight since then, and the part that was used, on average."""
        spent_s = self.at_s - before.at_s
        return (self.in_flight - before.in_flight) / spent_s, (self.used - before.used) / spent_s


class QueueingProvider:
    """A Call that answers so many at once; the others wait, and none is refused."""

    def __init__(
        self,
        slots: int,
        *,
        mean_s: float = 1.0,
        sigma: float = 0.0,
        batch: float = math.inf,
        shuffled: bool = False,
        seed: int = 0,
    ) -> None:
        """Create it inside the running loop.

        Args:
            slots: how many are served at once.
            mean_s: of the lognormal times of an answer that is served alone.
            sigma: of these times; 0 is one fixed time.
            batch: so many more at once double that time, as where one machine serves all.
            shuffled: whether those that wait are served in no order, rather than in turn.
            seed: of the times and the order.
        """
        self.slots, self.mean_s = slots, mean_s
        self.in_flight = self.answered = 0
        self._sigma, self._batch, self._shuffled = sigma, batch, shuffled
        self._dice = random.Random(seed)
        self._serving = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._sums = Sums(asyncio.get_running_loop().time(), 0.0, 0.0)

    def so_far(self) -> "Sums":
        """What has been here until now."""
        now = asyncio.get_running_loop().time()
        spent_s = now - self._sums.at_s
        old = self._sums
        self._sums = Sums(
            now,
            old.in_flight + self.in_flight * spent_s,
            old.used + self._speed(self._serving) / self._speed(self.slots) * spent_s,
        )
        return self._sums

    def _speed(self, serving: int) -> float:
        """Answers at a time, where a mean answer that is served alone takes 1."""
        return serving / (1 + serving / self._batch)

    async def call(self, request: Request) -> Completion:
        """Wait for a slot, then answer; a client that goes leaves the queue."""
        self.so_far()
        self.in_flight += 1
        try:
            await self._turn()
            try:
                alone_s = self.mean_s * self._dice.lognormvariate(
                    -(self._sigma**2) / 2, self._sigma
                )
                await asyncio.sleep(alone_s * (1 + self._serving / self._batch))
            finally:
                self.so_far()
                self._serving -= 1
                self._next()
        finally:
            self.so_far()
            self.in_flight -= 1
        self.answered += 1
        tokens = round(TOKENS_A_SECOND * alone_s * self._dice.uniform(0.8, 1.2))
        return Completion("done", "stop", usage=Usage(10, tokens, 10 + tokens))

    def change(self, slots: int, mean_s: float) -> None:
        """Serve differently from now on."""
        self.so_far()
        self.slots, self.mean_s = slots, mean_s
        self._next()

    async def _turn(self) -> None:
        self.so_far()
        if self._serving < self.slots and not self._waiting:
            self._serving += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._serving -= 1
                self._next()
            raise

    def _next(self) -> None:
        self.so_far()
        while self._waiting and self._serving < self.slots:
            place = self._dice.randrange(len(self._waiting)) if self._shuffled else 0
            turn = self._waiting.pop(place)
            if not turn.done():  # else its client has just gone
                self._serving += 1
                turn.set_result(None)
