"""Every row of an input, counted under the models that it would be asked of."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import cache
from typing import Final

from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.ledger import Lane
from llmbatch_cli.core.types import BadRow, Prompt, Request
from llmbatch_cli.core.types import Row as InputRow
from llmbatch_cli.engine.calls import built
from llmbatch_cli.estimate.asked import AskedModel, Asking
from llmbatch_cli.estimate.lines import Line
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.vocabularies import counting_of
from llmbatch_cli.pricing.price import Price
from llmbatch_cli.pricing.prices import Prices

YIELD_EVERY: Final = 256
SHOWN: Final = 3
"""Reasons of invalid rows that are kept."""

IsDone = Callable[[InputRow], Awaitable[bool]]


class Estimator:
    """Counts rows under each model of a run."""

    def __init__(self, asking: Asking, names: Sequence[str], prices: Prices, answer: Range) -> None:
        """
        Args:
            asking: what is asked.
            names: the models, each of which would be asked every row that names none.
            prices: what they cost.
            answer: the tokens of one answer.

        Raises UsageError for a model that cannot be called.
        """
        self.rows = 0
        self.invalid = 0
        """Rows that cannot be read, or be sent to any of the models."""
        self.done = 0
        """Rows whose answers are there already."""
        self.reasons: list[str] = []
        """Of the first invalid ones."""
        self.prices = prices
        self._answer = answer
        self.lines = [self._line(asking.of(name)) for name in names]
        self.own_lines: dict[str, Line] = {}
        """Those of models that rows name, by that name."""
        self._of_rows = asking.at_home_of(self.lines[0].asked)

    def _line(self, asked: AskedModel) -> Line:
        asked.check()
        model = asked.model
        self.prices.given_to(model.seller, model.id)  # those that fit no model are told

        @cache
        def price_of(lane: Lane | None) -> Price | None:
            price = self.prices.look_up(model.seller, model.id, lane)
            is_listed = price is not None and price.source == "table"
            return price if is_listed or lane != "batch" else None

        return Line(asked, counting_of(model.id), price_of, self._answer)

    def all_lines(self) -> Iterator[Line]:
        """Of the run's models, then of the rows' own."""
        yield from self.lines
        yield from self.own_lines.values()

    async def read(
        self, rows: AsyncGenerator[InputRow, None], is_done: IsDone | None = None
    ) -> None:
        """Count all rows."""
        async with aclosing(rows):
            async for row in rows:
                self.rows += 1
                if self.rows % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                if is_done is not None and await is_done(row):
                    self.done += 1
                elif isinstance(row, BadRow):
                    self._invalid(row, row.reason)
                else:
                    self._add(row)

    def _add(self, row: Prompt) -> None:
        sent, reason = False, ""
        try:
            lines = self.lines_of(row)
        except UsageError as error:
            self._invalid(row, error.message)
            return
        for line in lines:
            try:
                line.add(request_of(row, line))
                sent = True
            except ProviderError as error:
                line.refused += 1
                line.refusal = line.refusal or f"{row.place}: {error.message}"
                reason = reason or error.message
        if not sent:
            self._invalid(row, reason)

    async def expected(
        self, rows: AsyncGenerator[InputRow, None], line: Line
    ) -> Mapping[int, tuple[Line, float]]:
        """By the index of each row that can be sent, its model and likely tokens of input.

        `line`: the model of rows that name none.
        """
        found: dict[int, tuple[Line, float]] = {}
        async with aclosing(rows):
            async for row in rows:
                if isinstance(row, BadRow):
                    continue
                with suppress(UsageError, ProviderError):
                    (of,) = self.lines_of(row) if row.model is not None else (line,)
                    found[row.index] = (of, of.row(request_of(row, of)).input.likely)
        return found

    def lines_of(self, row: Prompt) -> Sequence[Line]:
        """The models that the row would be asked of. Raises UsageError."""
        if row.model is None:
            return self.lines
        own = self.own_lines.get(row.model)
        if own is None:
            own = self.own_lines[row.model] = self._line(self._of_rows.of(row.model))
        return [own]

    def _invalid(self, row: InputRow, reason: str) -> None:
        self.invalid += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append(f"{row.place}: {reason}")


def request_of(row: Prompt, line: Line) -> Request:
    """The row's request. Raises ProviderError for one that cannot be sent."""
    request = line.asked.request(row)
    built(line.asked.build, request)
    return request
