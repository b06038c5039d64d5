"""The course of a run over time."""

import math
import random

from llmbatch_cli.report.sketch import MOST_POINTS, Timeline


def test_a_long_course_has_few_points() -> None:
    """Spans double until there is room; nothing is lost, in whatever order it comes."""
    course = Timeline()
    moments = list(range(1_000_000, 1_005_000))
    random.Random(1).shuffle(moments)
    for moment in moments:
        course.add(moment + 0.7, 1, 0, 3)
    points = course.points()
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS + 1
    assert [sum(column) for column in list(zip(*points, strict=True))[1:]] == [5_000, 0, 15_000]
    assert math.log2(course.width_s).is_integer()


def test_a_gap_is_seen() -> None:
    """A run that went on the next day has a span of zeros between its two parts."""
    course = Timeline()
    course.add(1_000, 1, 0, 0)
    course.add(90_000, 0, 1, 0)
    assert course.points() == [[1_000, 1, 0, 0], [1_001, 0, 0, 0], [90_000, 0, 1, 0]]
