"""What one model would be asked, added up row by row."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Lane, Ledger
from llmbatch_cli.core.types import Request
from llmbatch_cli.estimate.asked import AskedModel
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.requests import PART, RequestTokens
from llmbatch_cli.estimate.vocabularies import Counting
from llmbatch_cli.pricing.attempts import longest_answer
from llmbatch_cli.pricing.price import MILLION, Price

NOTHING: Final = Range.exactly(0)
ASSUMED: Final = Range(64, 256, 1024)
"""Tokens of an answer of which nothing is known."""
ASSUMED_CHOICE: Final = Range(2, 8, 24)
"""Of one that is only a choice."""

PriceOf = Callable[[Lane | None], Price | None]
_Key = tuple[Lane | None, int, int]
"""The lane; whether it is the low, the likely or the high end; the step of the price."""


@frozen
class Row:
    """What one request would count."""

    input: Range
    output: Range
    parts: int = 0
    """Pictures, sounds and documents."""


class Line:
    """All rows of one model."""

    def __init__(
        self, asked: AskedModel, counting: Counting, price_of: PriceOf, answer: Range
    ) -> None:
        """
        Args:
            asked: the model.
            counting: how its tokens are counted.
            price_of: its price in a lane; None is unknown.
            answer: the tokens of one answer.
        """
        self.asked = asked
        self.counting = counting
        self.rows = 0
        self.refused = 0
        """Rows that it would not be sent."""
        self.refusal = ""
        """Why, of the first."""
        self.limited = 0
        """Rows whose answer has a longest length."""
        self.parts = 0
        """Pictures, sounds and documents."""
        self.lanes: set[Lane | None] = set()
        self._tokens = RequestTokens(counting.count)
        self.price_of = price_of
        self._answer = answer
        self._sums: dict[_Key, list[float]] = {}
        self._steps: dict[Lane | None, tuple[int, ...]] = {}

    @property
    def name(self) -> str:
        """`provider/model`."""
        return self.asked.model.name

    def row(self, request: Request) -> Row:
        """What a request would count."""
        text, parts = self._tokens.of(request)
        tokens = self.counting.factor.times(text)
        tokens = tokens + PART.times(parts) if parts else tokens
        return Row(tokens, self._output(request.ledger), parts)

    def _output(self, ledger: Ledger) -> Range:
        choices = ledger.params.get("n")
        likely = self._answer.times(choices) if isinstance(choices, int) else self._answer
        longest = longest_answer(ledger)
        if longest is None:
            return likely
        return likely.upto(longest) if self._answer == ASSUMED else likely.capped(longest)

    def add(self, request: Request) -> None:
        """Count a row."""
        row, lane = self.row(request), request.ledger.lane
        steps = self._steps.get(lane)
        if steps is None:
            self.lanes.add(lane)
            steps = self._steps[lane] = self._steps_of(lane)
        self.rows += 1
        self.parts += row.parts
        self.limited += longest_answer(request.ledger) is not None
        self._put((lane, 0, _step(steps, row.input.low)), row.input.low, row.output.low)
        self._put((lane, 1, _step(steps, row.input.likely)), row.input.likely, row.output.likely)
        self._put((lane, 2, _step(steps, row.input.high)), row.input.high, row.output.high)

    def _put(self, key: _Key, tokens: float, answer: float) -> None:
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0, 0.0, 0.0]
        sums[0] += 1
        sums[1] += tokens
        sums[2] += answer

    def _steps_of(self, lane: Lane | None) -> tuple[int, ...]:
        """The lengths of input from which on another price holds, descending."""
        prices = [self.price_of(lane), self.price_of("batch")]
        rates = [rate for price in prices if price for rate in (price.input, price.output)]
        return tuple(sorted({start for rate in rates for start, _ in rate.steps}, reverse=True))

    # Sums

    @property
    def input(self) -> Range:
        """Tokens of all prompts."""
        return self._sum(1)

    @property
    def output(self) -> Range:
        """Tokens of all answers."""
        return self._sum(2)

    def _sum(self, place: int) -> Range:
        ends = [0.0, 0.0, 0.0]
        for (_, end, _), sums in self._sums.items():
            ends[end] += sums[place]
        return Range(*ends).rounded()

    def cost(self, lane: Lane | None = None) -> Range | None:
        """US dollars in the lanes that rows ask for, or all in this one; None is unknown."""
        if lane is not None and self.price_of(lane) is None:
            return None
        ends = [Decimal(0)] * 3
        for (own, end, step), sums in self._sums.items():
            price = self.price_of(lane or own)
            if price is None:
                return None
            ends[end] += _cost(price, step + 1, sums)
        return Range(*map(float, ends))

    def prices(self) -> Mapping[Lane | None, Price | None]:
        """By the lanes that rows ask for."""
        return {lane: self.price_of(lane) for lane in self.lanes or {None}}


def _step(steps: tuple[int, ...], tokens: float) -> int:
    for start in steps:
        if tokens > start:
            return start
    return 0


def _cost(price: Price, length: int, sums: list[float]) -> Decimal:
    """Of many requests whose inputs are all on the step of this length."""
    rows, tokens, answer = sums
    spent = price.input.at(length) * round(tokens) + price.output.at(length) * round(answer)
    return spent / MILLION + price.request_usd * int(rows)
