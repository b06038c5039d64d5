"""Models whose quota is spent for hours, and the rows that only they could answer."""

from collections.abc import Sequence
from typing import Final

from llmbatch_cli.core.errors import QuotaSpent
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.types import Message
from llmbatch_cli.engine.calls import Model, stopped
from llmbatch_cli.engine.waits import Postponed

MOST_POSTPONED: Final = 1_000
"""After so many rows in turn that only wait for quotas, the run ends."""


class SpentQuotas:
    """What becomes of rows that only wait for a quota: they are left undone, for --resume.

    The run ends with the first of them, unless other rows may be answered by other models.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._told: set[str] = set()
        self._in_turn = 0

    def answered(self) -> None:
        """A row was answered."""
        self._in_turn = 0

    def tell(self, model: Model, error: QuotaSpent, messages: Sequence[Message], rest: str) -> None:
        """Say once that the model cannot answer for now, and what becomes of its rows."""
        if model.name not in self._told:
            self._told.add(model.name)
            reason = stopped(model.name, error, messages, None)
            self._observe(Notice(f"{reason.message} (hint: {reason.hint}): {rest}"))

    def leave(
        self,
        spent: Sequence[tuple[Model, QuotaSpent]],
        messages: Sequence[Message],
        *,
        others: bool,
    ) -> None:
        """Leave a row for another run, or end this one where no `others` go on.

        Raises Postponed or RunStopped, with the quota that is back first.
        """
        model, error = min(spent, key=lambda one: one[1].retry_after_s or 0.0)
        reason = stopped(model.name, error, messages, None)
        self._in_turn += 1
        if others and self._in_turn <= MOST_POSTPONED:
            raise Postponed(reason)
        raise reason
