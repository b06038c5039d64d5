"""The Python API, and the one place where the parts are put together.

async for outcome in run_batch(["What is the capital of France?"], model="openai/gpt-4o-mini"):
    print(outcome.completion or outcome.error)
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.checking import refuse_bad_rows
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Observer, Opened, both, ignore
from llmbatch_cli.core.types import Message, Outcome, Params, Prompt, Row
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.failure_limit import Breaker, FailureLimit
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.limits.limiter import START_IN_FLIGHT, RateLimits
from llmbatch_cli.engine.race_work import OnText, Race, Rules
from llmbatch_cli.engine.retry import RetryPolicy
from llmbatch_cli.engine.run import Gauge, Stop, run
from llmbatch_cli.models import CallOptions, from_environment, open_models
from llmbatch_cli.providers.registry import DEFAULT_MODEL, Access
from llmbatch_cli.resuming import Against, ModelsFor, tell_done, with_files, with_keys
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.input.source import from_values
from llmbatch_cli.transport import Connection
from llmbatch_cli.transport.descriptors import room_for

MOST_IN_FLIGHT: Final = 512
"""The ceiling of a run whose user has named none."""
RACE_IN_FLIGHT: Final = 64
LOOK_AHEAD: Final = 16
"""In input order, how many times the rows in flight may wait for a slow one before them."""


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
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: int | None = None,
    max_attempts: int = 6,
    tolerance: FailureLimit | None = None,
    fallbacks: Sequence[str] = (),
    drop_params: bool = False,
    files: Path | None = None,
    timeout_s: float = 600.0,
    ordered: bool = False,
    keyed: bool = False,
    finished: FinishedRows | None = None,
    preview: Prompts | None = None,
    strict: Prompts | None = None,
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
        concurrency: requests in flight at most, from 1. None starts with a few and finds
            what the account allows, up to MOST_IN_FLIGHT.
        rpm: requests a minute at most; None is what the provider allows.
        tpm: tokens a minute at most, likewise.
        max_attempts: tries of a row in all; being told to wait uses up none.
        tolerance: how many rows may fail before the run is stopped.
        fallbacks: models that a row goes to, in turn, when it finally fails.
        files: the folder below which parts of messages may name files; None reads none.
        drop_params: leave out what a wire cannot say, told once, instead of refusing it.
        timeout_s: a row's whole time from its first request on; over it, the row fails as
            `timed_out`.
        ordered: yield in input order.
        keyed: give every outcome its `key`, so that another run can go on from the output.
        finished: rows that an earlier run has finished; they are not sent again.
        preview: the same prompts once more. They are gone through before anything is sent, to
            tell how many of them `finished` holds.
        strict: the same prompts once more. They are gone through before anything is sent, and
            where one cannot be read or sent BadRows is raised.
        access: keys and addresses; None takes them from the environment.
        connection: how requests travel.
        stop: ends the run early from elsewhere.
        observe: is told what happens, at once, in the loop's thread: it must not block.

    Raises UsageError before anything is sent, and RunStopped when no further row can
    succeed (a bad key, no quota). A row's own failure is an outcome, not an error.
    """
    flow = _flow(concurrency, rpm, tpm, observe)
    how = CallOptions(
        access or from_environment(),
        params or {},
        timeout_s,
        RetryPolicy(max_attempts),
        flow,
        drop_params,
    )
    stop = stop or Stop()
    breaker = Breaker(tolerance or FailureLimit(), stop)
    async with open_models(how, connection, observe) as lanes:
        lane = await lanes.model_for(model)

        async def model_for(own: str | None) -> Model:
            return lane if own is None else await lanes.model_for(own, of_row=True)

        gauge = Gauge()
        observe(Opened(lambda: lanes.holding() or gauge.waiting))
        others = [await lanes.model_for(name) for name in fallbacks]
        work = WithFallbacks(model_for, others, observe=observe, system=_system(system))

        async def models_of(prompt: Prompt) -> list[Model]:
            return [await model_for(prompt.model)]

        before = _Before(models_of, others, _system(system), files, keyed, finished, stop, observe)
        rows = await before.rows(prompts, preview, strict)
        outcomes = run(
            rows,
            work,
            window=lanes.window,
            most_open=_most_open(flow, ordered=ordered),
            ordered=ordered,
            stop=stop,
            observe=both(observe, breaker),
            gauge=gauge,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome
    if breaker.error is not None:
        raise breaker.error


async def run_race(
    prompts: Prompts,
    *,
    models: Sequence[str],
    wins: int | None = 1,
    hedge: Hedge | None = None,
    accept_truncated: bool = False,
    stream: bool = False,
    on_text: OnText | None = None,
    params: Params | None = None,
    system: str | None = None,
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: int | None = None,
    max_attempts: int = 6,
    tolerance: FailureLimit | None = None,
    drop_params: bool = False,
    files: Path | None = None,
    timeout_s: float = 600.0,
    ordered: bool = False,
    keyed: bool = False,
    finished: FinishedRows | None = None,
    preview: Prompts | None = None,
    strict: Prompts | None = None,
    access: Access | None = None,
    connection: Connection | None = None,
    stop: Stop | None = None,
    observe: Observer = ignore,
) -> AsyncGenerator[Outcome, None]:
    """Send every prompt to several models at once; yield the first good answer to each.

    Good is an answer that is not empty, not cut off by length (unless `accept_truncated`),
    and not stopped by a content filter. The others' requests are cancelled at once. A model
    whose key is refused, or whose host is never reached, leaves the run and is told once.

    Args:
        models: the racers, in the order of preference; one named twice is asked twice. A
            row's own `models` win.
        wins: good answers wanted for each prompt, each an outcome of its own; None wants
            one outcome from every model.
        hedge: when to start the next model; None starts all at once.
        stream: whether the first text wins, instead of the first whole answer.
        on_text: with `stream`, is told the leader's text as it arrives.
        concurrency: requests, not rows, in flight at most; None is 64.

    The other arguments, and the errors, are those of run_batch; RunStopped is raised when
    no model is left.
    """
    if not models:
        raise UsageError("a race needs models", hint="name two or more")
    flow = replace(_flow(concurrency or RACE_IN_FLIGHT, rpm, tpm, observe), together=True)
    how = CallOptions(
        access or from_environment(),
        params or {},
        timeout_s,
        RetryPolicy(max_attempts),
        flow,
        drop_params,
    )
    stop = stop or Stop()
    breaker = Breaker(tolerance or FailureLimit(), stop)
    races: list[Race] = []

    def heed(event: Event) -> None:
        observe(event)
        for one in races:
            one.learn_from(event)

    async with open_models(how, connection, heed) as lanes:
        racers = await lanes.with_keys(models)

        async def entrants(prompt: Prompt) -> Sequence[Model]:
            if not prompt.models:
                return racers
            return await lanes.with_keys(prompt.models, of_row=True)

        work = Race(
            entrants,
            racers,
            Rules(wins, accept_truncated, stream),
            hedge=hedge,
            clock=time.monotonic,
            observe=observe,
            system=_system(system),
            on_text=on_text or (lambda prompt, lane, text: None),
        )
        races.append(work)
        gauge = Gauge()
        observe(Opened(lambda: lanes.holding() or gauge.waiting))
        rows_at_once = _races_at_once(flow.most_in_flight, len(racers), hedged=hedge is not None)
        before = _Before(entrants, (), _system(system), files, keyed, finished, stop, observe)
        rows = await before.rows(prompts, preview, strict)
        outcomes = run(
            rows,
            work,
            window=lambda: rows_at_once,
            most_open=_most_open(flow, ordered=ordered),
            ordered=ordered,
            stop=stop,
            observe=both(observe, breaker),
            gauge=gauge,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome
    if breaker.error is not None:
        raise breaker.error


def run_race_sync(prompts: Prompts, **options: Any) -> list[Outcome]:
    """`run_race` for programs without a loop: all outcomes, in input order.

    Takes what run_race takes. Holds every outcome in memory.
    """
    return asyncio.run(_collected(run_race(prompts, **{"ordered": True, **options})))


def run_batch_sync(prompts: Prompts, **options: Any) -> list[Outcome]:
    """`run_batch` for programs without a loop: all outcomes, in input order.

    Takes what run_batch takes. Holds every outcome in memory.
    """
    return asyncio.run(_collected(run_batch(prompts, **{"ordered": True, **options})))


async def _collected(outcomes: AsyncGenerator[Outcome, None]) -> list[Outcome]:
    async with aclosing(outcomes):
        return [outcome async for outcome in outcomes]


def _system(text: str | None) -> Message | None:
    return {"role": "system", "content": text} if text is not None else None


def _flow(
    concurrency: int | None, rpm: float | None, tpm: int | None, observe: Observer
) -> RateLimits:
    if concurrency is not None and concurrency < 1:
        raise UsageError("concurrency is at least 1")
    if (rpm is not None and not 0 < rpm < math.inf) or (tpm is not None and tpm <= 0):
        raise UsageError("rpm and tpm are numbers above 0")
    most = room_for(concurrency or MOST_IN_FLIGHT, observe)
    return RateLimits(most, most if concurrency else START_IN_FLIGHT, rpm, tpm)


@dataclass(frozen=True, slots=True)
class _Before:
    """What is done to rows before they are sent."""

    models_for: ModelsFor
    fallbacks: Sequence[Model]
    system: Message | None
    files: Path | None
    keyed: bool
    finished: FinishedRows | None
    stop: Stop
    observe: Observer

    async def rows(
        self, prompts: Prompts, preview: Prompts | None, strict: Prompts | None
    ) -> AsyncGenerator[Row, None]:
        if strict is not None:
            checked = with_files(_rows(strict), self.files)
            await refuse_bad_rows(checked, self.models_for, self.fallbacks, self.system, self.stop)
        rows = with_files(_rows(prompts), self.files)
        if not self.keyed and self.finished is None:
            return rows
        against = Against(self.models_for, self.system, self.finished)
        if preview is not None:
            ahead = with_files(_rows(preview), self.files)
            await tell_done(ahead, against, self.stop, self.observe)
        return with_keys(rows, against, self.observe)


def _races_at_once(in_flight: int, racers: int, *, hedged: bool) -> int:
    """A hedged race is one request at first, and a quarter of all is kept for the others."""
    return max(1, in_flight - max(1, in_flight // 4) if hedged else in_flight // racers)


def _most_open(flow: RateLimits, *, ordered: bool) -> int:
    return flow.most_in_flight * (LOOK_AHEAD if ordered else 4)


def _rows(prompts: Prompts) -> AsyncGenerator[Row, None]:
    if isinstance(prompts, Rows):
        return prompts.rows
    return from_values(prompts)
