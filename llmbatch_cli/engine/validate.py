"""Whether an answer has the form that its request requires."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from llmbatch_cli.core.types import Params

MOST_STEPS_BACK: Final = 100_000
"""Of a pattern that the linear engine does not know, in one value."""

Check = Callable[[Any], str | None]
"""What is wrong with a value; None for nothing."""


def mismatch(text: str, params: Params) -> str | None:
    """How an answer differs from its request's `response_format`; None where it fits.

    A JSON schema is checked where the package jsonschema-rs is installed (the extra `schema`),
    else only that the text is JSON. A schema that is invalid itself is left to the provider.
    """
    wanted = params.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind not in ("json_object", "json_schema"):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "the answer is not JSON"
    if kind == "json_object":
        return None if isinstance(value, dict) else "the answer is not a JSON object"
    check = _check_of(orjson.dumps(schema_of(params)))
    return check(value) if check is not None else None


def schema_of(params: Params) -> Any:
    """The JSON schema of `response_format`; None without one."""
    wanted = params.get("response_format")
    named = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    return named.get("schema") if isinstance(named, Mapping) else None


def can_check() -> bool:
    """Whether jsonschema-rs is installed."""
    try:
        import jsonschema_rs  # noqa: F401
    except ImportError:
        return False
    return True


@lru_cache(maxsize=256)
def _check_of(schema: bytes) -> Check | None:
    """A check of values against this schema; None for one that is invalid itself.

    It may come from a stranger: no reference in it is fetched, and no pattern takes long.
    """
    if not can_check():
        return None
    from jsonschema_rs import FancyRegexOptions, RegexOptions, validator_for

    rules = orjson.loads(schema)
    # the second engine knows (?=...), and looks back only so often
    for patterns in (RegexOptions(), FancyRegexOptions(backtrack_limit=MOST_STEPS_BACK)):
        try:
            validator = validator_for(rules, retriever=_refuse, pattern_options=patterns)
            break
        except ValueError:
            continue
    else:
        return None

    def check(value: Any) -> str | None:
        error = next(validator.iter_errors(value), None)
        if error is None:
            return None
        path = "".join(
            f"[{one}]" if isinstance(one, int) else f".{one}" for one in error.instance_path
        )
        return f"the answer does not fit its schema: ${path}"

    return check


def _refuse(uri: str) -> Any:
    raise ValueError("no schema is fetched")
