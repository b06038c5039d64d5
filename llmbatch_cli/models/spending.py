"""--max-cost: what each model's requests may cost, against the budget that all of them share."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.errors import Unsent, UsageError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, Lane, Ledger, Seller, lane_of
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Call, Completion, Params, Request, WireRequest
from llmbatch_cli.engine.bounds import Bounds, bounds_of, limits_of_wire
from llmbatch_cli.engine.budget import (
    Budget,
    Terms,
    WorstCase,
    in_billionths,
    in_usd,
    reserved,
)
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.pricing.prices import KEPT_S, Prices

if TYPE_CHECKING:
    from llmbatch_cli.pricing.price import ModelLimits, Price

ASK_FOR_LIMIT: Final = "set --max-tokens, so that the longest answer is known"

PROBE: Final = ({"role": "user", "content": "?"},)

Encode = Callable[[Request], WireRequest]
"""The request as it is sent. Raises Unsent."""


@dataclass(slots=True)
class Uncounted:
    """Requests to models without a known price."""

    models: set[str] = field(default_factory=set)
    requests: int = 0
    dearest: dict[str, int] = field(default_factory=dict)
    """The most that a request to each model has cost by its reply."""


@frozen
class Spending:
    """The budget of a pool, and how its models' prices are found."""

    budget: Budget
    prices: Prices
    allow_unpriced: bool
    observe: Observer
    uncounted: Uncounted = field(default_factory=Uncounted)
    exceeded: set[str] = field(default_factory=set, hash=False)
    """Models of which a request has cost more than its worst case."""

    async def terms(
        self,
        name: str,
        seller: Seller,
        params: Params,
        encode: Encode,
        longest: Callable[[], Awaitable[int | None]],
        tier: str | None = None,
    ) -> "ModelTerms | None":
        """What one model costs; None for one that costs nothing.

        Args:
            name: `provider/model`.
            seller: who bills for it.
            params: those of each request.
            encode: a request as it is sent.
            longest: asks the provider for the model's longest answer.
            tier: how answers are bought where the parameters do not say.

        Raises UsageError for one whose price is not known.
        """
        model, lane = name.partition("/")[2], lane_of(params, tier)
        price = await self.prices.of(seller, model, lane)
        if price is not None and price.is_free:
            return None
        if price is None:
            self._allow(name, lane)
            return ModelTerms(self, name, seller, encode)
        limits = await asyncio.to_thread(self.prices.limits_of, seller, model)
        names = limits_of_wire(encode, Request(model, PROBE, {}))
        terms = ModelTerms(self, name, seller, encode, limits, names, is_priced=True)
        try:
            probe = Request(model, PROBE, params)
            if bounds_of(probe, encode(probe), None, None, names).output_tokens is None:
                if limits.answer_tokens is None and (answer := await longest()) is not None:
                    terms = replace(terms, limits=replace(limits, answer_tokens=answer))
                self._tell_reservation(terms, terms.bounds(probe), lane)
        except Unsent as error:  # as every row's would be
            raise UsageError(f"{name}: {error.message}", hint=error.hint) from error
        return terms

    def tell_uncounted(self) -> None:
        """Say how many requests were not counted."""
        missed = self.uncounted
        if missed.requests:
            requests = format_count(missed.requests, "request")
            names = ", ".join(sorted(missed.models))
            said = f"--max-cost did not count {requests} to {names}: no price is known"
            self.observe(Notice(said))

    def _allow(self, name: str, lane: Lane | None) -> None:
        if not self.allow_unpriced:
            bought = f" with service_tier {lane}" if lane is not None else ""
            raise UsageError(
                f"the price of {name}{bought} is not known, as --max-cost needs it",
                hint=f"give it in US dollars a million tokens, as in --price {name}=0.15,0.60; "
                "--allow-unpriced leaves its requests uncounted",
            )
        if name not in self.uncounted.models:
            self.uncounted.models.add(name)
            self.observe(
                Notice(f"{name}: its price is not known, so --max-cost does not count its requests")
            )

    def _tell_reservation(self, terms: "ModelTerms", bounds: Bounds, lane: Lane | None) -> None:
        """Say what the model's longest answer holds back, as no limit is set."""
        tokens = bounds.output_tokens
        if tokens is not None:
            most = in_usd(terms.amount(bounds, lane))
            self.observe(
                Notice(
                    f"{terms.name}: without --max-tokens each request holds back {most} of "
                    f"--max-cost, for an answer of up to {tokens:,} tokens"
                )
            )


@frozen
class ModelTerms:
    """What the requests to one model cost."""

    spending: Spending
    name: str
    seller: Seller
    encode: Encode
    limits: "ModelLimits | None" = None
    names: Sequence[str] = ()
    """The fields by which its server limits an answer."""
    is_priced: bool = False
    _known: dict[tuple[Lane | None, str | None], "tuple[float, Price | None]"] = field(
        default_factory=dict, hash=False, compare=False
    )

    def around(
        self,
        call: Call,
        deadlines: Deadlines,
        waiting: Callable[[], AbstractContextManager[None]],
        *,
        streamed: bool,
    ) -> Call:
        """The call within the budget, or counted where it has no price."""
        if not self.is_priced:
            return self._counted(call)
        terms = self.by_row(streamed=streamed)
        return reserved(call, self.spending.budget, terms, deadlines, waiting)

    def by_row(self, *, streamed: bool = False) -> Terms:
        """The same for whoever reserves on its own."""
        worst = partial(self.worst_case, streamed=streamed)
        return Terms(worst, partial(self.cost, streamed=streamed), self._exceeded)

    def bounds(self, request: Request) -> Bounds:
        """The most tokens that the request may count. Raises Unsent."""
        limits = self.limits
        context, answer = (limits.context_tokens, limits.answer_tokens) if limits else (None, None)
        return bounds_of(request, self.encode(request), context, answer, self.names)

    def amount(self, bounds: Bounds, lane: Lane | None) -> int:
        """The most that so many tokens cost. Raises Unsent where their price is not known."""
        price = self._price(lane)
        if price is None:
            raise Unsent(
                f"the price of {self.name} with service_tier {lane} is not known, as --max-cost "
                "needs it",
                hint="leave the tier out",
            )
        return in_billionths(price.worst_case(bounds.input_tokens, bounds.output_tokens or 0))

    def worst_case(self, request: Request, *, streamed: bool = False) -> WorstCase:
        """The most that the request may cost.

        Raises Unsent, and UsageError for an answer without an end where nothing was sent yet: it
        is an option that is missing, then.
        """
        bounds = self.bounds(replace(request, stream=True) if streamed else request)
        if bounds.output_tokens is None:
            message = f"{self.name}: the longest answer is not known, as --max-cost needs it"
            if self.spending.budget.has_begun:
                raise Unsent(message, hint=ASK_FOR_LIMIT)
            raise UsageError(message, hint=ASK_FOR_LIMIT)
        return WorstCase(self.amount(bounds, request.ledger.lane), bounds)

    def check(self, request: Request) -> None:
        """Raise Unsent for what cannot be sent, or may cost anything."""
        if not self.is_priced:
            self.encode(request)
        elif self.bounds(request).output_tokens is None:
            raise Unsent("the longest answer is not known, as --max-cost needs it")

    def cost(self, attempt: Attempt, ledger: Ledger, *, streamed: bool = False) -> int | None:
        """What an attempt has cost: by the user's price, else by the reply, else by the table.

        None where that is not known; a stream that broke off has not counted all.
        """
        if attempt.kind is not None and streamed:
            return None
        prices, reported = self.spending.prices, attempt.reported_usd
        model = self.name.partition("/")[2]
        if reported is not None and not prices.given_to(self.seller, model, attempt.served):
            return in_billionths(Decimal(repr(reported)))
        price = self._price(ledger.lane, attempt.served)
        usd = None if price is None else price.cost(attempt.usage)
        return None if usd is None else in_billionths(usd)

    def _price(self, lane: Lane | None, served: str | None = None) -> "Price | None":
        """The price now; the table was imported when the model was opened."""
        key, now_s = (lane, served), time.monotonic()
        until_s, price = self._known.get(key, (0.0, None))
        if now_s >= until_s:
            if len(self._known) > 100:  # replies may name a new model each time
                self._known.clear()
            model = self.name.partition("/")[2]
            price = self.spending.prices.look_up(self.seller, model, lane, served=served)
            self._known[key] = (now_s + KEPT_S, price)
        return price

    def _exceeded(self, spent: int, held: int) -> None:
        if self.name not in self.spending.exceeded:
            self.spending.exceeded.add(self.name)
            self.spending.observe(
                Notice(
                    f"{self.name}: a request has cost {in_usd(spent)}, though the most that was "
                    f"expected is {in_usd(held)}; more is held back for the others"
                )
            )

    def _counted(self, call: Call) -> Call:
        """What its replies say counts, and what the dearest has cost is held back for the next."""
        uncounted, budget = self.spending.uncounted, self.spending.budget

        async def counting(request: Request) -> Completion:
            before = len(request.ledger.attempts)
            worst = WorstCase(uncounted.dearest.get(self.name, 0), Bounds(0, 0))
            reservation = budget.try_reserve(worst) or await budget.reserve(worst)
            spent = 0
            try:
                return await call(request)
            finally:
                for attempt in request.ledger.attempts[before:]:
                    cost = self.cost(attempt, request.ledger)
                    uncounted.requests += cost is None
                    spent += cost or 0
                if spent > worst.amount:
                    uncounted.dearest[self.name] = spent
                budget.settle(reservation, spent)

        return counting
