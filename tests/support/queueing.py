"""A server that queues what it cannot serve yet; no I/O, and the clock is the running loop's."""

import asyncio
import math
import random

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request

TOKENS_A_SECOND = 200


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
        """
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
        self._area = self._area_at = 0.0

    @property
    def possible(self) -> float:
        """Answers a second at most."""
        return self.slots / self.mean_s / (1 + self.slots / self._batch)

    def area(self) -> float:
        """How many were here, summed over the seconds so far."""
        now = asyncio.get_running_loop().time()
        self._area += self.in_flight * (now - self._area_at)
        self._area_at = now
        return self._area

    async def call(self, request: Request) -> Completion:
        """Wait for a slot, then answer; a client that goes leaves the queue."""
        self.area()
        self.in_flight += 1
        try:
            await self._turn()
            try:
                alone_s = self.mean_s * self._dice.lognormvariate(
                    -(self._sigma**2) / 2, self._sigma
                )
                await asyncio.sleep(alone_s * (1 + self._serving / self._batch))
            finally:
                self._serving -= 1
                self._next()
        finally:
            self.area()
            self.in_flight -= 1
        self.answered += 1
        tokens = round(TOKENS_A_SECOND * alone_s * self._dice.uniform(0.8, 1.2))
        return Completion("done", "stop", usage=Usage(10, tokens, 10 + tokens))

    def change(self, slots: int, mean_s: float) -> None:
        """Serve differently from now on."""
        self.slots, self.mean_s = slots, mean_s
        self._next()

    async def _turn(self) -> None:
        if self._serving < self.slots and not self._waiting:
            self._serving += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self._serving -= 1
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting and self._serving < self.slots:
            place = self._dice.randrange(len(self._waiting)) if self._shuffled else 0
            self._serving += 1
            self._waiting.pop(place).set_result(None)
