"""From a model's name to a lane that calls it: provider, key, network and time put together."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from llmbatch_cli.engine.deadline import within, within_stream
from llmbatch_cli.engine.stack import Lane, calling, merged
from llmbatch_cli.engine.streaming import streaming
from llmbatch_cli.errors import InputError, UsageError
from llmbatch_cli.events import Observer, ignore
from llmbatch_cli.providers import Access, Target, resolve
from llmbatch_cli.rows.params import check_all
from llmbatch_cli.transport import Connection, Network, open_network
from llmbatch_cli.types import Params, Request


@dataclass(frozen=True, slots=True)
class Calling:
    """How the models of one run are called."""

    access: Access
    params: Params
    """The run's own; a model's own win over them."""
    timeout_s: float
    """A row's whole time."""


class Lanes:
    """The lanes of one run, each opened at its first use and closed with the run."""

    def __init__(
        self, stack: AsyncExitStack, network: Network, calling_: Calling, observe: Observer
    ) -> None:
        self._stack = stack
        self._network = network
        self._calling = calling_
        self._observe = observe
        self._lanes: dict[str, Lane] = {}
        self._opening = asyncio.Lock()

    async def lane_for(self, model: str) -> Lane:
        """The lane of this model. Raises UsageError for what cannot be asked."""
        lane = self._lanes.get(model)
        if lane is None:
            async with self._opening:
                lane = self._lanes.get(model)
                if lane is None:
                    lane = self._lanes[model] = await asyncio.shield(
                        self.open(model, self._calling)
                    )
        return lane

    async def open(self, model: str, how: Calling) -> Lane:
        """A lane of its own, called in another way than the run's. Raises UsageError."""
        target = resolve(model, how.access, self._observe)
        params = merged(checked(how.params), checked(target.params))
        _check_sayable(target, params)
        provider = target.provider
        own_send = await self._stack.enter_async_context(provider.serving(self._observe))
        call = calling(provider.build, provider.parse, own_send or self._network.send)
        stream = None
        if own_send is None:
            told = streaming(provider.build, provider.parse, provider.stream, self._network.stream)
            stream = within_stream(told, how.timeout_s)
        return Lane(
            provider.name,
            target.model,
            within(call, how.timeout_s),
            params,
            target.key_hint,
            stream,
        )


@asynccontextmanager
async def open_lanes(
    how: Calling, connection: Connection | None = None, observe: Observer = ignore
) -> AsyncIterator[Lanes]:
    """Lanes over one network, for the time of an `async with`."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(open_network(connection or Connection()))
        yield Lanes(stack, network, how, observe)


def from_environment(environ: Mapping[str, str] | None = None) -> Access:
    """Access with the keys and addresses of the environment."""
    return Access(environ=os.environ if environ is None else environ)


def checked(params: Params) -> Params:
    """The parameters, of the right types. Raises UsageError."""
    try:
        return check_all(params)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _check_sayable(target: Target, params: Params) -> None:
    """Raise UsageError, before anything is sent, for parameters that this wire cannot say."""
    probe = Request(target.model, [{"role": "user", "content": "?"}], params)
    target.provider.build(probe)
