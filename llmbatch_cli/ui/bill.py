"""What rows have cost, added up."""

from typing import TYPE_CHECKING, Protocol

from llmbatch_cli.core.events import LeftUndone
from llmbatch_cli.core.ledger import MaybeBilled

if TYPE_CHECKING:
    from decimal import Decimal


class Ended(Protocol):
    """How a row has ended, whether with an outcome or without."""

    @property
    def cost_usd(self) -> "Decimal | int | None":
        """None is unknown."""

    @property
    def maybe_billed(self) -> MaybeBilled | None:
        """What may have been billed beside that."""


class Bill:
    """The sum of what rows have cost."""

    def __init__(self) -> None:
        self.cost_usd: Decimal | int = 0
        """Of all rows whose cost is known, exactly."""
        self.unknown_cost = 0
        """Rows whose cost is not known."""
        self.unseen_usd: Decimal | int = 0
        """The most that attempts may have cost which were perhaps billed unseen."""
        self.unseen = 0
        """Those attempts."""
        self.unknown_unseen = 0
        """Those of them whose most is not known."""

    def add_cost(self, row: Ended) -> None:
        """Add a row."""
        if row.cost_usd is None:
            self.unknown_cost += 1
        elif row.cost_usd:
            self.cost_usd += row.cost_usd
        if (unseen := row.maybe_billed) is not None:
            self.unseen += unseen.attempts
            if unseen.up_to_usd is None:
                self.unknown_unseen += unseen.attempts
            else:
                self.unseen_usd += unseen.up_to_usd


class Undone(Bill):
    """What rows have cost that were sent and have no outcome; they stand in no output."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        """Those of which something was billed, or may have been."""
        self.paid = 0
        """Those of them with a known cost."""
        self.attempts = 0
        """Their requests."""
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def add(self, row: LeftUndone) -> None:
        """Add a row; one that has cost nothing does not count."""
        if row.cost_usd == 0 and row.maybe_billed is None:
            return
        self.rows += 1
        self.paid += bool(row.cost_usd)
        self.attempts += len(row.attempts)
        self.add_cost(row)
        for attempt in row.attempts:
            if attempt.usage is not None:
                self.prompt_tokens += attempt.usage.prompt_tokens or 0
                self.completion_tokens += attempt.usage.completion_tokens or 0
