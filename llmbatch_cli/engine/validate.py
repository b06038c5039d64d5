"""Whether an answer has the form that its request requires."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from llmbatch_cli.core.types import Params

Check = Callable[[Any], str | None]
"""What is wrong with a value; None for nothing."""


def mismatch(text: str, params: Params) -> str | None:
    """How an answer differs from its request's `response_format`; None where it fits.

    A JSON schema is checked where the package jsonschema is installed (the extra `schema`),
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
    """Whether jsonschema is installed."""
    try:
        import jsonschema  # noqa: F401
    except ImportError:
        return False
    return True


@lru_cache(maxsize=256)
def _check_of(schema: bytes) -> Check | None:
    """A check of values against this schema. It may come from a stranger, so no reference in it
    is fetched."""
    if not can_check():
        return None
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    rules = orjson.loads(schema)
    if not isinstance(rules, dict | bool):
        return None
    kind = validator_for(rules, default=Draft202012Validator)
    try:
        kind.check_schema(rules)
    except SchemaError:
        return None
    validator = kind(rules, registry=Registry())

    def check(value: Any) -> str | None:
        try:
            error = next(validator.iter_errors(value), None)
        except Unresolvable:
            return None
        return f"the answer does not fit its schema: {error.json_path}" if error else None

    return check
