"""The Python API: many prompts to one model, or to the fastest of several.

for outcome in batch(["Name a colour.", "Name a fruit."], model="gpt-4o-mini"):
    print(outcome.text or outcome.error)

for outcome in batch(prompts, model="gpt-4o-mini", client=Client(limits=Limits(rpm=500))):
    ...

async with Client(limits=Limits(rpm=500)) as client:
    answer = await client.ask("Why is the sky blue?", model="gpt-4o-mini")
    async for outcome in client.race(prompts, models=["gpt-4o-mini", "gpt-4.1-mini"]):
        ...
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from llmbatch_cli.core.errors import RunStopped, UsageError
from llmbatch_cli.core.events import Observer, both, ignore
from llmbatch_cli.core.options import Answers, Cache, Limits, Money, Network, Retries, Sending
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race_work import Rules
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.loops import Detached, detached, iterate
from llmbatch_cli.models import ModelPool, open_models
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.plans import Ask, Batch, shape_asked
from llmbatch_cli.plans.race import Race
from llmbatch_cli.providers.registry import DEFAULT_MODEL
from llmbatch_cli.rows.input.attachments import with_attachments
from llmbatch_cli.rows.input.values import Values, from_values
from llmbatch_cli.ui.progress import shown

if TYPE_CHECKING:
    from llmbatch_cli.engine.shaped import AnswerShape

Prompts = Values
"""Texts, lists of messages, or objects as in the README's list of input rows."""

Schema = type | Mapping[str, Any] | str | Answers | None
"""A pydantic class, a JSON schema, the short form of one, `name, age int, tags str[]`; or Answers,
which has choices, a part to extract and the number of retries as well."""

LIMITS: Final = Limits()
RETRIES: Final = Retries()
NETWORK: Final = Network()
CACHE: Final = Cache()
MONEY: Final = Money()

KEPT: Final = 10_000
"""Outcomes that RunStopped holds at most."""


class Client:
    """Answers prompts; its calls share connections, and what they learn of the rate limits.

    To be used as `async with Client() as client`, in one event loop. The limits hold for all
    of its `ask` and `batch` calls together, and for its races together.

    Args:
        limits: requests in flight and a minute; without them the client finds out what the
            account allows. `max_cost` is what all calls of the client may cost.
        retries: attempts and seconds for each row; failed rows after which a call is stopped;
            whether parameters that a model does not support are dropped.
        network: base URLs, the environment with the keys, time limit for connecting.
        cache: where answers are kept for other runs; whether equal prompts of a batch are sent
            once.
        money: prices of models, and the tier in which answers are bought.
        files: the folder below which messages may name files; None reads none.
        observe: receives events (core/events.py) in the loop's thread; it must not block.
        progress: show each batch and race on standard error, as the command does.
    """

    def __init__(
        self,
        *,
        limits: Limits = LIMITS,
        retries: Retries = RETRIES,
        network: Network = NETWORK,
        cache: Cache = CACHE,
        money: Money = MONEY,
        files: Path | None = None,
        observe: Observer = ignore,
        progress: bool = False,
    ) -> None:
        self._sending = Sending(
            limits=limits, retries=retries, network=network, cache=cache, money=money
        )
        self._files = files
        self._observe = observe
        self._progress = progress
        self._failure_limit = FailureLimit.parse(retries.max_errors)
        self._stack: AsyncExitStack | None = None
        self._pools: dict[bool, ModelPool] = {}
        self._running: set[Stop] = set()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise UsageError(
                "the client is already open",
                hint="await its own batch or race, or give batch() and race() one of their own",
            )
        self._opening = asyncio.Lock()  # of this loop
        self._stack = await AsyncExitStack().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls that still run are dropped."""
        stack, self._stack = self._stack, None
        self._pools.clear()
        for stop in list(self._running):
            stop.cancel()
        if stack is not None:
            await stack.aclose()

    async def ask(
        self,
        prompt: object,
        *,
        model: str = DEFAULT_MODEL,
        system: str | None = None,
        schema: Schema = None,
        **params: Any,
    ) -> Outcome:
        """One prompt's outcome: a text, a list of messages, or a row object.

        `schema` is as in batch.

        Raises UsageError for what cannot be sent, and RunStopped where no prompt can succeed
        (a bad key, no quota). Any other failure is in `outcome.error`.
        """
        shape = _shape(schema)
        ask = Batch(model=model, params=_checked(params), system=system, shape=shape)
        async with aclosing(self._run([prompt], ask)) as outcomes:
            async for outcome in outcomes:
                return outcome
        raise RunStopped("the run was stopped before the prompt was sent")

    def batch(
        self,
        prompts: Prompts,
        *,
        model: str = DEFAULT_MODEL,
        fallback: Sequence[str] = (),
        system: str | None = None,
        ordered: bool = False,
        stopper: Stop | None = None,
        schema: Schema = None,
        **params: Any,
    ) -> AsyncGenerator[Outcome, None]:
        """Each prompt to one model; yields one outcome a prompt, as they come.

        Closing the generator, as leaving `async with aclosing(...)` does, cancels what is in
        flight.

        Args:
            prompts: pulled only as fast as they can be sent, so they may have no end. A list or
                tuple is in memory; any other iterable is pulled in a thread of its own, up to 64
                ahead, so that one that blocks holds up no answer.
            model: `provider/model`, or a bare name of a known family.
            fallback: models that a row goes to, in turn, after it fails.
            system: for prompts without a system message.
            ordered: yield in input order.
            stopper: ends the run early from elsewhere.
            schema: what each answer has to be. `Outcome.data` has it parsed: an instance of the
                class, or values of JSON. An answer that does not fit is asked for again.
                Answers(...) says how often, or asks for choices or a part of the text.
            params: sampling parameters by OpenAI's names; a row's own win.

        Raises UsageError before anything is sent, and RunStopped where no further row can
        succeed (a bad key, no quota, too many failures), after all that were answered: they are
        in its `outcomes`, too. So is an error of `prompts` itself raised last.
        """
        ask = Batch(
            model=model,
            fallback=_names(fallback),
            params=_checked(params),
            system=system,
            shape=_shape(schema),
        )
        return detached(lambda: self._run(prompts, ask, ordered, stopper, label=model))

    def race(
        self,
        prompts: Prompts,
        *,
        models: Sequence[str],
        hedge: str | float | None = None,
        rules: Rules | None = None,
        system: str | None = None,
        ordered: bool = False,
        stopper: Stop | None = None,
        schema: Schema = None,
        **params: Any,
    ) -> AsyncGenerator[Outcome, None]:
        """Each prompt to several models; yields the first good answer to each.

        Good is an answer that is not empty, not cut off by length and not refused. The other
        requests are cancelled at once. A model whose key is refused, or whose host is never
        reached, is dropped from the run with one notice.

        Args:
            prompts: as in batch.
            models: in the order of preference. A row's own `models` win.
            hedge: start the next model only after so many seconds without an answer, or, as
                "p95", after that percentile of this run's times; None starts all at once.
            rules: how many answers are wanted, and what is good.
            system, ordered, stopper, schema, params: as in batch.

        Raises as batch does; RunStopped where no model is left.
        """
        ask = Race(
            models=_names(models),
            rules=rules or Rules(),
            hedge=Hedge.parse(hedge),
            params=_checked(params),
            system=system,
            shape=_shape(schema),
        )
        label = ", ".join(ask.models)
        return detached(lambda: self._run(prompts, ask, ordered, stopper, label=label))

    async def _run(
        self,
        prompts: Prompts,
        ask: Ask,
        ordered: bool = False,
        stopper: Stop | None = None,
        *,
        label: str | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """`label`: what the display calls the run; None shows none."""
        stop = stopper or Stop()
        rows = with_attachments(from_values(prompts, self._observe), self._files)
        pool = await self._pool(ask.shares_limits)
        yielded: deque[Outcome] = deque(maxlen=KEPT)
        self._running.add(stop)
        try:
            async with AsyncExitStack() as stack:
                observe = self._observe
                if self._progress and label:
                    observe = both(observe, await stack.enter_async_context(shown(label, prompts)))
                plan = await ask.plan(pool, RunOptions(ordered, self._failure_limit, observe))
                outcomes = plan.driver(rows, stop)
                await stack.enter_async_context(aclosing(outcomes))
                async for outcome in outcomes:
                    yielded.append(outcome)
                    yield outcome
        except RunStopped as error:
            error.outcomes = tuple(yielded)
            raise
        finally:
            self._running.discard(stop)

    async def _pool(self, together: bool) -> ModelPool:
        async with self._opening:
            if self._stack is None:
                raise UsageError("the client is not open", hint="async with Client() as client")
            if together not in self._pools:
                options = CallOptions.of(self._sending, together=together)
                for other in self._pools.values():  # what may be spent is for both together
                    options = replace(options, budget=other.budget)
                opened = Detached(open_models(options, self._observe))
                self._pools[together] = await self._stack.enter_async_context(opened)
        return self._pools[together]


_CLIENTS: Final = "limits retries network cache money files observe progress"
_ELSEWHERE: Final[Mapping[str, str]] = {
    **{name: f"client=Client({name}=...)" for name in _CLIENTS.split()},
    "environ": "client=Client(network=Network(environ=...))",
    "max_cost": "client=Client(limits=Limits(max_cost=1.5))",
    "price": "client=Client(money=Money(price=['MODEL=IN,OUT']))",
    "tier": "client=Client(money=Money(tier='flex'))",
    "drop_params": "client=Client(retries=Retries(drop_params=True))",
    "answers": "schema=Answers(...)",
    "client": "batch(..., client=Client())",
    "stopper": "Client().batch(..., stopper=Stop())",
}
"""What no function takes by this name, and how it is given."""


def _checked(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sampling parameters. Raises TypeError for what is given in another way."""
    for name in sorted(params.keys() & _ELSEWHERE.keys()):
        raise TypeError(f"{name} is not a sampling parameter: give {_ELSEWHERE[name]}")
    return params


def _shape(schema: Schema) -> "AnswerShape | None":
    """What answers have to be. Raises UsageError."""
    return shape_asked(schema if isinstance(schema, Answers) else Answers(schema=schema))


def _names(models: str | Sequence[str]) -> Sequence[str]:
    """The models' names; a single one may be given without a list."""
    return [models] if isinstance(models, str) else list(models)


def batch(
    prompts: Prompts,
    *,
    model: str = DEFAULT_MODEL,
    fallback: Sequence[str] = (),
    system: str | None = None,
    ordered: bool = False,
    schema: Schema = None,
    client: Client | None = None,
    **params: Any,
) -> Iterator[Outcome]:
    """`Client.batch` for a plain `for` loop, also inside a running event loop, as in a notebook.

    Yields outcomes as they come, in bounded memory. Leaving the loop early cancels what is in
    flight. `client`, which must not be open, has the limits, retries, network, cache, prices and
    display of this call: `client=Client(limits=Limits(rpm=500), progress=True)`. It is opened for
    the call and closed at its end. The other arguments are those of Client.batch.
    """
    return _iterated(Client.batch, **locals())  # exactly the arguments


def race(
    prompts: Prompts,
    *,
    models: Sequence[str],
    hedge: str | float | None = None,
    rules: Rules | None = None,
    system: str | None = None,
    ordered: bool = False,
    schema: Schema = None,
    client: Client | None = None,
    **params: Any,
) -> Iterator[Outcome]:
    """`Client.race` for a plain `for` loop: see `batch`. The arguments are those of Client.race."""
    return _iterated(Client.race, **locals())


def _iterated(
    method: Callable[..., AsyncGenerator[Outcome, None]],
    client: Client | None,
    params: Mapping[str, Any],
    **arguments: Any,
) -> Iterator[Outcome]:
    """What the client's method yields, for callers that cannot await."""
    opened, checked = client or Client(), _checked(params)

    async def outcomes() -> AsyncGenerator[Outcome, None]:
        async with opened, aclosing(method(opened, **arguments, **checked)) as found:
            async for outcome in found:
                yield outcome

    return iterate(outcomes)
