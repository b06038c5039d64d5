"""How long an answer is by its schema."""

from typing import Any

import pytest

from llmbatch_cli.core.options import Answers
from llmbatch_cli.estimate.closed import answer_of
from llmbatch_cli.estimate.ranges import Range
from llmbatch_cli.plans import shape_asked


def schema_of(short: str) -> Any:
    shape = shape_asked(Answers(schema=short))
    assert shape is not None
    return shape.schema


def test_labels_are_as_long_as_the_longest_of_them() -> None:
    """`{"sentiment": "positive", "urgent": false}` is 10 to 12 tokens by o200k, 16
    if indented, 20 in a code fence as well."""
    found = answer_of(schema_of("sentiment positive|negative|neutral, urgent bool"))
    assert found == Range(10, 15, 29)


@pytest.mark.parametrize("short", ["name", "mood good|bad, why str", "tags good|bad[]"])
def test_a_text_or_a_list_may_be_of_any_length(short: str) -> None:
    assert answer_of(schema_of(short)) is None


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object"},
        {"enum": []},
        {"type": "object", "properties": {"a": {"type": "boolean"}}},
        {"properties": {"a": {"$ref": "#/x"}}, "additionalProperties": False},
    ],
)
def test_what_is_not_closed_is_not_known(schema: Any) -> None:
    assert answer_of(schema) is None


def test_numbers_nulls_and_objects_within() -> None:
    inner = {"properties": {"n": {"type": ["integer", "null"]}}, "additionalProperties": False}
    found = answer_of({"properties": {"o": inner, "x": inner}, "additionalProperties": False})
    assert found is not None
    assert found.low < found.likely < found.high
