"""A cap on what a run costs: each request's worst case is reserved before it is sent.

Money is in whole billionths of a US dollar, rounded up, so that no sum drifts.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from llmbatch_cli.core.errors import BudgetReached
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Attempt, Ledger
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.bounds import Bounds
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.waits import Postponed

PER_USD: Final = 1_000_000_000
MOST_MISSES: Final = 100
"""After so many requests in turn that can never fit, the run ends."""


def in_billionths(usd: Decimal | float) -> int:
    """US dollars in billionths, rounded up."""
    return math.ceil(Decimal(str(usd)) * PER_USD)


def in_usd(billionths: int) -> str:
    """As in `$0.0312`: to the cent from ten dollars on, else with four digits that count."""
    usd = billionths / PER_USD
    if usd >= 10:
        return f"${usd:,.2f}"
    whole, _, part = f"{float(f'{usd:.4g}'):.9f}".partition(".")
    return f"${whole}.{part[:2]}{part[2:].rstrip('0')}"


@dataclass(slots=True, eq=False)
class Reservation:
    """Money that is held for one request."""

    amount: int


class Account:
    """What a run may spend: `spent` and `reserved` are never more than `cap` together."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.spent = 0
        self.reserved = 0

    @property
    def left(self) -> int:
        """What is not spent; some of it may be reserved."""
        return self.cap - self.spent

    def reserve(self, amount: int) -> Reservation | None:
        """Hold so much for one request; None where there is no room now."""
        if amount > self.left - self.reserved:
            return None
        return self.hold(amount)

    def hold(self, amount: int) -> Reservation:
        """The same whether there is room or not."""
        self.reserved += amount
        return Reservation(amount)

    def settle(self, reservation: Reservation, spent: int) -> None:
        """The request has ended, and has cost so much."""
        self.reserved -= reservation.amount
        self.spent += spent


@frozen
class WorstCase:
    """The most that one request may cost."""

    amount: int
    bounds: Bounds


class Budget:
    """The account of a run, and who waits there for room.

    A request that fits is sent at once; one that may fit once others have ended waits; one that
    never will is postponed, for another run. The run ends with it where what is left is less than
    what any request so far has needed, or where order matters.

    One that is sliced begins with nothing, and may spend what is granted: who does not fit waits
    until more is, or until that is more than what is `left_for_all`. All amounts are in
    billionths of a US dollar.
    """

    def __init__(self, cap_usd: Decimal | float, *, sliced: bool = False) -> None:
        self.in_order = False
        """Whether those that wait take turns; otherwise a smaller one may pass a larger one."""
        self.unseen = 0
        """The part of what is spent that may have been billed, and that no reply has said."""
        self._whole = in_billionths(cap_usd)
        self._account = Account(0 if sliced else self._whole)
        self._most: int | None = None
        """What may be spent yet, with what others hold; None is unknown."""
        self._is_sliced = sliced
        self._waiters: dict[asyncio.Future[Reservation], WorstCase] = {}
        self._smallest: int | None = None
        """Of the amounts that were reserved."""
        self._misses = 0
        self._refused: WorstCase | None = None
        """The largest that did not fit."""
        self._reached: BudgetReached | None = None

    @property
    def cap_usd(self) -> float:
        """The most that may be spent, in US dollars."""
        return self._whole / PER_USD

    @property
    def has_begun(self) -> bool:
        """Whether anything was reserved yet."""
        return self._smallest is not None

    @property
    def is_awaited(self) -> bool:
        """Whether a request waits for room."""
        return bool(self._waiters)

    @property
    def spent(self) -> int:
        """What has been spent, with what may have been billed unseen."""
        return self._account.spent

    @property
    def granted(self) -> int:
        """What may be spent, with what is spent already."""
        return self._account.cap

    @property
    def committed(self) -> int:
        """What is spent or reserved: never more than what is granted, unless a provider bills more
        than it may."""
        return self._account.spent + self._account.reserved

    @property
    def needed(self) -> int:
        """How much more has to be granted for one more request, of those that wait; 0 for none.

        That is the next one where they take turns, else the smallest.
        """
        amounts = [worst.amount for worst in self._waiters.values()]
        if not amounts:
            return 0
        amount = amounts[0] if self.in_order else min(amounts)
        return max(0, amount - (self.granted - self.committed))

    def grant(self, amount: int) -> None:
        """So much more may be spent."""
        self._account.cap += amount
        self._admit()

    def give_back(self, granted: int = 0) -> int:
        """Have no more than this granted, as far as it is not spent or reserved; returns how much
        less that is than before."""
        account = self._account
        given = max(0, account.cap - max(granted, self.committed))
        account.cap -= given
        return given

    def left_for_all(self, amount: int) -> None:
        """So much may be spent yet by all who share the cap: what needs more is postponed."""
        self._most = amount
        self._admit()

    def try_reserve(self, worst: WorstCase) -> Reservation | None:
        """Reserve at once, or None: the fast path for what need not wait."""
        return None if self.in_order and self._waiters else self._reserve(worst)

    def hold(self, amount: int) -> None:
        """Reserve what was sent by an earlier run, whether there is room for it or not."""
        self._account.hold(amount)

    async def reserve(self, worst: WorstCase) -> Reservation:
        """Wait for room. Raises Postponed where there will be none.

        Pass the reservation to `settle`, once, whatever happens.
        """
        if self._never_fits(worst):
            raise self.no_room(worst)
        waiter: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = worst
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.settle(waiter.result(), 0)
            else:
                self._waiters.pop(waiter, None)
                self._admit()
            raise

    def settle(self, reservation: Reservation, spent: int, unseen: int = 0) -> None:
        """The request has ended and has cost so much, and, beside that, up to `unseen`."""
        self._account.settle(reservation, spent + unseen)
        self.unseen += unseen
        self._admit()
        self._tell()

    def _reserve(self, worst: WorstCase) -> Reservation | None:
        reservation = self._account.reserve(worst.amount)
        if reservation is not None:
            self._misses = 0
            if self._smallest is None or worst.amount < self._smallest:
                self._smallest = worst.amount
        return reservation

    def _admit(self) -> None:
        """Give room to those that wait, and end the wait of those that will get none."""
        for waiter, worst in list(self._waiters.items()):
            reservation = None if waiter.done() else self._reserve(worst)
            if reservation is not None:
                waiter.set_result(reservation)
            elif waiter.done() or self._never_fits(worst):
                if not waiter.done():
                    waiter.set_exception(self.no_room(worst))
            elif self.in_order:
                break
            else:
                continue
            del self._waiters[waiter]

    def _never_fits(self, worst: WorstCase) -> bool:
        left = self._left
        return left is not None and worst.amount > left

    @property
    def _left(self) -> int | None:
        """What may be spent yet by anybody; None is unknown."""
        return self._most if self._is_sliced else self._account.left

    def no_room(self, worst: WorstCase) -> Postponed:
        """Why a request is left undone that does not fit."""
        self._misses += 1
        if self._refused is None or worst.amount > self._refused.amount:
            self._refused = worst
        self._reached = self._reached or BudgetReached("")
        self._tell()
        spare = self._smallest is None or self._smallest <= (self._left or 0)
        is_over = self.in_order or self._misses > MOST_MISSES or not spare
        return Postponed(self._reached, ends=is_over)

    def _tell(self) -> None:
        """Have the error say how it stands now: what is in flight is still to be paid."""
        reached, refused = self._reached, self._refused
        if reached is None or refused is None:
            return
        bounds, seen = refused.bounds, self.spent - self.unseen
        unseen = f", up to {in_usd(self.unseen)} more may have been billed" if self.unseen else ""
        reached.message = (
            f"--max-cost {in_usd(self._whole)}: {in_usd(seen)} spent{unseen}; a request may "
            f"cost up to {in_usd(refused.amount)} (of {bounds.input_tokens:,} tokens in and "
            f"{bounds.output_tokens or 0:,} out), for which there is no room"
        )
        if refused.amount > self._whole:
            reached.hint = "set a lower --max-tokens, or raise --max-cost"
        else:
            reached.hint = "--resume goes on, with a --max-cost of its own"


@frozen
class Terms:
    """What one model's requests cost."""

    worst_case: Callable[[Request], WorstCase]
    """Raises Unsent where there is none, and UsageError where no row will have one."""
    cost: Callable[[Attempt, Ledger], int | None]
    """Of an attempt, by its reply; None where that is unknown."""
    exceeded: Callable[[int, int], None] = lambda spent, reserved: None
    """Is told of a request that has cost more than its worst case."""


def billed(attempts: Iterable[Attempt], ledger: Ledger, terms: Terms, most: int) -> tuple[int, int]:
    """What the attempts have cost, and what they may have cost beside that: `most` for each of
    which no reply says it."""
    spent = unseen = 0
    for attempt in attempts:
        if not attempt.maybe_billed:
            continue
        cost = None if attempt.is_unseen else terms.cost(attempt, ledger)
        if cost is None:
            attempt.up_to_usd = Decimal(most) / PER_USD
            unseen += most
        else:
            spent += cost
    return spent, unseen


def reserved(
    call: Call,
    budget: Budget,
    terms: Terms,
    deadlines: Deadlines | None = None,
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Call:
    """The call, begun when its worst case is reserved; inside `retried`, around `admitted`.

    The time of `deadlines` does not run while it waits. Each wait is inside of `waiting`. What
    may have been billed, and no reply says so, counts with its worst case. Once a request has
    cost more than its own, for a provider that counts otherwise, more is reserved for the others.
    """
    factor = 1.0

    async def within_budget(request: Request) -> Completion:
        nonlocal factor
        expected = terms.worst_case(request)
        worst = WorstCase(math.ceil(expected.amount * factor), expected.bounds)
        reservation = budget.try_reserve(worst)
        if reservation is None:
            paused = nullcontext() if deadlines is None else deadlines.paused()
            with paused, waiting():
                reservation = await budget.reserve(worst)
        attempts = request.ledger.attempts
        before = len(attempts)
        try:
            return await call(request)
        finally:
            spent, unseen = billed(attempts[before:], request.ledger, terms, worst.amount)
            if spent > worst.amount > 0:
                terms.exceeded(spent, worst.amount)
                factor = max(factor, spent / expected.amount)
            budget.settle(reservation, spent, unseen)

    return within_budget
