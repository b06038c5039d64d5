"""A made-up value for a JSON schema, as a model in that mode would answer."""

from collections.abc import Mapping
from typing import Any, Final

_DEEPEST: Final = 8
"""A schema that names itself ends there, with null."""
_PLAIN: Final = {"string": "lorem", "boolean": True, "null": None}


def instance_of(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value that most schemas allow: the first of several, with every property that is named."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return instance_of(_referred(str(schema["$ref"]), root), root, depth + 1)
    for name in ("const", "enum", "anyOf", "oneOf", "allOf"):
        if name in schema:
            value = schema[name] if name == "const" else schema[name][0]
            return value if name in ("const", "enum") else instance_of(value, root, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        named = schema.get("properties", {})
        return {name: instance_of(part, root, depth + 1) for name, part in named.items()}
    if kind == "array":
        item = instance_of(schema.get("items", {}), root, depth + 1)
        return [item] * max(1, schema.get("minItems", 1))
    if kind in ("integer", "number"):
        return schema.get("minimum", min(1, schema.get("maximum", 1)))
    return _PLAIN.get(kind, "lorem") if isinstance(kind, str) else "lorem"


def _referred(reference: str, root: Any) -> Any:
    found = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
