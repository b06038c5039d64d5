"""What a row has cost: every attempt of every model that was asked for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from llmbatch_cli.core.events import LeftUndone, Observer, ignore
from llmbatch_cli.core.ledger import Attempt, Ledger, MaybeBilled
from llmbatch_cli.core.types import Asking, Outcome, Prompt, Work
from llmbatch_cli.pricing.prices import Prices

if TYPE_CHECKING:
    from decimal import Decimal

UPWARD: Final = 2
"""By which the usual estimate of a prompt is multiplied, to be seldom too low."""

Tokens = Callable[[Prompt], int]
"""The usual estimate of a prompt's tokens: a fourth of its bytes."""


def priced(work: Asking, prices: Prices, tokens_of: Tokens, observe: Observer = ignore) -> Work:
    """The work, whose outcomes say what they have cost.

    `observe` is told what a row has cost that ends without an outcome.

    An outcome waits for a price that is still looked up. What was answered was paid for, so it is
    not lost where it is cancelled then: once it waits all the same, the second time its cost stays
    unknown.
    """

    async def work_and_price(prompt: Prompt) -> tuple[Outcome, ...]:
        ledgers = list(prompt.ledgers)
        try:
            outcomes = await work(prompt, ledgers)
        except (Exception, asyncio.CancelledError):
            if any(ledger.attempts for ledger in ledgers):
                undone = Outcome(prompt.index, prompt.id, None, None, ledgers=ledgers)
                await price_each((undone,), prices, lambda: tokens_of(prompt))
                attempts = [attempt for ledger in ledgers for attempt in ledger.attempts]
                cost_usd, maybe_billed = undone.cost_usd, undone.maybe_billed
                observe(LeftUndone(prompt.index, attempts, cost_usd, maybe_billed))
            raise
        await price_each(outcomes, prices, lambda: tokens_of(prompt))
        return outcomes

    return work_and_price


async def price_each(
    outcomes: Sequence[Outcome], prices: Prices, tokens: Callable[[], int]
) -> None:
    """Set what the outcomes have cost; `tokens` is the usual estimate of their prompt."""
    for outcome in outcomes:
        billed = prices.has_own
        for ledger in outcome.ledgers:
            billed = billed or not ledger.seller.free
            for attempt in ledger.attempts:
                attempt.cost_usd = 0
                billed = billed or bool(attempt.reported_usd)
        if billed:
            await _priced(outcome, prices, lambda: UPWARD * tokens())


async def cost_of(ledger: Ledger, prices: Prices) -> float | None:
    """US dollars for one request's attempts; None where nothing was sent, or any is unknown."""
    seen = [one for one in ledger.attempts if not one.is_unseen]
    costs = [await _cost(one, ledger, prices) for one in seen]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known)) if known and len(known) == len(costs) else None


async def _priced(outcome: Outcome, prices: Prices, prompt_tokens: Callable[[], int]) -> None:
    for _ in range(2):
        try:
            await _price(outcome, prices, prompt_tokens)
        except asyncio.CancelledError:
            _leave_unknown(outcome)
        else:
            return


def _leave_unknown(outcome: Outcome) -> None:
    attempts = [attempt for ledger in outcome.ledgers for attempt in ledger.attempts]
    unseen = 0
    for attempt in attempts:
        unseen += attempt.is_unseen
        attempt.cost_usd = 0 if attempt.is_unseen else None
    outcome.cost_usd = None
    outcome.maybe_billed = MaybeBilled(unseen) if unseen else None


async def _price(outcome: Outcome, prices: Prices, prompt_tokens: Callable[[], int]) -> None:
    """Where any part of the cost is unknown, all of it is."""
    from decimal import Decimal

    total, known = Decimal(0), True
    unseen: list[Decimal | None] = []
    for ledger in outcome.ledgers:
        for attempt in ledger.attempts:
            if attempt.is_unseen:
                most = attempt.up_to_usd
                if most is None:
                    most = await _most(ledger, prices, prompt_tokens)
                if most != 0:
                    unseen.append(most)
                attempt.cost_usd = 0
                continue
            attempt.cost_usd = cost = await _cost(attempt, ledger, prices)
            if cost is None:
                known = False
            else:
                total += cost
    outcome.cost_usd = total if known else None
    if unseen:
        estimates = [most for most in unseen if most is not None]
        up_to = sum(estimates, Decimal(0)) if len(estimates) == len(unseen) else None
        outcome.maybe_billed = MaybeBilled(len(unseen), up_to)


async def _cost(attempt: Attempt, ledger: Ledger, prices: Prices) -> "Decimal | int | None":
    """By the user's price, else as the provider reports it, else by the table."""
    from decimal import Decimal

    model = ledger.model.partition("/")[2]
    reported = attempt.reported_usd
    if attempt.kind is not None and attempt.usage is None and reported is None:
        return 0  # it failed, and was not billed
    if reported is not None and not prices.given_to(ledger.seller, model, attempt.served):
        return Decimal(repr(reported))
    price = await prices.of(ledger.seller, model, ledger.lane, served=attempt.served)
    return None if price is None else price.cost(attempt.usage)


async def _most(
    ledger: Ledger, prices: Prices, prompt_tokens: Callable[[], int]
) -> "Decimal | None":
    """The most that one attempt may have cost; None where that cannot be known."""
    model = ledger.model.partition("/")[2]
    price = await prices.of(ledger.seller, model, ledger.lane)
    if price is None:
        return None
    if price.is_free:
        return price.worst_case(0, 0)
    answer = longest_answer(ledger) or prices.limits_of(ledger.seller, model).answer_tokens
    if answer is None:
        return None
    counted = [one.usage.prompt_tokens or 0 for one in ledger.attempts if one.usage is not None]
    return price.worst_case(max(counted, default=0) or prompt_tokens(), answer)


def longest_answer(ledger: Ledger) -> int | None:
    """Tokens of the longest answer that was asked for, of all choices; None for no limit."""
    params = ledger.params
    most = params.get("max_completion_tokens", params.get("max_tokens"))
    choices = params.get("n")
    if not isinstance(most, int):
        return None
    return most * (choices if isinstance(choices, int) else 1)
