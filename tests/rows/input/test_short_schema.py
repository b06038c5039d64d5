"""The short form of a schema."""

from typing import Any

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.engine.validate import fitting
from llmbatch_cli.rows.input.schemas import all_required, is_strict
from llmbatch_cli.rows.input.short_schema import schema_of_fields


def properties(text: str) -> dict[str, Any]:
    found: dict[str, Any] = schema_of_fields(text)["properties"]
    return found


def test_what_is_written_for_llm_means_the_same() -> None:
    """simonw/llm's own examples, but that no other property is allowed here."""
    assert schema_of_fields("name, age int, bio") == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "bio": {"type": "string"},
        },
        "required": ["name", "age", "bio"],
        "additionalProperties": False,
    }
    lines = "\n  name: the name, as it is written\n  weight float\n\n  alive bool: now\n  a str\n"
    assert properties(lines) == {
        "name": {"type": "string", "description": "the name, as it is written"},
        "weight": {"type": "number"},
        "alive": {"type": "boolean", "description": "now"},
        "a": {"type": "string"},
    }


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("a good|bad", {"type": "string", "enum": ["good", "bad"]}),
        ("a not good | bad", {"type": "string", "enum": ["not good", "bad"]}),
        ("a 1|2|3", {"type": "integer", "enum": [1, 2, 3]}),
        ("a int[]", {"type": "array", "items": {"type": "integer"}}),
        ("a x|y[]: z", {"type": "array", "items": {"type": "string", "enum": ["x", "y"]},
                        "description": "z"}),
        ("a str?", {"type": ["string", "null"]}),
        ("a? int", {"type": ["integer", "null"]}),
        ("a?", {"type": ["string", "null"]}),
        ("a x|y?", {"type": ["string", "null"], "enum": ["x", "y", None]}),
        ("a str[]?", {"type": ["array", "null"], "items": {"type": "string"}}),
    ],
)  # fmt: skip
def test_more_than_llm_has(field: str, schema: dict[str, Any]) -> None:
    """Enumerations, lists, and what may be missing."""
    assert properties(field) == {"a": schema}


def test_what_is_optional_may_be_missing_or_null() -> None:
    """But the `strict` mode has every property required, so it is sent so."""
    schema = schema_of_fields("a, b int?")
    fit = fitting(schema)
    assert [fit(value) for value in ({"a": ""}, {"a": "", "b": None}, {"a": "", "b": 1})]
    assert not is_strict(schema)
    assert is_strict(all_required(schema))
    assert all_required(schema)["required"] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a inte", "'inte', of the field 'a', is not a type", "did you mean int?"),
        ("a string", "'string'", "did you mean str?"),
        ("a list", "'list'", "did you mean str[]?"),
        ("a frobnicate", "'frobnicate'", "types are str, int, float, bool"),
        ("a int|str", "mixes types", "in a JSON schema"),
        ("a x||y", "an empty word", "as in"),
        ("a x|x", "a word twice", "as in"),
        ("a, a int", "'a int' is there twice", "as in"),
        (": nothing", "has no valid name", "as in"),
        ('["a"]', "has no valid name", "as in"),
        (" , ", "no field", "as in"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str, hint: str) -> None:
    """Nothing is taken for a string in silence."""
    with pytest.raises(UsageError) as caught:
        schema_of_fields(text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False, "not": {}},
        {"type": "object", "required": ["a"], "additionalProperties": False,
         "properties": {"a": {"anyOf": [{"type": "object"}]}}},
        True,
    ],
)  # fmt: skip
def test_a_schema_that_the_strict_mode_lacks_is_not_called_strict(schema: Any) -> None:
    """A server would refuse it."""
    assert not is_strict(schema)
