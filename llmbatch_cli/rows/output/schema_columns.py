"""The columns that a JSON schema of answers promises, each with its type. No I/O.

The schema may come from a stranger: only so much of it is looked at, and no reference is fetched.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.frozen import frozen

MOST_STEPS: Final = 10_000
"""Parts of a schema that are looked at."""
MOST_DEEP: Final = 32

_NAMES: Final = {"boolean": "bool", "integer": "int", "number": "float", "string": "text"}
_EITHER: Final = ("anyOf", "oneOf", "allOf")


@frozen
class ColumnType:
    """The type of a column's values; each may be null."""

    name: str
    """bool, int, float or text; of the items where it is a list."""
    is_list: bool = False

    def __str__(self) -> str:
        return f"lists of {self.name}" if self.is_list else self.name


@frozen
class SchemaColumns:
    """What a schema says of the answers."""

    properties: Mapping[str, ColumnType | None]
    """Of an object, in their order; None is a type that the values decide, as of an object."""
    whole: ColumnType | None = None
    """The type of an answer that is no object."""

    @classmethod
    def of(cls, schema: Any) -> "SchemaColumns":
        """What this schema says; nothing for None."""
        reader = _Reader(schema)
        properties: dict[str, ColumnType | None] = {}
        for name, declared in reader.properties(schema, 0):
            kind = reader.type_of(declared, 0)
            again = name in properties and properties[name] != kind
            properties[name] = None if again else kind
        return cls(properties, None if properties else reader.type_of(schema, 0))


class _Reader:
    """Reads one schema, whose references are to places in it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def properties(self, schema: Any, depth: int) -> Iterator[tuple[str, Any]]:
        """The properties of an object of this schema, or of one of several that it may be."""
        schema = self._at(schema, depth)
        own = schema.get("properties")
        if isinstance(own, Mapping):
            yield from own.items()
        for one in _alternatives(schema):
            yield from self.properties(one, depth + 1)

    def type_of(self, schema: Any, depth: int) -> ColumnType | None:
        """The one type that all values of this schema have; None where there is none."""
        schema = self._at(schema, depth)
        if "type" in schema:
            found = self._declared(schema, depth)
        elif "enum" in schema or "const" in schema:
            listed = schema.get("enum", [schema.get("const")])
            values = listed if isinstance(listed, list) else ()
            found = [_type_of_value(one) for one in values if one is not None]
        else:
            some = [self._at(one, depth + 1) for one in _alternatives(schema)]
            found = [self.type_of(one, depth + 1) for one in some if one.get("type") != "null"]
        return _common(found)

    def _declared(self, schema: Mapping[str, Any], depth: int) -> list[ColumnType | None]:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return [self._one(kind, schema, depth) for kind in kinds if kind != "null"]

    def _one(self, kind: Any, schema: Mapping[str, Any], depth: int) -> ColumnType | None:
        if kind != "array":
            name = _NAMES.get(kind) if isinstance(kind, str) else None
            return None if name is None else ColumnType(name)
        item = self.type_of(schema.get("items"), depth + 1)
        return None if item is None or item.is_list else ColumnType(item.name, is_list=True)

    def _at(self, schema: Any, depth: int) -> Mapping[str, Any]:
        """The schema, or the one that it refers to; an empty one where it is too much."""
        for _ in range(MOST_DEEP):
            self._steps += 1
            if depth > MOST_DEEP or self._steps > MOST_STEPS or not isinstance(schema, Mapping):
                break
            place = schema.get("$ref")
            if not isinstance(place, str):
                return schema
            schema = self._referred(place)
        return {}

    def _referred(self, place: str) -> Any:
        found = self._root
        for step in place.split("/")[1:] if place[:1] == "#" else ("",):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def _alternatives(schema: Mapping[str, Any]) -> Iterator[Any]:
    for word in _EITHER:
        listed = schema.get(word)
        yield from listed if isinstance(listed, list) else ()


def _type_of_value(value: Any) -> ColumnType | None:
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "text")):
        if isinstance(value, kind):
            return ColumnType(name)
    return None


def _common(found: Sequence[ColumnType | None]) -> ColumnType | None:
    """The type that holds the values of all of these."""
    kinds = set(found)
    if kinds == {ColumnType("int"), ColumnType("float")}:
        return ColumnType("float")
    return next(iter(kinds)) if len(kinds) == 1 else None
