"""Whether an answer has the form that its request requires."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.engine.validate import mismatch


def told(schema: Any, value: Any) -> str | None:
    """What is wrong with this value as an answer."""
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return mismatch(orjson.dumps(value).decode(), {"response_format": asked})


@pytest.mark.parametrize(
    ("schema", "value", "place"),
    [
        ({"required": ["a"]}, {}, "$"),
        ({"properties": {"a": {"items": {"enum": ["x"]}}}}, {"a": ["x", "y"]}, "$.a[1]"),
        ({"type": "integer"}, 1.5, "$"),
        ({"type": "string", "pattern": "^(?=a).b$"}, "bb", "$"),
        ({"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}, 1, "$"),
        (False, 1, "$"),
    ],
)
def test_the_first_place_that_does_not_fit_is_named(schema: Any, value: Any, place: str) -> None:
    """By its path in the answer."""
    assert told(schema, value) == f"the answer does not fit its schema: {place}"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": "x", "b": 1}),
        ({"type": "string", "pattern": "^(?=a).b$"}, "ab"),
        (True, None),
    ],
)
def test_what_fits_is_right(schema: Any, value: Any) -> None:
    """Nothing is said of it."""
    assert told(schema, value) is None


@pytest.mark.parametrize(
    "schema",
    [{"type": "strin"}, {"pattern": "("}, {"$ref": "#/nope"}, 3, {"$ref": "http://x.invalid/"},
     {"$ref": "file:///etc/passwd"}],
)  # fmt: skip
def test_an_invalid_schema_is_left_to_the_provider(schema: Any) -> None:
    """As is one with a reference to elsewhere, which is not fetched."""
    assert told(schema, 1) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=a)(a+)+$", "^(a|aa)+$", "^(?=a)(a|a?)+$"])
def test_no_pattern_stalls_the_run(pattern: str) -> None:
    """A checker that looks back without end would take longer than the universe."""
    assert told({"type": "string", "pattern": pattern}, "a" * 100 + "!") is not None


@pytest.mark.parametrize("text", ['{"a": 1', "", "nothing"])
def test_what_is_no_json_is_told(text: str) -> None:
    """Whatever the schema says."""
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": True}}
    assert mismatch(text, {"response_format": asked}) == "the answer is not JSON"
