"""JSON that orjson reads otherwise than it was meant, or not at all, read as it was meant.

Integers of over 64 bits, which orjson reads as the nearest float, are kept exact; NaN, as pandas
and Python write a missing number, is null.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

_WIDE: Final = 2.0**63
"""From this size on a float may have been an integer."""
_MOST_DIGITS: Final = 4_300
"""Python refuses to convert more: see sys.set_int_max_str_digits."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
DEEPEST: Final = 200
"""The most objects and lists inside each other in a row; orjson writes 254."""


def with_big_ints(fields: Mapping[str, Any], line: bytes) -> Mapping[str, Any]:
    """Fields of the JSON object in this line, with its integers exact.

    The same object where no integer was changed, as nearly always. `line` was read by orjson,
    so it holds neither NaN nor Infinity.
    """
    if not _may_be_changed(fields):
        return fields
    try:
        exact = json.loads(line, parse_int=_int)
    except (ValueError, RecursionError):  # nested too deep
        return fields
    return {name: exact[name] for name in fields}


def _may_be_changed(fields: Mapping[str, Any]) -> bool:
    left: list[Any] = list(fields.values())
    for value in left:  # grows meanwhile
        kind = type(value)
        if kind is str or kind is int:
            continue
        if kind is float and abs(value) >= _WIDE:
            return True
        if kind is dict:
            left += value.values()
        elif kind is list:
            left += value
    return False


def read_json(data: bytes) -> Any:
    """The JSON value, with NaN as null and integers of any size; of over 4,300 digits, as text.

    Infinity is a float, which no parameter may be, and which is written as null. Raises
    orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            return _read_leniently(data)
        raise


def _read_leniently(line: bytes) -> Any:
    value = json.loads(line.decode(), parse_int=_int, parse_constant=_constant)
    if _SURROGATE.search(line):
        json.dumps(value, ensure_ascii=False).encode()  # half a character is an error
    return value


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _constant(name: str) -> float | None:
    return None if name == "NaN" else -math.inf if name[0] == "-" else math.inf


def is_too_deep(value: object) -> bool:
    """Whether more than DEEPEST objects and lists are inside each other; also for values of
    Python's that contain themselves."""
    level: dict[int, Any] = {0: value}
    for _ in range(DEEPEST + 1):
        inner: dict[int, Any] = {}
        for one in level.values():
            if isinstance(one, dict):
                inner.update((id(item), item) for item in one.values() if _holds(item))
            elif isinstance(one, list | tuple):
                inner.update((id(item), item) for item in one if _holds(item))
        if not inner:
            return False
        level = inner
    return True


def _holds(value: object) -> bool:
    return isinstance(value, dict | list | tuple)
