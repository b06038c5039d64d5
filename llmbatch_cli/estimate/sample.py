"""A whole input's figures, from those of a few of its rows that were really sent."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.pricing.price import Price

LEAST_FITTED: Final = 8
"""With fewer rows the mean is more certain than a line through them."""
FEW: Final = 3
"""With fewer rows nothing shows how much rows differ."""


@frozen
class Point:
    """One row that was sent."""

    expected: float
    """Its tokens of input as they were estimated."""
    input: float | None
    """None is unknown, as below."""
    output: float | None
    cost: float | None
    batch: float | None
    """What a batch API would have billed."""
    latency_s: float | None
    failed: bool = False
    """Whether it has no answer."""


def point_of(outcome: Outcome, expected: float, batch: Price | None) -> Point:
    """What a row has really used, with all its attempts."""
    attempts = [one for ledger in outcome.ledgers for one in ledger.attempts]
    used = [one for one in attempts if one.kind is None or one.usage is not None]
    at_batch = [None if batch is None else batch.cost(one.usage) for one in used]
    known = [one for one in at_batch if one is not None]
    return Point(
        expected,
        _sum([None if one.usage is None else one.usage.prompt_tokens for one in used]),
        _sum([None if one.usage is None else one.usage.completion_tokens for one in used]),
        outcome.cost,
        float(sum(known)) if len(known) == len(at_batch) and batch is not None else None,
        outcome.latency_s,
        outcome.error is not None,
    )


def _sum(counts: Sequence[int | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def projected(
    points: Sequence[Point],
    value: Callable[[Point], float | None],
    rows: int,
    mean_expected: float,
) -> Range | None:
    """The sum over all rows of what the points have; None where one of them does not know it.

    By a line through the points, where there are enough, which takes the estimates of the rows
    that were not sent into account; the range is that of its standard error. Where every row was
    sent it is the sum itself.
    """
    found = [value(one) for one in points]
    ys = [one for one in found if one is not None]
    if not ys or len(ys) < len(found):
        return None
    xs = [one.expected for one in points]
    count = len(ys)
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    slope = _slope(xs, ys, mean_x, mean_y) if count >= LEAST_FITTED else 0.0
    likely = max(0.0, mean_y + slope * (mean_expected - mean_x)) * rows
    if count >= rows:
        return Range.exactly(sum(ys))
    if count < FEW:
        return Range(likely / 2, likely, likely * 2)
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    unsent = (rows - count) / max(1, rows - 1)
    error = _standard_errors(count - 1) * math.sqrt(rest / (count - 1) / count * unsent) * rows
    return Range(min(likely, max(sum(ys), likely - error)), likely, likely + error)


def _standard_errors(freedom: int) -> float:
    """So many to either side, and 95 times of 100 the truth lies between: Student's t, to 2 %."""
    return 1.96 + 2.4 / freedom + 4.5 / freedom**2


def _slope(xs: Sequence[float], ys: Sequence[float], mean_x: float, mean_y: float) -> float:
    square = sum((x - mean_x) ** 2 for x in xs)
    if square == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / square
