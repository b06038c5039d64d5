"""From a model's name to a lane that calls it: provider, key, network and time put together."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from llmbatch_cli.core.errors import InputError, MissingKey, UsageError
from llmbatch_cli.core.events import LimitChanged, Notice, Observer, Retried, ignore
from llmbatch_cli.core.types import Call, Params, Request
from llmbatch_cli.engine.calls import Model, StreamCall, built, calling, merged
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.drop_params import dropping
from llmbatch_cli.engine.endpoints import Endpoints, spread, spread_streams
from llmbatch_cli.engine.limits.limiter import Holding, Limiter, RateLimits, admitted
from llmbatch_cli.engine.limits.shared_capacity import SharedCapacity
from llmbatch_cli.engine.retry import RetryPolicy, retried
from llmbatch_cli.engine.streaming import around, streaming
from llmbatch_cli.providers.base import Provider
from llmbatch_cli.providers.registry import Access, Target, resolve
from llmbatch_cli.rows.input.params import check_all
from llmbatch_cli.transport import Connection, Network, open_network


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How the models of one run are called."""

    access: Access
    params: Params
    """The run's own; a model's own win over them."""
    timeout_s: float = 600.0
    """A row's whole time, from its first request on."""
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    flow: RateLimits | None = None
    drop_params: bool = False
    """Whether a parameter that a wire cannot say is left out, instead of refused."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One address: whole answers, and streamed ones where it can."""

    call: Call
    stream: StreamCall | None
    check: Callable[[Request], object]


class ModelPool:
    """The lanes of one run, each opened at its first use and closed with the run."""

    def __init__(
        self,
        stack: AsyncExitStack,
        opening: AbstractAsyncContextManager[Network],
        calling_: CallOptions,
        observe: Observer,
    ) -> None:
        self._stack = stack
        self._network_opening = opening
        self._network: Network | None = None
        self._calling = calling_
        self._observe = observe
        self._lanes: dict[str, Model] = {}
        flow = calling_.flow
        self._room = (
            SharedCapacity(flow.most_in_flight) if flow is not None and flow.together else None
        )
        self._limiters: dict[tuple[str, str, str], Limiter] = {}
        self._named = {"openai"}
        """Providers whose keys may go to `base_url`."""
        self._keyless: set[str] = set()
        """Models whose missing key was told."""
        self._dropped: set[str] = set()
        """What was told of parameters that are left out."""
        self._sleeping = 0
        self._opening = asyncio.Lock()
        self._connecting = asyncio.Lock()

    async def model_for(self, model: str, *, of_row: bool = False) -> Model:
        """The lane of this model. Raises UsageError for what cannot be asked.

        A model that a row names may come from a stranger: where `base_url` moves the run, only
        the keys of providers that the run itself names go there, and OpenAI's.
        """
        lane = self._lanes.get(model)
        if lane is None:
            async with self._opening:
                lane = self._lanes.get(model)
                if lane is None:
                    how = self._for_row(model) if of_row else self._calling
                    lane = self._lanes[model] = await asyncio.shield(self.open(model, how))
                    if not of_row:
                        self._named.add(lane.provider)
        return lane

    def _for_row(self, model: str) -> CallOptions:
        access = self._calling.access
        if access.base_url is None or resolve(model, access).provider.name in self._named:
            return self._calling
        keyless = replace(access, api_key=None, environ={}, may_find=False)
        return replace(self._calling, access=keyless)

    async def with_keys(self, models: Sequence[str], *, of_row: bool = False) -> list[Model]:
        """The lanes of these models; one that lacks its key is left out, and told once.

        Raises MissingKey where all do, and UsageError for what cannot be asked.
        """
        found: list[Model] = []
        missing: dict[str, MissingKey] = {}
        for model in models:
            try:
                found.append(await self.model_for(model, of_row=of_row))
            except MissingKey as error:
                missing[model] = error
        if not found:
            raise next(iter(missing.values()))
        for model in missing.keys() - self._keyless:
            self._keyless.add(model)
            self._observe(Notice(f"{model} is left out: {missing[model].message}"))
        return found

    def window(self) -> int:
        """Rows that may be at work now: those in flight, and those that wait to try again."""
        at_once = sum([limiter.slots for limiter in self._limiters.values()])
        return max(1, at_once) + self._sleeping

    def holding(self) -> Holding | None:
        """What the next request waits for; None while none waits."""
        held = (limiter.holding for limiter in self._limiters.values())
        return next((one for one in held if one is not None), None)

    async def open(self, model: str, how: CallOptions) -> Model:
        """A lane of its own, called in another way than the run's. Raises UsageError."""
        targets = [resolve(model, access, self._observe) for access in at_each_address(how.access)]
        target, provider = targets[0], targets[0].provider
        params = merged(checked(how.params), checked(target.params))
        wires = [await self._wire(one, params, how) for one in targets]
        endpoints = Endpoints(len(wires))
        call = wires[0].call
        stream = wires[0].stream
        if len(wires) > 1:
            call = spread([wire.call for wire in wires], endpoints)
            streams = [wire.stream for wire in wires if wire.stream is not None]
            stream = spread_streams(streams, endpoints) if streams else None
        name = f"{provider.name}/{target.model}"
        deadlines = Deadlines(how.timeout_s, deferred=how.flow is not None)
        limiter = self._limiter(provider, target.model, how.flow) if how.flow else None

        def patient(call: Call) -> Call:
            if limiter is not None:
                call = admitted(call, limiter, deadlines.begin)
            again = retried(
                call,
                how.patience,
                sleep=self._sleep,
                on_retry=lambda error, wait_s: self._observe(
                    Retried(name, error.kind, wait_s, error.message)
                ),
            )
            return deadlines.within(again)

        return Model(
            provider.name,
            target.model,
            patient(call),
            params,
            target.key_hint,
            around(stream, patient) if stream is not None else None,
            wires[0].check,
        )

    async def _wire(self, target: Target, params: Params, how: CallOptions) -> "Wire":
        """The innermost calls to one address. Raises UsageError for what it cannot say."""
        provider = target.provider
        drops, said = how.drop_params, self._dropped
        build = dropping(provider.build, self._observe, said) if drops else provider.build
        build(Request(target.model, [{"role": "user", "content": "?"}], params))
        own_send = await self._stack.enter_async_context(provider.serving(self._observe))
        if own_send is not None:
            return Wire(calling(build, provider.parse, own_send), None, partial(built, build))
        network = await self._opened_network()
        told = streaming(build, provider.parse, provider.stream, network.stream)
        return Wire(calling(build, provider.parse, network.send), told, partial(built, build))

    async def _opened_network(self) -> Network:
        """The network, from its first use on: importing it takes longer than all the rest."""
        async with self._connecting:
            if self._network is None:
                self._network = await self._stack.enter_async_context(self._network_opening)
        return self._network

    def _limiter(self, provider: Provider, model: str, flow: RateLimits) -> Limiter:
        """The limiter of this provider, address and model; one for all who call them."""
        key = (provider.name, provider.base_url, model)
        if key not in self._limiters:
            self._limiters[key] = Limiter(
                flow,
                capacity=self._room,
                changed=lambda now: self._observe(
                    LimitChanged(f"{provider.name}/{model}", now.in_flight, now.rpm, now.tpm)
                ),
            )
        return self._limiters[key]

    async def _sleep(self, wait_s: float) -> None:
        self._sleeping += 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._sleeping -= 1


def at_each_address(access: Access) -> list[Access]:
    """The access once for each of its base URLs."""
    others = [replace(access, base_url=url, more_base_urls=()) for url in access.more_base_urls]
    return [access, *others]


@asynccontextmanager
async def open_models(
    how: CallOptions, connection: Connection | None = None, observe: Observer = ignore
) -> AsyncIterator[ModelPool]:
    """ModelPool over one network, for the time of an `async with`."""
    if not how.timeout_s > 0:
        raise UsageError("the time limit is more than 0")
    async with AsyncExitStack() as stack:
        yield ModelPool(stack, open_network(connection or Connection()), how, observe)


def from_environment(environ: Mapping[str, str] | None = None) -> Access:
    """Access with the keys and addresses of the environment."""
    return Access(environ=os.environ if environ is None else environ)


def checked(params: Params) -> Params:
    """The parameters, of the right types. Raises UsageError."""
    try:
        return check_all(params)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from error
