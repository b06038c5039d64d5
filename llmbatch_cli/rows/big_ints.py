"""Integers of over 64 bits, which orjson reads as the nearest float, kept exact."""

import json
from collections.abc import Mapping
from typing import Any, Final

_WIDE: Final = 2.0**63
"""From this size on a float may have been an integer."""


def with_big_ints(fields: Mapping[str, Any], line: bytes) -> Mapping[str, Any]:
    """Fields of the JSON object in this line, with its integers exact.

    The same object where no integer was changed, as nearly always. `line` was read by orjson,
    so it holds neither NaN nor Infinity.
    """
    if not any(map(_may_be_changed, fields.values())):
        return fields
    try:
        exact = json.loads(line)
    except (ValueError, RecursionError):  # over 4,300 digits, or nested too deep
        return fields
    return {name: exact[name] for name in fields}


def _may_be_changed(value: object) -> bool:
    if isinstance(value, float):
        return abs(value) >= _WIDE
    if isinstance(value, dict):
        return any(map(_may_be_changed, value.values()))
    return isinstance(value, list) and any(map(_may_be_changed, value))
