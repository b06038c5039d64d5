"""The prices of a run: the user's own, nothing for own servers, else the table's."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.ledger import Lane, Seller

if TYPE_CHECKING:
    from datetime import datetime

    from llmbatch_cli.pricing.given import GivenPrice
    from llmbatch_cli.pricing.price import ModelLimits, Price

KEPT_S: Final = 60.0
"""A price may depend on the time of the day."""
MOST_KNOWN: Final = 1000
MOST_NAMED: Final = 3
"""Models that a message names."""
WARM_AFTER_S: Final = 0.2
"""When the table is imported: by then the first requests are out, and seldom an answer is there."""

_Key = tuple[Seller, str, Lane | None, str | None]


def utc_now() -> "datetime":
    """Now, in UTC."""
    from datetime import UTC, datetime

    return datetime.now(UTC)


class Prices:
    """Looks a price up once for each seller, model and lane, off the event loop."""

    def __init__(
        self,
        given: "Sequence[GivenPrice]" = (),
        *,
        settled: "Sequence[GivenPrice]" = (),
        clock: Callable[[], float] = time.monotonic,
        now: "Callable[[], datetime]" = utc_now,
        answer_tokens: Callable[[str], int | None] = lambda model: None,
    ) -> None:
        """
        Args:
            given: the user's own for this run, which win over all others.
            settled: the user's own for all runs.
            clock: seconds.
            now: the time that prices are asked for.
            answer_tokens: the longest answer of a model by its name, where that is known.
        """
        self._own = (given, settled)
        self._unused = list(given)
        self._asked: dict[str, bool] = {}
        """The first models of the run, and whether each is free."""
        self._clock = clock
        self._now = now
        self._answer_tokens = answer_tokens
        self._known: dict[_Key, tuple[float, Price | None]] = {}
        self._looking = asyncio.Lock()
        self._warm: asyncio.TimerHandle | None = None

    @property
    def has_own(self) -> bool:
        """Whether the user has given any."""
        return any(self._own)

    def expect(self, seller: Seller) -> None:
        """Import the table soon, in a thread, where this seller's prices will be asked of it."""
        if self._warm is None and not seller.free:
            loop = asyncio.get_running_loop()
            self._warm = loop.call_later(WARM_AFTER_S, lambda: loop.run_in_executor(None, _load))

    async def of(
        self, seller: Seller, model: str, lane: Lane | None = None, *, served: str | None = None
    ) -> "Price | None":
        """What a request to this model costs; None where that is not known.

        Args:
            seller: who bills for it.
            model: the model that was asked, without its provider.
            lane: None is a usual live request.
            served: the model that the provider says has answered, whose price counts before that
                of the one that was asked.
        """
        key = (seller, model, lane, served)
        until_s, price = self._known.get(key, _UNKNOWN)
        if self._clock() < until_s:
            return price
        if seller.free or self.given_to(seller, model, served) is not None:
            return self.look_up(seller, model, lane, served=served)
        async with self._looking:  # one thread imports the table, others wait for it
            until_s, price = self._known.get(key, _UNKNOWN)
            if self._clock() < until_s:
                return price
            return await asyncio.to_thread(self.look_up, seller, model, lane, served=served)

    def look_up(
        self, seller: Seller, model: str, lane: Lane | None = None, *, served: str | None = None
    ) -> "Price | None":
        """The same in this thread. The first time takes as long as importing the table."""
        price, until_s = self.given_to(seller, model, served), math.inf
        if price is None and seller.free:
            from llmbatch_cli.pricing.price import FREE

            price = FREE
        elif price is None:
            from llmbatch_cli.pricing.table import price_in_table

            now, until_s = self._now(), self._clock() + KEPT_S
            if served is not None:
                price = price_in_table(seller, served, lane, now)
            if price is None:
                price = price_in_table(seller, model, lane, now)
        if len(self._known) >= MOST_KNOWN:  # replies may name a new model each time
            self._known.clear()
        self._known[seller, model, lane, served] = (until_s, price)
        return price

    def given_to(self, seller: Seller, model: str, served: str | None = None) -> "Price | None":
        """The user's own price of the model, if there is one."""
        if not self.has_own:
            return None
        from llmbatch_cli.pricing.given import given_price

        names = (model,) if served is None else (model, served)
        if self._unused:
            self._use(seller, names)
        for prices in self._own:
            for name in names:
                price = given_price(prices, seller.provider, name)
                if price is not None:
                    return price
        return None

    def _use(self, seller: Seller, names: Sequence[str]) -> None:
        """Note which of the run's own prices are for a model."""
        if len(self._asked) <= MOST_NAMED:
            self._asked.setdefault(f"{seller.provider}/{names[0]}", seller.free)
        self._unused = [
            one
            for one in self._unused
            if not any(one.is_for(seller.provider, name) for name in names)
        ]

    @property
    def asks_for_money(self) -> bool:
        """Whether any model that was asked for is sold."""
        return not all(self._asked.values())

    def unused(self) -> str | None:
        """Says which of the run's own prices fit no model so far, each once; None for none."""
        patterns = ", ".join(one.pattern for one in self._unused)
        self._unused = []
        if not patterns:
            return None
        names = [*self._asked][:MOST_NAMED] + ["..."] * (len(self._asked) > MOST_NAMED)
        return (
            f"--price {patterns} fits no model asked so far: {', '.join(names) or 'there is none'}"
        )

    def limits_of(self, seller: Seller, model: str) -> "ModelLimits":
        """The model's context window and longest answer, as far as they are known."""
        from llmbatch_cli.pricing.price import ModelLimits

        if seller.free:
            return ModelLimits()
        from llmbatch_cli.pricing.table import context_in_table

        return ModelLimits(context_in_table(seller, model), self._answer_tokens(model))


_UNKNOWN: Final = (-math.inf, None)


def _load() -> None:
    from llmbatch_cli.pricing.table import load

    load()
