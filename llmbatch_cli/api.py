"""The Python API, and the one place where the parts are put together.

async for outcome in run_batch(["What is the capital of France?"], model="openai/gpt-4o-mini"):
    print(outcome.completion or outcome.failure)
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from llmbatch_cli.engine.deadline import within
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.engine.stack import Lane, calling, merged, solo
from llmbatch_cli.errors import InputError, UsageError
from llmbatch_cli.events import Observer, ignore
from llmbatch_cli.providers import DEFAULT_MODEL, Access, Target, resolve
from llmbatch_cli.rows.params import check_all
from llmbatch_cli.rows.source import from_values
from llmbatch_cli.transport import Connection, Network, open_network
from llmbatch_cli.transport.descriptors import room_for
from llmbatch_cli.types import Outcome, Params, Request, Row


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were read already, as by `rows.source.read`."""

    rows: AsyncGenerator[Row, None]


Prompts = Iterable[object] | AsyncIterable[object] | Rows
"""Texts, lists of messages or row objects, as in the README's list of input rows."""


async def run_batch(
    prompts: Prompts,
    *,
    model: str = DEFAULT_MODEL,
    params: Params | None = None,
    system: str | None = None,
    concurrency: int = 64,
    timeout_s: float = 600.0,
    ordered: bool = False,
    access: Access | None = None,
    connection: Connection | None = None,
    stop: Stop | None = None,
    observe: Observer = ignore,
) -> AsyncGenerator[Outcome, None]:
    """Send every prompt to one model; yield one outcome a prompt, as they come.

    Args:
        prompts: pulled only as fast as they can be sent, so they may have no end.
        model: `provider/model`, a bare name of a known family, or the embedded model.
        params: sampling parameters by OpenAI's names; a row's own win.
        system: put in front of every row that has no system message of its own.
        concurrency: requests in flight at most, from 1.
        timeout_s: a row's whole time; over it, the row fails as `timed_out`.
        ordered: yield in input order.
        access: keys and addresses; None takes them from the environment.
        connection: how requests travel.
        stop: ends the run early from elsewhere.
        observe: is told what happens, at once, in the loop's thread: it must not block.

    Raises UsageError before anything is sent, and RunStopped when no further row can
    succeed (a bad key, no quota). A row's own failure is an outcome, not an error.
    """
    if concurrency < 1 or timeout_s <= 0:
        raise UsageError("concurrency is at least 1, and timeout_s more than 0")
    in_flight = room_for(concurrency, observe)
    message = {"role": "system", "content": system} if system is not None else None
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(open_network(connection or Connection()))
        lanes = _Lanes(
            stack, network, access or from_environment(), _checked(params or {}), timeout_s, observe
        )
        await lanes.prepare(model)
        outcomes = run(
            _rows(prompts),
            solo(lanes.lane_for, time.monotonic, message),
            window=in_flight,
            ordered=ordered,
            stop=stop or Stop(),
            observe=observe,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome


def run_batch_sync(prompts: Prompts, **options: Any) -> list[Outcome]:
    """`run_batch` for programs without a loop: all outcomes, in input order.

    Takes what run_batch takes. Holds every outcome in memory.
    """

    async def collect() -> list[Outcome]:
        async with aclosing(run_batch(prompts, **{"ordered": True, **options})) as outcomes:
            return [outcome async for outcome in outcomes]

    return asyncio.run(collect())


def from_environment(environ: Mapping[str, str] | None = None) -> Access:
    """Access with the keys and addresses of the environment."""
    return Access(environ=os.environ if environ is None else environ)


def _rows(prompts: Prompts) -> AsyncGenerator[Row, None]:
    if isinstance(prompts, Rows):
        return prompts.rows
    return from_values(prompts)


class _Lanes:
    """The lanes of one run, each opened at its first use."""

    def __init__(
        self,
        stack: AsyncExitStack,
        network: Network,
        access: Access,
        params: Params,
        timeout_s: float,
        observe: Observer,
    ) -> None:
        self._stack = stack
        self._network = network
        self._access = access
        self._params = params
        self._timeout_s = timeout_s
        self._observe = observe
        self._lanes: dict[str | None, Lane] = {}
        self._opening = asyncio.Lock()

    async def prepare(self, model: str) -> None:
        """Open the run's own lane. Raises UsageError for what it cannot do."""
        self._lanes[None] = await self._open(model)

    async def lane_for(self, model: str | None) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            async with self._opening:
                lane = self._lanes.get(model)
                if lane is None:
                    lane = self._lanes[model] = await asyncio.shield(self._open(str(model)))
        return lane

    async def _open(self, model: str) -> Lane:
        target = resolve(model, self._access, self._observe)
        params = merged(self._params, _checked(target.params))
        _check_sayable(target, params)
        own_send = await self._stack.enter_async_context(target.provider.serving(self._observe))
        provider = target.provider
        call = calling(provider.build, provider.parse, own_send or self._network.send)
        return Lane(
            provider.name, target.model, within(call, self._timeout_s), params, target.key_hint
        )


def _checked(params: Params) -> Params:
    try:
        return check_all(params)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _check_sayable(target: Target, params: Params) -> None:
    """Raise UsageError, before anything is sent, for parameters that this wire cannot say."""
    probe = Request(target.model, [{"role": "user", "content": "?"}], params)
    target.provider.build(probe)
