"""A class that describes an answer, as pydantic's, in the form of `response_format`.

Source: platform.openai.com/docs/guides/structured-outputs (read 2026-11-26), what the `strict`
mode supports. It is what the package openai sends for such a class, and litellm after it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import InputError

_Schema = dict[str, Any]

_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_NAME_CHARS: Final = 64
_NAMED: Final = ("properties", "$defs", "definitions")
"""What holds schemas by their names."""
_LACKED: Final = frozenset(
    (
        *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "contains"),
        *("prefixItems", "uniqueItems", "unevaluatedProperties", "default"),
    )
)


def response_format_of(value: object) -> object:
    """A class with a JSON schema as the `response_format` for it; anything else as it is.

    Such are the models of pydantic, whose both versions are known by their methods: it need not
    be installed. Raises InputError for any other class.
    """
    if not isinstance(value, type):
        return value
    schema_of = _schema_of(value)
    if schema_of is None:
        raise InputError(
            f"response_format must be an object or a pydantic class, not {value.__name__}"
        )
    try:
        schema = schema_of()
        strict = _strict(schema, schema)
    except Exception as error:  # a field that JSON lacks, or that names itself for ever
        raise InputError(f"{value.__name__} has no strict JSON schema: {error}") from error
    name = _NOT_IN_NAMES.sub("_", value.__name__)[:_NAME_CHARS]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": strict, "strict": True}}


def all_required(schema: Mapping[str, Any]) -> _Schema:
    """The schema as `strict` wants it: what may be missing may be null there."""
    return _strict(schema, schema)


def is_strict(schema: Any) -> bool:
    """Whether the `strict` mode takes the schema: an object, with every property required and no
    other allowed, down to the last, and without what the mode lacks."""
    return isinstance(schema, dict) and schema.get("type") == "object" and _all_strict(schema)


def _all_strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(_all_strict, schema))
    if not isinstance(schema, dict):
        return True
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        named = schema.get("properties")
        if not isinstance(named, dict) or schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required") or ()) != set(named):
            return False
    if not _LACKED.isdisjoint(schema):
        return False
    inner = [part for name in _NAMED for part in (schema.get(name) or {}).values()]
    return all(map(_all_strict, [*inner, schema.get("items"), schema.get("anyOf")]))


def _schema_of(kind: type) -> Callable[[], _Schema] | None:
    """What makes the schema: pydantic's method, or that of its first version."""
    method = getattr(kind, "model_json_schema", None)
    if method is None and hasattr(kind, "__fields__"):
        method = getattr(kind, "schema", None)
    return method if callable(method) else None


def _strict(schema: Mapping[str, Any], root: Mapping[str, Any]) -> _Schema:
    """Every property required, no other allowed, and no reference with something beside it."""
    made = {name: _part(name, value, root) for name, value in schema.items()}
    if made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    if isinstance(made.get("properties"), dict):
        made["required"] = list(made["properties"])
    if len(made.get("allOf", ())) == 1:
        made.update(made.pop("allOf")[0])
    if made.get("default", ...) is None:
        del made["default"]
    if "$ref" in made and len(made) > 1:
        return _strict({**_referred(made.pop("$ref"), root), **made}, root)
    return made


def _part(name: str, value: Any, root: Mapping[str, Any]) -> Any:
    """The same for the schemas in one field of a schema."""
    if name in _NAMED and isinstance(value, dict):
        return {key: _strict(part, root) for key, part in value.items()}
    if name in ("anyOf", "allOf") and isinstance(value, list):
        return [_strict(part, root) for part in value]
    return _strict(value, root) if name == "items" and isinstance(value, dict) else value


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the schema that `#/$defs/Name` refers to."""
    found = root
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found
