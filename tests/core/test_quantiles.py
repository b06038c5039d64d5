"""Percentiles and histograms of many numbers."""

import random

import pytest

from llmbatch_cli.core.quantiles import Quantiles


def quantiles(values: list[float], exact_values: int = 100_000) -> Quantiles:
    found = Quantiles(exact_values)
    for value in values:
        found.add(value)
    return found


def test_few_values_have_exact_percentiles() -> None:
    """Each percentile is one of the values: the one at its rank."""
    found = quantiles([float(value) for value in range(100)])
    assert found.at(0, 0.5, 0.9, 0.99, 1) == [0, 50, 90, 99, 99]
    assert found.is_exact


def test_many_values_have_percentiles_to_half_a_per_cent() -> None:
    """Beyond what is kept, every percentile is within 0.5 % of the exact one; the maximum too."""
    draw = random.Random(3)
    values = [draw.lognormvariate(0, 1.5) for _ in range(5_000)] + [0.0]
    exact, binned = quantiles(values), quantiles(values, 100)
    assert not binned.is_exact
    shares = [place / 100 for place in range(1, 101)]
    for true, near in zip(exact.at(*shares), binned.at(*shares), strict=True):
        assert true is not None
        assert near == pytest.approx(true, rel=0.0051)


def test_nothing_has_no_percentiles() -> None:
    """What is unknown is None, and its histogram is empty."""
    found = Quantiles()
    assert found.at(0.5) == [None]
    assert found.histogram()["counts"] == []


@pytest.mark.parametrize("exact_values", [100_000, 10])
@pytest.mark.parametrize(
    "values", [[0.0], [2.0] * 5, [0.001, 0.0012], [1.0, 2.0, 3.0, 500.0] * 50, [1e-9, 1e9]]
)
def test_a_histogram_has_every_value(values: list[float], exact_values: int) -> None:
    """Whatever the values, the bars add up to their number, and there are not too many."""
    found = quantiles(values, exact_values).histogram()
    assert sum(found["counts"]) == len(values)
    assert 1 <= len(found["counts"]) <= 40
    assert len(found["edges"]) == len(found["counts"]) + (not found["is_open"])
    assert found["edges"] == sorted(found["edges"])


def test_values_stand_in_their_bars() -> None:
    """A value is between the edges of its bar; one far beyond the others is in the open one."""
    found = quantiles([0.1, 0.3, 0.31, 0.9] * 100 + [50.0]).histogram()
    assert found["is_open"]
    assert found["counts"][-1] == 1
    heights = dict(zip(found["edges"], found["counts"], strict=True))
    assert sum(count for edge, count in heights.items() if 0.25 <= edge <= 0.31) == 200
