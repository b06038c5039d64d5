"""How long an answer is whose form leaves it no room."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.estimate.ranges import Range

_LONGEST: Final = {"boolean": 5, "null": 4, "integer": 6, "number": 8}
"""Bytes of a usual value."""
BYTES_A_TOKEN: Final = Range(1.5, 3, 4.5)
"""Of JSON: the first where it is indented, the last with values that are whole tokens."""


def answer_of(schema: Any) -> Range | None:
    """The tokens of an answer by this schema; None where a text or a list in it may be long."""
    size = _bytes_of(schema)
    if size is None:
        return None
    low, likely, high = (
        round(size / each) for each in (BYTES_A_TOKEN.high, BYTES_A_TOKEN.likely, BYTES_A_TOKEN.low)
    )
    return Range(low, likely, high)


def _bytes_of(schema: Any) -> int | None:
    if not isinstance(schema, Mapping):
        return None
    if isinstance(values := schema.get("enum"), list) and values:
        return max(len(orjson.dumps(value)) for value in values)
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        sizes = [_bytes_of(one) for one in properties.values()]
        if schema.get("additionalProperties") is not False or None in sizes:
            return None
        return 2 + sum(len(f'"{name}": , ') for name in properties) + sum(filter(None, sizes))
    types = schema.get("type")
    known = [_LONGEST.get(str(one)) for one in (types if isinstance(types, list) else [types])]
    return None if None in known else max(filter(None, known), default=None)
