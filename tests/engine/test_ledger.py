"""The law of the ledger: every request that reached the network is exactly one attempt.

A network in memory, on virtual time, counts the requests; the ledgers of the outcomes have to
agree with it, over retries, time limits, endpoints, fallbacks, races and cancellation.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import no_other
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    RunStopped,
    Unauthorized,
    Unreachable,
    UsageError,
)
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.ledger import CANCELLED, Attempt, Ledger, Usage, lane_of
from llmbatch_cli.core.types import (
    Completion,
    Outcome,
    Prompt,
    Request,
    WireReply,
    WireRequest,
    WireStream,
)
from llmbatch_cli.engine.calls import Model, calling
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.endpoints import Endpoints, spread
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.race_work import Race, Rules
from llmbatch_cli.engine.retry import RetryPolicy, retried
from llmbatch_cli.engine.streaming import streaming

USAGE = Usage(3, 4, 7)
TIMEOUT_S = 8.0
End = ProviderError | str
"""How a request ends: an error of the network, or a text for `parse`."""
Step = tuple[float, type[ProviderError] | str]


def parse(request: Request, reply: WireReply) -> Completion:
    text = reply.body.decode()
    if text == "bad":
        raise BadReply("not JSON", status=reply.status)
    return Completion(text, "stop", usage=USAGE)


@dataclass
class Network:
    """Models that play their steps in turn, the last one for ever; counts their requests."""

    steps: Mapping[str, Sequence[Step]]
    sent: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0

    async def send(self, wire: WireRequest) -> WireReply:
        name = wire.url
        steps = self.steps[name]
        seconds, end = steps[min(self.sent[name], len(steps) - 1)]
        self.sent[name] += 1
        self.in_flight += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.in_flight -= 1
        if isinstance(end, str):
            return WireReply(200, {}, end.encode())
        raise end("no", status=503 if end is Overloaded else None)

    def model(self, name: str, *endpoints: str, in_flight: int = 4) -> Model:
        """As models.py puts it together; each endpoint is a name of the network's own."""
        clock = asyncio.get_running_loop().time
        calls = [calling(_build(one), parse, self.send, clock) for one in endpoints or (name,)]
        deadlines = Deadlines(TIMEOUT_S, clock=clock)
        limiter = Limiter(RateLimits(in_flight, start_in_flight=in_flight))
        call = admitted(spread(calls, Endpoints(len(calls), clock=clock)), limiter, deadlines)
        again = retried(call, RetryPolicy(3), sleep=asyncio.sleep)
        return Model("p", name, deadlines.within(again))


def _build(url: str) -> Callable[[Request], WireRequest]:
    def build(request: Request) -> WireRequest:
        if "unsupported" in request.params:
            raise UsageError("p does not support it")
        return WireRequest("POST", url, {})

    return build


def row(index: int = 0, **params: Any) -> Prompt:
    return Prompt(index, [{"role": "user", "content": "?"}], index, params=params)


def virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(main())


def kinds(ledger: Ledger) -> list[str | None]:
    return [attempt.kind for attempt in ledger.attempts]


async def batch(network: Network, *models: Model, rows: int = 1) -> list[Outcome]:
    work = WithFallbacks(models[0], no_other, models[1:])
    ended = await asyncio.gather(*(work(row(index)) for index in range(rows)))
    assert network.in_flight == 0
    return [outcome for (outcome,) in ended]


def attempts_of(outcomes: Sequence[Outcome]) -> list[Attempt]:
    return [one for outcome in outcomes for ledger in outcome.ledgers for one in ledger.attempts]


def of_row(outcomes: Sequence[Outcome], index: int) -> tuple[list[Attempt], list[Attempt]]:
    """The answers among the attempts at a row, and all of them: several outcomes share them."""
    attempts = attempts_of([one for one in outcomes if one.index == index])
    return [one for one in attempts if one.kind is None], attempts


def check(network: Network, outcomes: Sequence[Outcome]) -> None:
    """As many attempts as requests, for each model and each row; and the row says the same."""
    counted: Counter[str] = Counter()
    for outcome in outcomes:
        for ledger in outcome.ledgers:
            counted[ledger.model.removeprefix("p/")] += len(ledger.attempts)
        attempts = attempts_of([outcome])
        answers = [one for one in attempts if one.kind is None]
        assert all(one.usage == USAGE and one.maybe_billed for one in answers)
        assert all(one.usage is None for one in attempts if one.kind is not None)
        if outcome.race:
            answers, attempts = of_row(outcomes, outcome.index)
            assert sum(racer.attempts for racer in outcome.race) == len(attempts)
            failed = [one for racer in outcome.race for one in racer.failed_attempts]
            cancelled = sum(racer.cancelled_in_flight for racer in outcome.race)
            assert len(failed) + cancelled + len(answers) == len(attempts)
        else:
            assert outcome.attempts == len(attempts)
            assert len(outcome.failed_attempts) + len(answers) == len(attempts)
            assert len(answers) == (outcome.completion is not None)
    assert +counted == network.sent


def test_every_retry_is_an_attempt_with_its_own_time() -> None:
    """Kinds, states, times and usage in their order; the row's time has the waits between, too."""

    async def main() -> None:
        network = Network({"m": [(1, Overloaded), (2, Interrupted), (3, "bad"), (1, "yes")]})
        model = network.model("m")
        (outcome,) = await batch(network, model)
        check(network, [outcome])
        assert outcome.error is not None  # the third is the last, by RetryPolicy(3)
        (ledger,) = outcome.ledgers
        assert ledger.model == "p/m"
        assert [(one.kind, one.status, one.maybe_billed) for one in ledger.attempts] == [
            ("overloaded", 503, False),
            ("interrupted", None, True),
            ("bad_reply", 200, True),
        ]
        assert [one.latency_s for one in ledger.attempts] == pytest.approx([1, 2, 3])
        assert outcome.latency_s is not None
        assert 6 <= outcome.latency_s < TIMEOUT_S
        (answered,) = await batch(network, model)
        (attempt,) = answered.ledgers[0].attempts
        assert attempt.latency_s == pytest.approx(1)
        attempt.latency_s = 1
        assert attempt == Attempt(None, 200, 1, maybe_billed=True, usage=USAGE)

    virtually(main)


def test_what_was_not_sent_is_no_attempt() -> None:
    """A row that cannot be encoded has an empty ledger, and no time."""

    async def main() -> None:
        network = Network({"m": [(1, "yes")]})
        model = network.model("m", "m", "n")
        request = Request("m", [], {"unsupported": 1})
        with pytest.raises(Rejected):
            await model.call(request)
        assert (request.ledger.attempts, request.ledger.latency_s) == ([], None)
        assert not network.sent

    virtually(main)


def test_the_time_limit_relabels_the_attempt_that_it_cancels() -> None:
    """The one in flight becomes timed_out, maybe billed; those before it stay as they were."""

    async def main() -> None:
        network = Network({"m": [(1, Overloaded), (99, "late")]})
        (outcome,) = await batch(network, network.model("m"))
        check(network, [outcome])
        assert outcome.error is not None
        assert outcome.error.kind == "timed_out"
        assert outcome.latency_s == TIMEOUT_S
        last = outcome.failed_attempts[-1]
        assert kinds(outcome.ledgers[0]) == ["overloaded", "timed_out"]
        assert (last.status, last.maybe_billed) == (None, True)
        assert last.latency_s < TIMEOUT_S - 1

    virtually(main)


def test_a_time_limit_between_two_attempts_adds_none() -> None:
    """A row that times out while it waits has the attempts that it made, and the whole time."""

    async def main() -> None:
        class Slow(RateLimited):
            def __init__(self, message: str, **more: Any) -> None:
                super().__init__(message, retry_after_s=60, **more)

        network = Network({"m": [(1, Slow)]})
        (outcome,) = await batch(network, network.model("m"))
        check(network, [outcome])
        assert kinds(outcome.ledgers[0]) == ["rate_limited"]
        assert outcome.latency_s == TIMEOUT_S

    virtually(main)


def test_the_wait_for_admission_is_in_no_time() -> None:
    """With one slot three rows of 2 s take 6 s, and each says 2 s."""

    async def main() -> None:
        network = Network({"m": [(2, "yes")]})
        outcomes = await batch(network, network.model("m", in_flight=1), rows=3)
        check(network, outcomes)
        assert [outcome.latency_s for outcome in outcomes] == [2, 2, 2]
        assert asyncio.get_running_loop().time() == 6

    virtually(main)


def test_a_cancelled_row_keeps_its_attempt() -> None:
    """Cancelled in flight, it may be billed, and says how long it ran."""

    async def main() -> None:
        network = Network({"m": [(5, "yes")]})
        request = Request("m", [], {})
        task = asyncio.ensure_future(network.model("m").call(request))
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert request.ledger.attempts == [Attempt(CANCELLED, None, 2, maybe_billed=True)]
        assert (request.ledger.failed, request.ledger.cancelled_in_flight) == ([], True)

    virtually(main)


def test_each_model_of_a_fallback_has_a_ledger() -> None:
    """The row has the attempts of all that were called, and their times together."""

    async def main() -> None:
        network = Network({"a": [(1, Rejected)], "b": [(2, Unreachable)], "c": [(3, "yes")]})
        models = [network.model(name) for name in "abc"]
        (outcome,) = await batch(network, *models)
        check(network, [outcome])
        assert [one.model for one in outcome.ledgers] == ["p/a", "p/b", "p/c"]
        assert [len(one.attempts) for one in outcome.ledgers] == [1, 3, 1]
        assert outcome.latency_s == sum(one.latency_s or 0 for one in outcome.ledgers)

    virtually(main)


def test_a_stream_that_breaks_off_leaves_its_text_in_the_ledger() -> None:
    """One attempt, and what had come; so does one that is cancelled."""

    class Reader:
        def feed(self, data: bytes) -> str:
            return data.decode()

        def finish(self) -> Completion:
            raise Interrupted("it breaks off")

        def billed(self, error: ProviderError) -> ProviderError:
            return error

    async def main() -> None:
        async def chunks(then: float) -> AsyncIterator[bytes]:
            yield b"the "
            yield b"first"
            await asyncio.sleep(then)
            raise Interrupted("reset")

        @asynccontextmanager
        async def open_stream(wire: WireRequest) -> AsyncIterator[WireStream]:
            yield WireStream(200, {}, chunks(3))

        clock = asyncio.get_running_loop().time
        call = streaming(_build("m"), parse, lambda request, headers: Reader(), open_stream, clock)
        broken, cancelled = Request("m", [], {}), Request("m", [], {})
        with pytest.raises(Interrupted):
            await call(broken, lambda text: None)
        task = asyncio.ensure_future(call(cancelled, lambda text: None))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert [kinds(one.ledger) for one in (broken, cancelled)] == [["interrupted"], [CANCELLED]]
        assert broken.ledger.partial == cancelled.ledger.partial == "the first"
        assert [one.ledger.latency_s for one in (broken, cancelled)] == [3, 1]

    virtually(main)


ENDS: Sequence[type[ProviderError] | str] = (
    "yes",
    "bad",
    "",
    Overloaded,
    Unreachable,
    Interrupted,
    RateLimited,
    Rejected,
)
scripts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 3.0, 20.0]), st.sampled_from(ENDS)), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=80)
@given(st.lists(scripts, min_size=3, max_size=3), st.integers(1, 4), st.integers(1, 3))
def test_no_batch_loses_or_adds_an_attempt(
    script: list[list[Step]], in_flight: int, models: int
) -> None:
    """For any script, with endpoints, fallbacks, retries, time limits and waits for a slot."""

    async def main() -> None:
        network = Network(dict(zip("abc", script, strict=True)))
        called = [network.model(name, in_flight=in_flight) for name in "abc"[:models]]
        check(network, await batch(network, *called, rows=5))
        spread_over = Network(dict(zip("abc", script, strict=True)))
        outcomes = await batch(spread_over, spread_over.model("m", *"abc"), rows=5)
        assert len(attempts_of(outcomes)) == spread_over.sent.total()

    virtually(main)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(scripts, min_size=3, max_size=3),
    st.integers(1, 4),
    st.sampled_from([1, 2, None]),
    st.sampled_from([None, 0.25]),
)
def test_no_race_loses_or_adds_an_attempt(
    script: list[list[Step]], in_flight: int, wins: int | None, hedge_s: float | None
) -> None:
    """For any script winners, losers and cancelled ones together have every request that was
    sent, though a model may be dropped on the way."""

    async def main() -> None:
        network = Network(dict(zip("abc", [*script[:2], [(0.1, Unauthorized)]], strict=True)))
        models = [network.model(name, in_flight=in_flight) for name in "abc"]

        async def models_for(prompt: Prompt) -> Sequence[Model]:
            return models

        race = Race(
            models_for,
            models,
            Rules(wins),
            hedge=Hedge(fixed_s=hedge_s) if hedge_s is not None else None,
            clock=asyncio.get_running_loop().time,
            observe=ignore,
        )

        async def one(index: int) -> Sequence[Outcome] | None:
            try:
                return await race(row(index))
            except RunStopped:
                return None

        ended = await asyncio.gather(*map(one, range(5)))
        assert network.in_flight == 0
        if None not in ended:
            check(network, [outcome for outcomes in ended for outcome in outcomes or ()])

    virtually(main)


@pytest.mark.parametrize(
    ("params", "tier", "lane"),
    [
        ({}, None, None),
        ({}, "flex", "flex"),
        ({"service_tier": "priority"}, "flex", "priority"),
        ({"extra_body": {"service_tier": "flex"}}, None, "flex"),
        ({"extra_body": {"service_tier": "default"}}, "flex", None),
        ({"extra_body": {"serviceTier": "FLEX"}}, None, "flex"),
        ({"extra_body": {"serviceTier": {"type": "priority"}}}, "flex", "priority"),
        ({"extra_body": {"serviceTier": ["?"]}}, None, "['?']"),
        ({"extra_headers": {"x-vertex-ai-llm-shared-request-type": "flex"}}, None, "flex"),
        ({"extra_body": {"top_k": 1}, "extra_headers": {"x": "y"}}, "flex", "flex"),
    ],
)
def test_the_lane_is_what_is_asked_for(params: Any, tier: str | None, lane: str | None) -> None:
    """By whatever name its provider has for a tier; what is unknown has no known price."""
    assert lane_of(params, tier) == lane
