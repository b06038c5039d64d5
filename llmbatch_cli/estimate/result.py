"""An estimate as it is shown: a line a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Limits
from llmbatch_cli.estimate.lines import Line
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.estimate.sample import Point, projected

TOKENS_A_SECOND: Final = Range(25, 50, 100)
"""How fast one answer comes, where nothing is known: with -c alone, the time rests on it."""


@frozen(kw_only=True)
class Estimated:
    """One model's figures; None is unknown."""

    model: str
    rows: int
    input: Range
    output: Range
    cost: Range | None
    batch: Range | None
    """At its batch API."""
    time_s: Range | None
    prices: Mapping[str, Any]
    """US dollars a million tokens, by the lane."""
    counted: str
    """How its tokens are counted."""
    sampled: int | None = None
    """Rows that were sent, from which the figures are projected."""
    failed: int = 0
    """Those of them that have no answer."""
    spent: float | None = None
    """US dollars for those rows."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        provider, _, model = self.model.partition("/")
        ranges = {
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cost_usd": self.cost,
            "batch_cost_usd": self.batch,
            "time_s": self.time_s,
        }
        found: dict[str, Any] = {
            "model": model,
            "provider": provider,
            "rows": self.rows,
            **{name: one and one.as_json() for name, one in ranges.items()},
            "prices": self.prices,
            "counted": self.counted,
        }
        if self.sampled is not None:
            found["sample"] = {
                "rows": self.sampled,
                "failed": self.failed,
                "cost_usd": self.spent,
            }
        return found


def estimated(line: Line, limits: Limits, points: Sequence[Point] = ()) -> Estimated:
    """The line's figures, projected from these rows where any were sent."""
    tokens, answers, cost, batch = line.input, line.output, line.cost(), line.cost("batch")
    latency_s = None
    if points:
        rows, mean = line.rows, tokens.likely / max(1, line.rows)
        tokens = projected(points, lambda one: one.input, rows, mean) or tokens
        answers = projected(points, lambda one: one.output, rows, mean) or answers
        cost = projected(points, lambda one: one.cost, rows, mean)
        batch = projected(points, lambda one: one.batch, rows, mean)
        tokens, answers = tokens.rounded(), answers.rounded()
        latency_s = projected(points, lambda one: one.latency_s, rows, mean)
    return Estimated(
        model=line.name,
        rows=line.rows,
        input=tokens,
        output=answers,
        cost=cost,
        batch=batch,
        time_s=time_at(limits, line.rows, tokens + answers, latency_s or _answering(answers)),
        prices=_prices(line),
        counted=line.counting.said,
        sampled=len(points) or None,
        failed=sum(one.failed for one in points),
        spent=_spent(points),
    )


def _spent(points: Sequence[Point]) -> float | None:
    costs = [one.cost for one in points if one.cost is not None]
    return sum(costs) if points and len(costs) == len(points) else None


def _answering(answers: Range) -> Range:
    """Seconds that all answers take, one after the other."""
    slowest = TOKENS_A_SECOND
    return Range(
        answers.low / slowest.high, answers.likely / slowest.likely, answers.high / slowest.low
    )


def time_at(limits: Limits, rows: int, tokens: Range, answering_s: Range) -> Range | None:
    """Seconds for all rows at the limits that are set; None without any.

    `answering_s`: the time of all requests, one after the other.
    """
    found: list[Range] = []
    if limits.rpm is not None:
        found.append(Range.exactly(rows / limits.rpm * 60))
    if limits.tpm is not None:
        found.append(tokens.times(60 / limits.tpm))
    if limits.concurrency is not None:
        found.append(answering_s.times(1 / max(1, min(limits.concurrency, rows))))
    if not found:
        return None
    return Range(
        max(one.low for one in found),
        max(one.likely for one in found),
        max(one.high for one in found),
    )


def _prices(line: Line) -> Mapping[str, Any]:
    lanes = {**line.prices(), "batch": line.price_of("batch")}
    return {
        lane or "usual": price
        and {"input": float(price.input.base), "output": float(price.output.base)}
        for lane, price in lanes.items()
    }
