"""The budget: what is billed never passes the cap, and little of the cap is left unused."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import attempting
from support.virtual_time import run_virtually

from llmbatch_cli.core.errors import (
    BudgetReached,
    Interrupted,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    RunStopped,
    TimedOut,
)
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.ledger import Attempt, Ledger, Usage
from llmbatch_cli.core.types import Completion, Prompt, Request, Row
from llmbatch_cli.engine.bounds import Bounds
from llmbatch_cli.engine.budget import PER_USD, Budget, Terms, WorstCase, in_usd, reserved
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.limits.admitted import admitted
from llmbatch_cli.engine.limits.limiter import Limiter, RateLimits
from llmbatch_cli.engine.race import RaceResult, race
from llmbatch_cli.engine.retry import RetryPolicy, retried
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.engine.waits import Postponed, Waits


@dataclass
class Step:
    """What becomes of one attempt."""

    kind: str = "answer"
    used: float = 1.0
    """The share of its worst case that it costs the provider's customer."""
    takes_s: float = 1.0


@dataclass
class Bank:
    """A provider of a price for each token, which knows what it has billed."""

    steps: Callable[[int], Step]
    billed: int = 0
    begun: int = 0
    at_once: int = 0
    most_at_once: int = 0
    paid: list[int] = field(default_factory=list)

    async def call(self, request: Request) -> Completion:
        step, worst = self.steps(self.begun), request.params["max_tokens"]
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        cost = math.ceil(worst * step.used)
        try:
            if step.kind in REFUSALS:
                await asyncio.sleep(step.takes_s)
                raise REFUSALS[step.kind]
            self.billed += cost  # whatever comes of it, also where it is cancelled
            self.paid.append(cost)
            await asyncio.sleep(step.takes_s)
            if step.kind == "reset":
                raise Interrupted("reset")
            return Completion("yes", usage=Usage(0, cost) if step.kind == "answer" else None)
        finally:
            self.at_once -= 1


REFUSALS: dict[str, ProviderError] = {
    "busy": Overloaded("busy", status=503),
    "slow": RateLimited("slow", status=429, retry_after_s=3.0),
    "rejected": Rejected("no", status=400),
}
KINDS = ["answer"] * 4 + ["untold", "reset", "busy", "slow", "rejected"]


def worst_case(request: Request) -> WorstCase:
    tokens = request.params["max_tokens"]
    return WorstCase(tokens, Bounds(0, tokens))


def told(attempt: Attempt, ledger: Ledger) -> int | None:
    return attempt.usage.completion_tokens if attempt.usage is not None else None


TERMS = Terms(worst_case, told)


def request(worst: int) -> Request:
    return Request("m", [{"role": "user", "content": "?"}], {"max_tokens": worst})


def budget_of(billionths: int, *, in_order: bool = False) -> Budget:
    budget = Budget(Decimal(billionths) / PER_USD)
    budget.in_order = in_order
    return budget


async def rows(worsts: Iterable[int]) -> AsyncGenerator[Row, None]:
    for index, worst in enumerate(worsts):
        yield Prompt(index, [{"role": "user", "content": "?"}], index, params={"max_tokens": worst})


@dataclass
class Held:
    """How a run went."""

    bank: Bank
    budget: Budget
    done: list[int]
    error: RunStopped | None


async def hold(
    budget: Budget,
    bank: Bank,
    worsts: Iterable[int],
    *,
    at_once: int = 8,
    cancel_s: float | None = None,
    timeout_s: float = 60.0,
) -> Held:
    """A whole run: rows, retries, limits and the budget, as models.py puts them together."""
    waits, stop, done = Waits(), Stop(), list[int]()
    deadlines = Deadlines(timeout_s, clock=asyncio.get_running_loop().time)
    limiter = Limiter(RateLimits(at_once, at_once), adaptive=False)
    clock = asyncio.get_running_loop().time
    call = admitted(attempting(bank.call, clock), limiter, deadlines, waits.waiting)
    call = reserved(call, budget, TERMS, deadlines, waits.waiting)
    call = retried(call, RetryPolicy(3), sleep=asyncio.sleep, chance=lambda: 0.5)
    model = Model("p", "m", deadlines.within(call))

    async def own(name: str) -> Model:
        return model

    stop.listen(waits.end)
    if cancel_s is not None:
        asyncio.get_running_loop().call_later(cancel_s, stop.cancel)
    outcomes = run(
        rows(worsts),
        WithFallbacks(model, own),
        window=lambda: 2 * at_once,
        most_open=8 * at_once,
        ordered=budget.in_order,
        stop=stop,
        observe=ignore,
    )
    error = None
    try:
        async with aclosing(outcomes):
            async for outcome in outcomes:
                done.append(outcome.index)
    except RunStopped as stopped:
        error = stopped
    return Held(bank, budget, done, error)


steps = st.lists(
    st.builds(Step, st.sampled_from(KINDS), st.floats(0, 1), st.floats(0, 90)), min_size=1
)


@settings(max_examples=150, deadline=None)
@given(
    steps,
    st.lists(st.integers(0, 500), max_size=60),
    st.integers(1, 5_000),
    st.integers(1, 9),
    st.booleans(),
    st.none() | st.floats(0, 200),
)
def test_the_bill_never_passes_the_cap(
    script: list[Step],
    worsts: list[int],
    cap: int,
    at_once: int,
    in_order: bool,
    cancel_s: float | None,
) -> None:
    """Any costs, failures, retries, time-outs and cancellations, however many at once; and what
    is counted is never less than the bill."""
    bank, budget = Bank(lambda n: script[n % len(script)]), budget_of(cap, in_order=in_order)
    held = run_virtually(hold(budget, bank, worsts, at_once=at_once, cancel_s=cancel_s))
    assert bank.billed <= budget.spent <= cap
    assert bank.billed >= budget.spent - budget.unseen
    assert len(held.done) == len(set(held.done))
    if held.error is None and cancel_s is None:
        assert sorted(held.done) == list(range(len(worsts)))
    if in_order:
        assert held.done == sorted(held.done)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(
            Step, st.sampled_from(["answer"] * 3 + ["busy", "slow"]), st.floats(0.1, 1), st.just(1)
        ),
        min_size=1,
    ).filter(lambda script: any(one.kind == "answer" for one in script)),
    st.lists(st.integers(1, 60), min_size=1, max_size=9),
    st.integers(1, 32),
    st.booleans(),
)
def test_the_cap_is_used(
    script: list[Step], worsts: list[int], at_once: int, in_order: bool
) -> None:
    """Where requests are small against it: at least nine tenths, whatever they reserve first."""
    cap = 1_000
    bank, budget = Bank(lambda n: script[n % len(script)]), budget_of(cap, in_order=in_order)

    def endless() -> Iterable[int]:
        while True:
            yield from worsts

    held = run_virtually(hold(budget, bank, endless(), at_once=at_once, timeout_s=9e9))
    assert 0.9 * cap <= bank.billed <= cap
    assert isinstance(held.error, BudgetReached)


def answers(n: int) -> Step:
    return Step()


def test_a_smaller_request_passes_where_order_does_not_matter() -> None:
    """In input order it waits for its turn, and the run ends with the first that cannot be paid."""
    worsts = [60, 60, 30, 90]
    held = run_virtually(hold(budget_of(100), Bank(answers), worsts))
    assert sorted(held.done) == [0, 2]
    held = run_virtually(hold(budget_of(100, in_order=True), Bank(answers), worsts))
    assert held.done == [0]
    assert held.bank.billed == 60


def test_a_request_above_the_whole_cap_is_told_and_the_others_go_on() -> None:
    """It never could be paid; many in turn end the run."""
    held = run_virtually(hold(budget_of(10_000_000), Bank(answers), [20_000_000, 10, 10]))
    assert sorted(held.done) == [1, 2]
    assert isinstance(held.error, BudgetReached)
    assert held.error.message == (
        "--max-cost $0.01: $0.00000002 spent; a request may cost up to $0.02 (of 0 tokens in and "
        "20,000,000 out), for which there is no room"
    )
    assert held.error.hint == "set a lower --max-tokens, or raise --max-cost"
    pulled: list[int] = []

    def endless() -> Iterable[int]:
        while True:
            pulled.append(1)
            yield 11

    held = run_virtually(hold(budget_of(10), Bank(answers), endless()))
    assert isinstance(held.error, BudgetReached)
    assert not held.done
    assert len(pulled) < 150


def test_the_error_tells_what_was_spent_in_the_end() -> None:
    """What was in flight when room ran out counts, and what may have been billed stands apart."""
    cap = 50_000_000

    def script(n: int) -> Step:
        return Step("reset", takes_s=5) if n == 0 else Step(used=0.5)

    held = run_virtually(hold(budget_of(cap), Bank(script), [20_000_000] * 50, at_once=1))
    error = held.error
    assert isinstance(error, BudgetReached)
    assert error.message.startswith(
        "--max-cost $0.05: $0.02 spent, up to $0.02 more may have been billed; a request"
    )
    assert error.hint == "--resume goes on, with a --max-cost of its own"


def test_the_wait_for_room_holds_no_slot_and_uses_no_time() -> None:
    """Rows whose time is shorter than their wait are answered all the same, also where one waits
    to be tried again."""
    held = run_virtually(
        hold(
            budget_of(1_000),
            Bank(lambda n: Step(used=0.1, takes_s=8)),
            [600] * 5,
            at_once=8,
            timeout_s=10,
        )
    )
    assert sorted(held.done) == [0, 1, 2, 3, 4]
    assert held.bank.most_at_once == 1

    def script(n: int) -> Step:
        return Step("busy", takes_s=4) if n == 0 else Step(used=0.01, takes_s=8)

    held = run_virtually(hold(budget_of(1_000), Bank(script), [600] * 4, timeout_s=15))
    assert sorted(held.done) == [0, 1, 2, 3]
    assert held.bank.begun == 5


def test_a_stopped_run_waits_for_no_room() -> None:
    """Those that wait for money are left undone at once; what they waited for is given back."""
    held = run_virtually(
        hold(budget_of(1_000), Bank(lambda n: Step(takes_s=50)), [600] * 5, cancel_s=1)
    )
    assert not held.done
    assert held.budget.spent == held.budget.unseen == 600


def test_a_provider_that_counts_otherwise_is_learned_of() -> None:
    """The cap is passed by no more than the surplus of those that were under way then."""
    for at_once in (1, 5):
        bank = Bank(lambda n: Step(used=1.5))
        held = run_virtually(hold(budget_of(2_000), bank, [100] * 90, at_once=at_once))
        assert bank.most_at_once == at_once
        assert 1_800 <= bank.billed == held.budget.spent <= 2_000 + (2 * at_once - 1) * 50
        assert isinstance(held.error, BudgetReached)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 80)), min_size=1, max_size=5),
    st.integers(1, 200),
    st.integers(1, 5),
)
@settings(max_examples=80, deadline=None)
def test_racers_reserve_too(racers: list[tuple[float, int]], cap: int, wins: int) -> None:
    """Losers are cancelled in flight, and count in full; one without room leaves the race."""
    budget = budget_of(cap)

    async def main() -> tuple[Bank, list[RaceResult]]:
        clock = asyncio.get_running_loop().time
        bank = Bank(lambda n: Step(takes_s=racers[n % len(racers)][0]))
        call = reserved(attempting(bank.call, clock), budget, TERMS)

        def start(worst: int) -> Callable[[Callable[[], None]], asyncio.Future[Completion]]:
            return lambda lead: asyncio.ensure_future(call(request(worst)))

        starts = [start(worst) for _, worst in racers]
        return bank, await race(starts, wins=wins, clock=clock)

    bank, results = run_virtually(main())
    assert bank.billed <= budget.spent <= cap
    for result in results:
        refused = result.postponed is not None
        assert not refused or result.status == "cancelled"
    if all(worst > cap for _, worst in racers):
        assert all(isinstance(result.postponed, Postponed) for result in results)


def test_what_a_failed_attempt_counts_is_known_where_its_reply_says_so() -> None:
    """A refusal with usage costs that; one that was never billed costs nothing."""
    budget = budget_of(100)

    async def ask(error: ProviderError) -> None:
        async def fail(request: Request) -> Completion:
            raise error

        with pytest.raises(ProviderError):
            await reserved(attempting(fail), budget, TERMS)(request(50))

    counted = Rejected("filtered", status=200)
    counted.maybe_billed, counted.usage = True, Usage(0, 7)
    for error in (counted, Overloaded("busy", status=503), TimedOut("late")):
        asyncio.run(ask(error))
    assert (budget.spent, budget.unseen) == (57, 50)


@pytest.mark.parametrize(
    ("billionths", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (31_200_000, "$0.0312"),
        (500_000_000, "$0.50"),
        (1_234_567_890, "$1.235"),
        (12_345_678_901, "$12.35"),
        (1_234_000_000_000, "$1,234.00"),
    ],
)
def test_money_is_shown_with_digits_that_count(billionths: int, shown: str) -> None:
    """Small sums keep theirs."""
    assert in_usd(billionths) == shown
