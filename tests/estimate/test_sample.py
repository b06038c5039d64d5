"""From a few rows to all of them."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.estimate.sample import FEW, LEAST_FITTED, Point, projected


def point(expected: float, cost: float | None) -> Point:
    return Point(expected, None, None, cost, None, None)


def total(points: Sequence[Point], rows: int, mean: float) -> tuple[float, float, float] | None:
    found = projected(points, lambda one: one.cost, rows, mean)
    return None if found is None else (found.low, found.likely, found.high)


@given(
    st.lists(st.integers(1, 5000), min_size=LEAST_FITTED, max_size=200),
    st.data(),
    st.floats(0, 10),
    st.floats(0, 3),
)
def test_what_goes_with_the_estimate_is_projected_exactly(
    expected: Sequence[int], data: st.DataObject, frame: float, factor: float
) -> None:
    """Whatever rows were sent: the total is the true one, and the range is next to nothing."""
    size = data.draw(st.integers(LEAST_FITTED, len(expected)))
    truth = [frame + factor * one for one in expected]
    sent = [point(x, y) for x, y in zip(expected[:size], truth[:size], strict=True)]
    found = total(sent, len(expected), sum(expected) / len(expected))
    if len(set(expected[:size])) > 1 or len(set(expected)) == 1:
        assert found == pytest.approx((sum(truth),) * 3, rel=1e-6, abs=1e-3)


@given(st.lists(st.tuples(st.integers(1, 99), st.floats(0, 9)), min_size=1, max_size=40))
def test_all_rows_are_their_sum(rows: Sequence[tuple[int, float]]) -> None:
    """Where every row was sent nothing is projected."""
    sent = [point(x, y) for x, y in rows]
    assert total(sent, len(rows), 50) == (sum(y for _, y in rows),) * 3


@pytest.mark.parametrize("size", [FEW, 7, LEAST_FITTED, 30, 300])
def test_the_range_has_the_truth_in_it(size: int) -> None:
    """Nine times of ten or more, whatever rows are drawn, and however few."""
    draw = random.Random(size)
    rows = [point(draw.uniform(1, 50), draw.uniform(1, 99)) for _ in range(1000)]
    truth, mean = sum(one.cost or 0 for one in rows), sum(one.expected for one in rows) / 1000
    found = [total(draw.sample(rows, size), 1000, mean) for _ in range(200)]
    assert sum(one is not None and one[0] <= truth <= one[2] for one in found) >= 180


def test_more_rows_make_it_narrower() -> None:
    """The range shows how much a larger sample would help."""
    draw = random.Random(1)
    rows = [point(1, draw.uniform(1, 99)) for _ in range(1000)]
    widths = []
    for size in (FEW, 30, 300):
        found = total(rows[:size], 1000, 1)
        assert found is not None
        widths.append(found[2] - found[0])
    assert widths == sorted(widths, reverse=True)


def test_one_row_shows_little() -> None:
    """The half and the double, since nothing says how much rows differ."""
    assert total([point(5, 2.0)], 10, 5) == (10, 20, 40)


@pytest.mark.parametrize("points", [[], [point(1, 2.0), point(1, None)]])
def test_what_is_not_known_of_each_row_is_unknown(points: Sequence[Point]) -> None:
    """A row that was sent without saying what it cost makes the total unknown."""
    assert total(points, 10, 1) is None
