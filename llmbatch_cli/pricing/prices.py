"""The prices of a run: the user's own, nothing for own servers, else the table's."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from llmbatch_cli.core.ledger import Lane, Seller
from llmbatch_cli.pricing.given import GivenPrice, given_price
from llmbatch_cli.pricing.price import FREE, UNKNOWN_LIMITS, ModelLimits, Price
from llmbatch_cli.pricing.sellers import bills_nothing

KEPT_S: Final = 60.0
"""A price may depend on the time of the day."""

_Key = tuple[Seller, str, str | None, Lane | None]


class Prices:
    """Looks a price up once for each seller, model and lane, off the event loop."""

    def __init__(
        self,
        given: Sequence[GivenPrice] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        Args:
            given: the user's own, which win over all others.
            clock: seconds.
            now: the time that prices are asked for.
        """
        self.given = tuple(given)
        self._clock = clock
        self._now = now
        self._known: dict[_Key, tuple[float, Price | None]] = {}
        self._looking = asyncio.Lock()

    def known(
        self, seller: Seller, model: str, lane: Lane | None = None, *, served: str | None = None
    ) -> tuple[bool, Price | None]:
        """Whether the price needs no look-up, and then the price: see `of`."""
        price = given_price(self.given, seller.provider, model) if self.given else None
        if price is None and self.given and served is not None:
            price = given_price(self.given, seller.provider, served)
        if price is not None:
            return True, price
        if bills_nothing(seller):
            return True, FREE
        until_s, price = self._known.get((seller, model, served, lane), (0.0, None))
        return self._clock() < until_s, price

    async def of(
        self, seller: Seller, model: str, lane: Lane | None = None, *, served: str | None = None
    ) -> Price | None:
        """What a request to this model costs; None where that is not known.

        Args:
            seller: who bills for it.
            model: the model that was asked, without its provider.
            lane: None is a usual live request.
            served: the model that the provider says has answered, whose price counts before that
                of the one that was asked.
        """
        is_known, price = self.known(seller, model, lane, served=served)
        if is_known:
            return price
        async with self._looking:  # one thread imports the table, others wait for it
            is_known, price = self.known(seller, model, lane, served=served)
            if not is_known:
                price = await asyncio.to_thread(self._look_up, seller, model, lane, served)
        return price

    def now_of(self, seller: Seller, model: str, lane: Lane | None = None) -> Price | None:
        """The same at once, in this thread: where nothing else runs."""
        is_known, price = self.known(seller, model, lane)
        return price if is_known else self._look_up(seller, model, lane, None)

    def limits_of(self, seller: Seller, model: str) -> ModelLimits:
        """The model's context window and longest answer, as far as they are known."""
        if bills_nothing(seller):
            return UNKNOWN_LIMITS
        from llmbatch_cli.pricing.table import limits_in_table

        return limits_in_table(seller, model)

    def _look_up(
        self, seller: Seller, model: str, lane: Lane | None, served: str | None
    ) -> Price | None:
        from llmbatch_cli.pricing.table import price_in_table

        price, now = None, self._now()
        for name in (served, model):
            if price is None and name is not None:
                price = price_in_table(seller, name, lane, now)
        self._known[seller, model, served, lane] = (self._clock() + KEPT_S, price)
        return price
