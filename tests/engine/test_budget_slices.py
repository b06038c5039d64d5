"""Money in slices: what is spent and reserved is never more than what was granted."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.virtual_time import run_virtually

from llmbatch_cli.engine.bounds import Bounds
from llmbatch_cli.engine.budget import Budget, Reservation, WorstCase
from llmbatch_cli.engine.waits import Postponed


def worst(amount: int) -> WorstCase:
    return WorstCase(amount, Bounds(0, amount))


def waiting(budget: Budget, amount: int) -> "asyncio.Task[Reservation]":
    return asyncio.ensure_future(budget.reserve(worst(amount)))


def test_nothing_may_be_spent_until_some_is_granted() -> None:
    """A request waits, says what it needs, and goes when there is as much."""

    async def trial() -> None:
        budget = Budget(5, sliced=True)
        assert budget.try_reserve(worst(10)) is None
        large, small = waiting(budget, 300), waiting(budget, 100)
        await asyncio.sleep(1)
        assert (budget.granted, budget.committed, budget.needed) == (0, 0, 100)
        budget.grant(60)
        assert budget.needed == 40
        budget.grant(40)
        await asyncio.sleep(1)
        assert small.done()
        assert not large.done()
        assert (budget.committed, budget.needed) == (100, 300)
        budget.settle(small.result(), 30)
        assert budget.needed == 230
        budget.grant(230)
        assert await large
        assert (budget.granted, budget.committed, budget.needed) == (330, 330, 0)

    run_virtually(trial())


def test_in_turn_the_first_says_what_is_needed() -> None:
    """Where order matters, a smaller one does not pass."""

    async def trial() -> None:
        budget = Budget(5, sliced=True)
        budget.in_order = True
        first, second = waiting(budget, 300), waiting(budget, 100)
        await asyncio.sleep(1)
        budget.grant(150)
        await asyncio.sleep(1)
        assert budget.needed == 150
        assert not first.done()
        assert not second.done()
        budget.grant(150)
        assert await first
        second.cancel()

    run_virtually(trial())


def test_with_no_more_to_come_what_does_not_fit_is_postponed() -> None:
    """The error names the whole cap, and the run ends with it."""

    async def trial() -> None:
        budget = Budget(2, sliced=True)
        budget.grant(160)
        first = budget.try_reserve(worst(100))
        assert first is not None
        budget.settle(first, 60)
        large = waiting(budget, 300)
        await asyncio.sleep(1)
        assert not large.done()
        budget.left_for_all(budget.granted - budget.spent)
        with pytest.raises(Postponed) as postponed:
            await large
        assert "--max-cost $2.00" in str(postponed.value.reason)
        assert not postponed.value.ends  # another one may fit
        last = budget.try_reserve(worst(100))
        assert last is not None
        budget.settle(last, 100)
        budget.left_for_all(0)
        with pytest.raises(Postponed) as postponed:
            await budget.reserve(worst(101))
        assert postponed.value.ends

    run_virtually(trial())


def test_what_is_not_used_can_be_given_back() -> None:
    """All but what is spent or reserved, or down to a number."""
    budget = Budget(5, sliced=True)
    budget.grant(1_000)
    first, second = budget.try_reserve(worst(200)), budget.try_reserve(worst(300))
    assert first is not None
    assert second is not None
    budget.settle(first, 50)
    assert budget.give_back(600) == 400
    assert budget.give_back() == 250
    assert (budget.granted, budget.committed) == (350, 350)
    assert budget.give_back() == 0
    budget.settle(second, 0)
    assert budget.give_back() == 300
    assert (budget.granted, budget.spent) == (50, 50)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1), st.floats(0, 20)), max_size=40),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 900), st.booleans()), max_size=20),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_never_more_than_granted(
    rows: list[tuple[int, float, float]], slices: list[tuple[float, int, bool]], in_order: bool
) -> None:
    """Whatever is granted and given back when, whoever is cancelled; and each row either goes or
    is postponed once there is no more."""

    async def trial() -> None:
        budget = Budget(1, sliced=True)
        budget.in_order = in_order
        ended: list[int] = []

        async def row(amount: int, used: float, comes_s: float) -> None:
            await asyncio.sleep(comes_s)
            try:
                held = budget.try_reserve(worst(amount)) or await budget.reserve(worst(amount))
            except Postponed:
                ended.append(amount)
                return
            assert budget.committed <= budget.granted
            await asyncio.sleep(random.Random(amount).random())
            budget.settle(held, int(amount * used))
            ended.append(amount)

        async def coordinator() -> None:
            for wait_s, amount, gives_back in slices:
                await asyncio.sleep(wait_s)
                if gives_back:
                    before, given = budget.granted, budget.give_back(amount)
                    assert budget.granted == before - given
                else:
                    budget.grant(amount)
                assert 0 <= budget.committed <= budget.granted
            await asyncio.sleep(20)
            while len(ended) < len(rows):
                budget.left_for_all(budget.granted - budget.spent)
                await asyncio.sleep(1)

        await asyncio.gather(coordinator(), *(row(*one) for one in rows))
        assert len(ended) == len(rows)
        assert budget.committed == budget.spent <= budget.granted
        assert not budget.is_awaited

    run_virtually(trial())
