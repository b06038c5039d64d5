"""What a JSON schema promises of a table's columns."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llmbatch_cli.core.options import OutputOptions
from llmbatch_cli.rows.input.short_schema import schema_of_fields
from llmbatch_cli.rows.output.parquet import write_parquet
from llmbatch_cli.rows.output.schema_columns import ColumnType, SchemaColumns
from llmbatch_cli.rows.output.table import Choice, Columns

TEXT, INT, FLOAT, BOOL = map(ColumnType, ("text", "int", "float", "bool"))


def type_of(schema: Any) -> ColumnType | None:
    return SchemaColumns.of({"properties": {"x": schema}}).properties["x"]


def parquet_of(schema: Any, rows: list[Any]) -> tuple[pa.Table, list[str]]:
    """The table of rows with these data; None is a failed one."""
    error = {"type": "rejected", "message": "no"}
    made = [{"text": None, "data": one, "error": error if one is None else None} for one in rows]
    columns = Columns.of(made, Choice.of(OutputOptions(), schema)).columns()
    file = io.BytesIO()
    notes = write_parquet(file, columns, lambda: made)
    return pq.read_table(io.BytesIO(file.getvalue())), list(notes)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, TEXT),
        ({"type": ["integer", "null"]}, INT),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, FLOAT),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, FLOAT),
        ({"allOf": [{"type": "boolean"}]}, BOOL),
        ({"enum": ["a", "b", None]}, TEXT),
        ({"const": 3}, INT),
        ({"type": "array", "items": {"type": ["integer", "null"]}}, ColumnType("int", True)),
        ({"type": "array", "items": {"type": "object"}}, None),
        ({"type": "object"}, None),
        ({"type": ["string", "integer"]}, None),
        ({"$ref": "#/properties/x"}, None),
        ({"$ref": "http://x.invalid/"}, None),
        ({}, None),
        (True, None),
    ],
)
def test_a_property_has_one_type_or_its_values_decide(schema: Any, kind: Any) -> None:
    """Null does not count, and nothing is fetched or followed for ever."""
    assert type_of(schema) == kind


def test_schemas_of_classes_and_short_forms_are_understood() -> None:
    """References to definitions too, as of a nested class."""

    class Inner(BaseModel):
        n: int

    class Outer(BaseModel):
        name: str
        score: float | None = None
        tags: list[str]
        inner: Inner

    found = SchemaColumns.of(Outer.model_json_schema()).properties
    tags = ColumnType("text", is_list=True)
    assert found == {"name": TEXT, "score": FLOAT, "tags": tags, "inner": None}
    short = SchemaColumns.of(schema_of_fields("a, b int?, c x|y, d 1|2, e float[]")).properties
    assert [*short.values()] == [TEXT, INT, TEXT, INT, ColumnType("float", is_list=True)]


def test_one_of_several_objects_has_the_properties_of_all() -> None:
    """A property that has another type in each is decided by its values."""
    first = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    second = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    found = SchemaColumns.of({"$defs": {"s": second}, "anyOf": [first, {"$ref": "#/$defs/s"}]})
    assert found.properties == {"a": INT, "b": None}


def test_parquet_has_the_schemas_types_whatever_the_values() -> None:
    """Where every row failed, where none has a value, and where an integer is written as 3.0."""
    schema = schema_of_fields("a int, b float, c bool?, d str[], e float[]")
    types = ["int64", "double", "bool", "list<element: string>", "list<element: double>", "string"]
    for rows in ([None], [{"a": 3.0, "b": 1, "c": None, "d": [], "e": [1, None]}], []):
        table, notes = parquet_of(schema, rows)
        assert (table.column_names, notes) == ([*"abcde", "error"], [])
        assert [str(one) for one in table.schema.types] == types
    table, _ = parquet_of(schema, [{"a": 3.0, "b": 1}])
    assert table.to_pylist()[0]["a"] == 3


@pytest.mark.parametrize("value", [2**64, 0.5, "x", [1], {"y": 1}])
def test_a_value_that_does_not_fit_does_not_lose_the_table(value: Any) -> None:
    """Its column has the type of its values, which is said."""
    table, notes = parquet_of(schema_of_fields("a int"), [{"a": 1}, {"a": value}])
    assert table.num_rows == 2
    assert notes[0].startswith("the column a has values that are no int, so it is ")


def test_an_answer_that_is_no_object_has_its_type_too() -> None:
    """A list is the data, and not the text around it."""
    numbers = {"type": "array", "items": {"type": "number"}}
    table, _ = parquet_of(numbers, [[1, 2]])
    assert table.to_pylist() == [{"answer": [1.0, 2.0], "error": None}]
    assert str(parquet_of({"type": "integer"}, [None])[0].schema.types[0]) == "int64"


SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["string", "array", "#", "#/anyOf/0"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "allOf", "$ref", "enum"]),
            inner,
            max_size=4,
        )
    ),
)


@given(SCHEMAS)
def test_any_schema_is_read(schema: Any) -> None:
    """Whatever stands in it, also where it refers to itself."""
    SchemaColumns.of(schema)
    deep: Any = {"allOf": [{"$ref": "#"}] * 4, "properties": {"x": schema}}
    assert list(SchemaColumns.of(deep).properties) == ["x"]
