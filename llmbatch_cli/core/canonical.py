"""Equal values as the same bytes, to be digested."""

import json
from collections.abc import Mapping

import orjson


def canonical(value: object) -> bytes | None:
    """The same bytes for equal values, whatever the order of their keys; None where there are
    none, as for a value that contains itself.

    What orjson does not support (integers over 64 bits, lone surrogates, values from Python)
    goes the slow way.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # orjson's own error is one
        pass
    try:
        return json.dumps(value, sort_keys=True, default=_plain).encode()
    except (TypeError, ValueError, RecursionError):
        return None


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else repr(value)
