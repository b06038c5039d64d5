"""--max-cost for jobs: the worst case of each row is held until its job is read."""

import math
from collections.abc import Callable
from pathlib import Path

from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.core.types import Request
from llmbatch_cli.drivers.provider_batch.spool import Spooled, rows_in
from llmbatch_cli.engine.budget import Budget, Reservation, Terms, WorstCase, billed


class Purse:
    """What one model's rows may cost, of the budget that all models share.

    What a row holds is written beside it (`Spooled.held`), so that whoever reads the job knows.
    """

    def __init__(self, budget: Budget, terms: Terms, requested: Callable[[Spooled], Request]):
        """`requested`: the row as it is sent. Raises ProviderError and UsageError."""
        self._budget = budget
        self._terms = terms
        self._requested = requested
        self._factor = 1.0
        """How much dearer than its worst case a row was, for a provider that counts otherwise."""

    def hold(self, row: Spooled) -> None:
        """Hold the row's worst case. Raises Postponed where there is no room now, Unsent for what
        has no bound, and UsageError as ModelTerms.worst_case does."""
        try:
            request = self._requested(row)
        except (ProviderError, UsageError):
            return  # its outcome will say so
        expected = self._terms.worst_case(request)
        worst = WorstCase(math.ceil(expected.amount * self._factor), expected.bounds)
        if self._budget.try_reserve(worst) is None:
            raise self._budget.no_room(worst)
        row.held = worst.amount

    def give_back(self, row: Spooled) -> None:
        """The row goes into no job after all."""
        if row.held is not None:
            self._budget.settle(Reservation(row.held), 0)
            row.held = None

    def settle(self, row: Spooled, ledger: Ledger) -> None:
        """The row has come back from a job; what is new in its ledger has cost something."""
        held = self._held(row)
        spent, unseen = billed(ledger.attempts[len(row.attempts) :], ledger, self._terms, held)
        if spent > held > 0:
            self._terms.exceeded(spent, held)
            self._factor = max(self._factor, spent / held)
        self._budget.settle(Reservation(held), spent, unseen)

    def held_in(self, path: Path) -> int:
        """What the rows of an open job hold, some seconds a million rows."""
        return sum(map(self._held, rows_in(path)))

    def hold_all(self, amount: int) -> None:
        """Hold what an open job may still cost, whether there is room for it or not."""
        self._budget.hold(amount)

    def _held(self, row: Spooled) -> int:
        if row.held is not None:
            return row.held
        try:  # of a run without a cap
            return self._terms.worst_case(self._requested(row)).amount
        except (ProviderError, UsageError):
            return 0
