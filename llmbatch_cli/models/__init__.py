"""From a model's name to a Model that calls it: provider, key, network, limits and time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.errors import InputError, MissingKey, ProviderError, UsageError
from llmbatch_cli.core.events import Holder, LimitChanged, Notice, Observer, Retried, ignore
from llmbatch_cli.core.ledger import Seller
from llmbatch_cli.core.types import Call, Params, Request
from llmbatch_cli.engine.calls import Model, Parts, built, calling, merged, with_params
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.drop_params import dropping
from llmbatch_cli.engine.endpoints import Wire, one_of
from llmbatch_cli.engine.fence import fenced, fenced_stream
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.retry import Patience, retried
from llmbatch_cli.engine.streaming import around, streaming
from llmbatch_cli.engine.waits import Waits
from llmbatch_cli.models.options import MOST_IN_FLIGHT, NO_CACHE, CallOptions, with_own
from llmbatch_cli.models.shared import Shared
from llmbatch_cli.pricing.prices import Prices
from llmbatch_cli.providers.addresses import with_headers, with_query
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.registry import (
    Access,
    Setup,
    Target,
    home_of,
    is_hosted,
    resolve,
    seller_of,
)
from llmbatch_cli.providers.tiers import tier_params
from llmbatch_cli.rows.input.params import check_all
from llmbatch_cli.transport import check_way, open_network
from llmbatch_cli.transport.descriptors import room_for

if TYPE_CHECKING:
    from llmbatch_cli.engine.budget import Budget
    from llmbatch_cli.engine.shaped import AnswerShape

HOSTED_START: Final = 16
"""Requests at once at the start of a run at a provider's own address, which serves many at once
and refuses what is too much for an account."""


class ModelPool:
    """Models by name, each opened at its first use and closed with the pool."""

    def __init__(self, shared: Shared, options: CallOptions, observe: Observer) -> None:
        self.waits = Waits()
        """Of those who call its models: one run, unless the pool is used for several."""
        self._shared = shared
        self._options = options
        self._observe = observe
        self._models: dict[str, Model] = {}
        self._home: str | None = None
        """Where a row's model is that is of no family."""
        self._named = {"openai"}
        """Providers whose keys may go to `base_url`."""
        self._keyless: set[str] = set()
        """Models whose missing key was reported."""
        self._dropped: set[str] = set()
        """What was reported of dropped parameters."""
        self._opening = asyncio.Lock()

    def using(
        self, params: Params, observe: Observer, shape: "AnswerShape | None" = None
    ) -> "ModelPool":
        """The same models asked for something else: network and limits are shared."""
        return ModelPool(self._shared, replace(self._options, params=params, shape=shape), observe)

    @property
    def prices(self) -> Prices:
        """What its models cost."""
        return self._options.prices

    @property
    def max_attempts(self) -> int:
        """How often a row is sent, at most."""
        return self._options.policy.max_attempts

    @property
    def setup(self) -> Setup:
        """What the user has set for all runs."""
        return self._options.access.setup

    @property
    def environ(self) -> Mapping[str, str]:
        """Where keys and the like are looked up."""
        return self._options.access.environ

    @property
    def connect_timeout_s(self) -> float:
        """How long connecting may take."""
        return self._options.connection.connect_timeout_s

    @property
    def budget(self) -> "Budget | None":
        """What all that it is asked may cost."""
        return self._options.budget

    @property
    def most_in_flight(self) -> int:
        """Requests at once, at most."""
        limits = self._options.limits
        return limits.most_in_flight if limits is not None else MOST_IN_FLIGHT

    async def model_for(self, name: str, *, of_row: bool = False) -> Model:
        """The model of this name. Raises UsageError for one that cannot be called.

        A name in a row may come from a stranger: where `base_url` moves the run, only the keys
        of providers that the run itself names go there, and OpenAI's.
        """
        model = self._models.get(name)
        if model is None:
            async with self._opening:
                model = self._models.get(name)
                if model is None:
                    options = self._for_row(name) if of_row else self._options
                    model = await asyncio.shield(self.open(name, options))
                    self._models[name] = model
                    if not of_row:
                        self._named.add(model.provider)
                        self._home = self._home or home_of(model.provider)
        return model

    def _for_row(self, name: str) -> CallOptions:
        access = replace(self._options.access, home=self._home)
        if access.base_url is None or resolve(name, access).provider.name in self._named:
            return replace(self._options, access=access)
        setup = replace(access.setup, headers={})
        keyless = replace(access, api_key=None, environ={}, may_find=False, setup=setup)
        return replace(self._options, access=keyless)

    async def with_keys(self, names: Sequence[str], *, of_row: bool = False) -> list[Model]:
        """These models; one that lacks its key is left out, with one notice.

        Raises MissingKey where all do, and UsageError for one that cannot be called.
        """
        found: list[Model] = []
        missing: dict[str, MissingKey] = {}
        for name in names:
            try:
                found.append(await self.model_for(name, of_row=of_row))
            except MissingKey as error:
                missing[name] = error
        if not found:
            raise next(iter(missing.values()))
        for name in missing.keys() - self._keyless:
            self._keyless.add(name)
            self._observe(Notice(f"{name} is left out: {missing[name].message}"))
        return found

    def window(self) -> int:
        """Rows that may be at work now: those in flight, and those that wait to try again."""
        shared, at_once = self._shared, 0
        for limiter in shared.limiters.values():  # for every row, so without a comprehension
            at_once += limiter.slots
        return (at_once or 1) + shared.sleeping

    def in_flight(self) -> int:
        """Requests on the wire, of all runs that share the limits."""
        return sum([limiter.in_flight for limiter in self._shared.limiters.values()])

    def cooling_s(self) -> float:
        """Seconds until the first model may be asked again; 0 where one may be asked now."""
        return min([one.cooling_s for one in self._shared.limiters.values()], default=0.0)

    def widest(self) -> int:
        """Requests that may be in flight now to the model that allows most."""
        return max((limiter.slots for limiter in self._shared.limiters.values()), default=1)

    def holding(self) -> Holder | None:
        """What the next request waits for; None while none waits."""
        held = [limiter.holding for limiter in self._shared.limiters.values()]
        spending = self._shared.spending
        waits = spending is not None and spending.budget.is_awaited
        return next(filter(None, held), "budget" if waits else None)

    def take_turns(self, in_order: bool) -> None:
        """Whether those that wait for money get it in turn."""
        if self._shared.spending is not None:
            self._shared.spending.budget.in_order = in_order

    async def open(self, name: str, options: CallOptions) -> Model:
        """A model of its own, called by these options. Raises UsageError."""
        accesses = at_each_address(options.access)
        targets = [resolve(name, access, self._observe) for access in accesses]
        target, provider = targets[0], targets[0].provider
        params: Params = merged(checked(options.params), checked(target.params))
        model_name, shaped = f"{provider.name}/{target.model}", None
        if options.shape is not None:
            tell = partial(self._tell, model_name)
            shaped = options.shape.asked_of(target.model, params, provider.build, tell)
            params = shaped.params(params)
        wires = [await self._wire(one, params, options) for one in targets]
        seller, spending = self._seller([one.provider for one in targets]), self._shared.spending
        self.prices.given_to(seller, target.model)  # those that fit no model are told
        terms = None
        if spending is not None:
            encode = wires[0].encode
            longest = partial(self._longest, provider, target.model)
            terms = await spending.terms(model_name, seller, params, encode, longest, options.tier)
        wire = one_of(wires, moves_billed=terms is None)
        limits = options.limits
        deadlines = Deadlines(options.timeout_s)
        patience = Patience(options.timeout_s, deadlines.left_s)
        limiter = self._limiter(provider, target.model, limits, patience) if limits else None
        waits, kept = self.waits, self._shared.known
        known = kept.of(provider.source, deadlines, shaped) if kept is not None else None

        def on_retry(error: ProviderError, wait_s: float) -> None:
            self._observe(Retried(model_name, error.kind, wait_s, error.message))

        def wrapped(call: Call, *, streamed: bool = False) -> Call:
            if limiter is not None:
                call = admitted(call, limiter, deadlines, waits.waiting)
            if terms is not None:
                call = terms.around(call, deadlines, waits.waiting, streamed=streamed)
            again = retried(
                call,
                options.policy,
                patience=patience,
                sleep=lambda wait_s: self._shared.sleep(wait_s, waits),
                on_retry=on_retry,
            )
            if known is not None:
                again = known.before(again, streamed=streamed)
            if shaped is not None:
                again = shaped.around(again, once=streamed, known=known)
            return deadlines.within(again)

        return Model(
            provider.name,
            target.model,
            wrapped(wire.call),
            params,
            target.key_hint,
            around(wire.stream, partial(wrapped, streamed=True)) if wire.stream else None,
            wire.encode if terms is None else terms.check,
            seller,
            options.tier,
            Parts(
                provider,
                wires[0].encode,
                shaped,
                len(targets),
                terms.by_row() if terms is not None and terms.is_priced else None,
                known,
            ),
        )

    async def _longest(self, provider: Provider, model: str) -> int | None:
        """The model's longest answer, as its provider lists it; None is unknown."""
        from llmbatch_cli.models.longest import longest_listed

        return await longest_listed(provider, model, (await self._shared.network()).send)

    def _seller(self, providers: Sequence[Provider]) -> Seller:
        """Who bills, of those at several addresses; the table of prices is soon asked for it."""
        sellers = [seller_of(provider) for provider in providers]
        seller = next((one for one in sellers if not one.free), sellers[0])
        self.prices.expect(seller)
        return seller

    def _tell(self, model_name: str, message: str) -> None:
        self._observe(Notice(f"{model_name}: {message}"))

    async def _wire(self, target: Target, params: Params, options: CallOptions) -> Wire:
        """The innermost calls to one address. Raises UsageError for unsupported parameters."""
        provider = target.provider
        bought = tier_params(provider.name, target.model, options.tier)
        build = with_headers(with_query(provider.build, provider.query), provider.headers)
        build = with_params(build, bought)
        if options.drop_params:
            build = dropping(build, self._observe, self._dropped)
        build(Request(target.model, [{"role": "user", "content": "?"}], params))
        own_send = await self._shared.stack.enter_async_context(provider.serving(self._observe))
        encode = partial(built, build)
        check = options.before_send
        if own_send is not None:
            return Wire(fenced(calling(build, provider.parse, own_send), check), None, encode)
        check_way(provider.base_url)
        network = await self._shared.network()
        stream = streaming(build, provider.parse, provider.stream, network.stream)
        call = calling(build, provider.parse, network.send)
        return Wire(fenced(call, check), fenced_stream(stream, check), encode)

    def _limiter(
        self, provider: Provider, model: str, limits: RateLimits, patience: Patience
    ) -> Limiter:
        """The limiter of this provider, address and model; one for all who call them."""
        key = (provider.name, provider.base_url, model)
        limiters = self._shared.limiters
        if key not in limiters:
            if is_hosted(provider):
                start = max(limits.start_in_flight, HOSTED_START)
                limits = replace(limits, start_in_flight=start)
            own = self._options.access.setup.limits.get(provider.name)
            if own is not None:
                limits = with_own(limits, own)
            limiters[key] = Limiter(
                limits,
                capacity=self._shared.capacity,
                patience_s=patience.longest_s,
                changed=lambda now: self._observe(
                    LimitChanged(f"{provider.name}/{model}", now.in_flight, now.rpm, now.tpm)
                ),
            )
            if (share := self._options.share) is not None:
                share.join(_shared_name(provider, model), limiters[key])
        return limiters[key]


def _shared_name(provider: Provider, model: str) -> str:
    """What a limiter is called in every process; an address may hold a password."""
    from hashlib import sha256

    digest = sha256(provider.base_url.encode()).hexdigest()
    return f"{provider.name}/{model} at {digest[:8]}"


def at_each_address(access: Access) -> list[Access]:
    """The access once for each of its base URLs."""
    others = [replace(access, base_url=url, more_base_urls=()) for url in access.more_base_urls]
    return [access, *others]


@asynccontextmanager
async def open_models(options: CallOptions, observe: Observer = ignore) -> AsyncIterator[ModelPool]:
    """A pool over one network, for the time of an `async with`. Raises UsageError."""
    if not options.timeout_s > 0:
        raise UsageError("the time limit must be above 0")
    limits = options.limits
    if limits is not None:
        own = [one.concurrency or 0 for one in options.access.setup.limits.values()]
        fits = min(limits.most_in_flight, room_for(max(limits.most_in_flight, *own, 0), observe))
        start = min(limits.start_in_flight, fits)
        limits = replace(limits, most_in_flight=fits, start_in_flight=start)
        options = replace(options, limits=limits)
    async with AsyncExitStack() as stack:
        connection = replace(options.connection, before_send=options.before_send)
        shared = Shared(stack, open_network(connection), limits)
        if options.share is not None and shared.capacity is not None:
            options.share.join_capacity(shared.capacity)
        if options.cache != NO_CACHE:
            from llmbatch_cli.engine.cache.opening import open_known

            opening = open_known(options.cache, options.access.environ, observe)
            shared.known = await stack.enter_async_context(opening)
        if options.budget is not None:
            from llmbatch_cli.models.spending import Spending

            shared.spending = Spending(
                options.budget, options.prices, options.allow_unpriced, observe
            )
            stack.callback(shared.spending.tell_uncounted)
        yield ModelPool(shared, options, observe)


def checked(params: Params) -> Params:
    """The parameters, of the right types. Raises UsageError."""
    try:
        return check_all(params)
    except InputError as error:
        hint = error.hint or "it is set by an option, or after ? in the model's name"
        raise UsageError(error.message, hint=hint) from error
