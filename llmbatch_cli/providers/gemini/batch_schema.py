"""A JSON Schema in Gemini's older form, `responseSchema`, which its batch mode keeps to.

In August 2026 none of 502 answers of batch jobs had the shape of their `responseJsonSchema`, while
all of those with the same in `responseSchema` had (crmne/ruby_llm 894, read 2026-11-26). What the
older form has: ai.google.dev/api/caching, Schema. Whether an answer fits is checked here all the
same, so that what only bounds a value may be left out.
"""

from collections.abc import Mapping
from typing import Any, Final

DEEPEST: Final = 32
_KEPT: Final = frozenset(
    (
        *("description", "minItems", "maxItems", "minProperties", "maxProperties"),
        *("minLength", "maxLength", "pattern", "minimum", "maximum", "required", "nullable"),
    )
)
_SHAPING: Final = frozenset(
    (
        *("allOf", "not", "if", "then", "else", "dependentSchemas", "patternProperties"),
        *("prefixItems", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef"),
    )
)
"""What changes the shape and has no place in the older form."""
_TYPES: Final = ("string", "number", "integer", "boolean", "array", "object")


class NoSuchForm(Exception):
    """The older form has no place for something of the schema."""


def older_form(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema in the older form; None where it has no place for its shape."""
    definitions = {**_mapping(schema.get("definitions")), **_mapping(schema.get("$defs"))}
    try:
        return _converted(schema, definitions, 0)
    except NoSuchForm:
        return None


def _converted(schema: object, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or depth > DEEPEST or not _SHAPING.isdisjoint(schema):
        raise NoSuchForm
    if "$ref" in schema:
        target = _mapping(definitions.get(str(schema["$ref"]).rpartition("/")[2]))
        if not target or not str(schema["$ref"]).startswith(("#/$defs/", "#/definitions/")):
            raise NoSuchForm
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _converted({**target, **rest}, definitions, depth + 1)
    kept = {name: schema[name] for name in _KEPT if name in schema}
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices is not None:
        return {**kept, **_any_of(choices, definitions, depth)}
    return {**kept, **_typed(schema, definitions, depth)}


def _any_of(choices: object, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(choices, list):
        raise NoSuchForm
    some = [one for one in choices if one != {"type": "null"}]
    converted = [_converted(one, definitions, depth + 1) for one in some]
    nullable = {"nullable": True} if len(some) < len(choices) else {}
    if len(converted) == 1:
        return {**converted[0], **nullable}
    return {"anyOf": converted, **nullable}


def _typed(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    some = [name for name in names if name != "null"]
    if len(some) != 1 or some[0] not in _TYPES:
        raise NoSuchForm
    made: dict[str, Any] = {"type": some[0].upper()}
    if len(some) < len(names):
        made["nullable"] = True
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        texts = [value for value in values if value is not None]
        if some[0] != "string" or not all(isinstance(value, str) for value in texts):
            raise NoSuchForm
        made["enum"] = texts
    if some[0] == "array":
        made["items"] = _converted(schema.get("items"), definitions, depth + 1)
    if some[0] == "object":
        made.update(_object(schema, definitions, depth))
    return made


def _object(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    fields = _mapping(schema.get("properties"))
    if not fields or isinstance(schema.get("additionalProperties"), dict):
        raise NoSuchForm
    converted = {name: _converted(field, definitions, depth + 1) for name, field in fields.items()}
    return {"properties": converted, "propertyOrdering": list(fields)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
