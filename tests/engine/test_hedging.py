"""The hedge's law: it cuts the slow tail for a few more requests."""

import asyncio
import math
import random
from collections.abc import Sequence

import pytest
from support.attempts import attempting
from support.chat import answer as send_answer
from support.chat import completion
from support.client import client, race
from support.scripted import Exchange, serve
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import Overloaded, UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Completion, Prompt, Request
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.hedging import ENOUGH, REMEMBERED, Hedge
from llmbatch_cli.engine.race_work import Race, Rules

SLOW_SHARE = 0.05
SLOWER = 20
MEDIAN_S = 0.5
ROWS = 4_000


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


class Account:
    """A model whose answers sometimes take twenty times as long; counts its requests."""

    def __init__(self, seed: int, spread: float, fails: float = 0.0) -> None:
        self.requests = 0
        self._dice = random.Random(seed)
        self._spread = spread
        self._fails = fails

    async def call(self, request: Request) -> Completion:
        self.requests += 1
        if self._dice.random() < self._fails:
            raise Overloaded("busy")
        seconds = self._dice.lognormvariate(math.log(MEDIAN_S), self._spread)
        slow = self._dice.random() < SLOW_SHARE
        await asyncio.sleep(seconds * (SLOWER if slow else 1))
        return Completion("done", "stop")


def simulated(
    account: Account, hedge: Hedge | None, *, rows: int = ROWS, at_once: int = 50
) -> list[float]:
    """Every row's time, with so many rows at once."""
    models: list[Model] = []

    async def models_for(prompt: Prompt) -> list[Model]:
        return models

    async def main() -> list[float]:
        clock = asyncio.get_running_loop().time
        model = Model("test", "model", attempting(account.call, clock))
        models.extend([model, model] if hedge else [model])
        work = Race(
            models_for,
            models,
            Rules(),
            hedge=hedge,
            clock=clock,
            observe=ignore,
        )
        prompts = iter(range(rows))
        times: list[float] = []

        async def worker() -> None:
            for index in prompts:
                (outcome,) = await work(Prompt(index, [{"role": "user", "content": "?"}], index))
                times.append(outcome.latency_s or 0.0)

        await asyncio.gather(*(worker() for _ in range(at_once)))
        return times

    return run_virtually(main())


@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_p95_cuts_the_tail_fivefold_for_a_tenth_more_requests(seed: int, spread: float) -> None:
    """With 5 % of the answers 20 times slower, the p99 falls to a fifth or less."""
    bare, hedged = Account(seed, spread), Account(seed, spread)
    before = percentile(simulated(bare, None), 0.99)
    after = percentile(simulated(hedged, Hedge(quantile=0.95)), 0.99)
    assert bare.requests == ROWS
    assert before / after >= 5
    assert hedged.requests <= ROWS * 1.1


@pytest.mark.parametrize("seed", range(2))
def test_the_quantile_neither_creeps_down_nor_up(seed: int) -> None:
    """Those cut short by a hedge count as slow, so its time is the same late in the run."""
    account, hedge = Account(seed, 0.2), Hedge(quantile=0.95)
    simulated(account, hedge, rows=1_500)
    early_s, early = hedge.wait_s(), account.requests
    simulated(account, hedge, rows=6_000)
    late_s = hedge.wait_s()
    assert early_s is not None
    assert late_s is not None
    assert MEDIAN_S < late_s < 2 * MEDIAN_S
    assert 0.8 < late_s / early_s < 1.25
    assert account.requests - early <= 6_000 * 1.1


def test_quick_failures_do_not_shorten_the_time() -> None:
    """A failure says nothing of how long an answer takes, however many there are."""
    account, hedge = Account(1, 0.05, fails=0.5), Hedge(quantile=0.95)
    simulated(account, hedge, rows=1_000)
    wait_s = hedge.wait_s()
    assert wait_s is not None
    assert wait_s >= MEDIAN_S


def test_little_is_known_of_a_quantile_at_first() -> None:
    """Until there are enough times the hedge has none; then it is that of the slower ones."""
    hedge = Hedge(quantile=0.95)
    for count in range(ENOUGH):
        assert hedge.wait_s() is None
        hedge.add(float(count))
    wait_s = hedge.wait_s()
    assert wait_s is not None
    assert ENOUGH * 0.8 <= wait_s < ENOUGH * 0.95


def test_a_few_more_slow_answers_than_usual_do_not_lift_the_time() -> None:
    """Six slow ones in a hundred are what chance makes of one in twenty: p95 stays a fast time."""
    hedge = Hedge(quantile=0.95)
    for count in range(400):
        hedge.add(20.0 if count % 100 < 6 else 1.0)
    assert hedge.wait_s() == 1.0


def test_old_times_are_forgotten() -> None:
    """A model that has become slower is given its new time."""
    hedge = Hedge(quantile=0.5)
    for _ in range(REMEMBERED):
        hedge.add(1.0)
    for _ in range(REMEMBERED):
        hedge.add(3.0)
    assert hedge.wait_s() == 3.0


def test_a_fixed_time_learns_nothing() -> None:
    """What was given is kept."""
    hedge = Hedge(fixed_s=0.8)
    for _ in range(100):
        hedge.add(9.0)
    assert hedge.wait_s() == 0.8


@pytest.mark.parametrize("arguments", [{}, {"fixed_s": 1.0, "quantile": 0.5}])
def test_a_hedge_has_one_time(arguments: dict[str, float]) -> None:
    """Neither or both is an error."""
    with pytest.raises(ValueError, match="fixed time or a quantile"):
        Hedge(**arguments)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("0.8", 0.8), ("0.8s", 0.8), ("800ms", 0.8), (0.8, 0.8), (2, 2.0), ("p50", None)],
)
def test_a_hedge_is_written_as_a_time_or_a_percentile(
    value: str | float, wait_s: float | None
) -> None:
    """As --hedge has it, and as Python gives it; a percentile is unknown at first."""
    hedge = Hedge.parse(value)
    assert hedge is not None
    assert hedge.wait_s() == wait_s
    for _ in range(ENOUGH):
        hedge.add(3.0)
    assert hedge.wait_s() == (wait_s or 3.0)


def test_without_a_value_there_is_no_hedge() -> None:
    """All start at once then."""
    assert Hedge.parse(None) is None


@pytest.mark.parametrize("value", ["x", "", "0", "-1", "p0", "p100", "p", "ms", "inf", "nan", 0])
def test_no_other_hedge_is_accepted(value: str | float) -> None:
    """What is neither is refused with what to write instead."""
    with pytest.raises(UsageError, match="is not a time or a percentile") as caught:
        Hedge.parse(value)
    assert caught.value.hint == "as in --hedge 0.8 or p95"


@pytest.mark.alone
async def test_the_tail_is_cut_over_real_sockets_too() -> None:
    """600 rows on loopback, every twentieth request 60 times slower: the same law."""
    asked = 0

    async def twentieth_is_slow(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        slow = asked % 20 == 10
        work = asyncio.ensure_future(asyncio.sleep(3.0 if slow else 0.05))
        gone = asyncio.ensure_future(exchange.until_closed())
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await send_answer(exchange, completion("done"))
        else:
            work.cancel()
            exchange.writer.close()

    async def times(models: list[str], hedge: str | None) -> list[float]:
        prompts = (f"row {index}" for index in range(600))
        outcomes = await race(client(server.url, in_flight=32), prompts, models, hedge=hedge)
        return [outcome.latency_s or 0.0 for outcome in outcomes]

    async with serve(twentieth_is_slow) as server:
        before = percentile(await times(["openai/m"], None), 0.99)
        asked = 0
        after = percentile(await times(["openai/m", "openai/m"], "p95"), 0.99)
    assert before / after >= 4
    assert asked <= 720
