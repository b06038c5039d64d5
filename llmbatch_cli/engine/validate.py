"""Whether an answer has the form that its request requires."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from llmbatch_cli.core.text import shortened
from llmbatch_cli.core.types import Params

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MOST_STEPS_BACK: Final = 100_000
"""Of a pattern that the linear engine does not know, in one value."""

SHOWN_FAULTS: Final = 3
"""So many are told of one value."""
_SHOWN_CHARS: Final = 200

Check = Callable[[Any], str | None]
"""What is wrong with a value; None for nothing."""


class Unfit(Exception):
    """An answer does not say what was asked for; the reason is a part of a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Fit = Callable[[Any], Any]
"""The value as it is wanted. Raises Unfit."""


class BadSchema(ValueError):
    """A schema is invalid, or refers to what would have to be fetched."""


def mismatch(text: str, params: Params) -> str | None:
    """How an answer differs from its request's `response_format`; None where it fits.

    A schema that is invalid itself is left to the provider.
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


@lru_cache(maxsize=256)
def _check_of(schema: bytes) -> Check | None:
    """A check of values against this schema; None for one that is invalid itself."""
    try:
        validator = _validator_of(orjson.loads(schema))
    except BadSchema:
        return None

    def check(value: Any) -> str | None:
        try:
            error = next(validator.iter_errors(value), None)
        except ValueError as error:  # as of what is nested too deep
            return f"the answer cannot be checked: {error}"
        return (
            None
            if error is None
            else f"the answer does not fit its schema: {place(error.instance_path)}"
        )

    return check


def fitting(schema: Any) -> Fit:
    """Gives a value that is valid against the schema back, else raises Unfit with the reasons.

    Raises BadSchema for a schema that is invalid itself.
    """
    validator = _validator_of(schema)

    def fit(value: Any) -> Any:
        if validator.is_valid(value):
            return value
        errors = islice(validator.iter_errors(value), SHOWN_FAULTS)
        raise Unfit(
            "; ".join(
                f"{shortened(e.message, _SHOWN_CHARS)} at {place(e.instance_path)}" for e in errors
            )
        )

    return fit


def _fault(error: Any) -> str:
    return f"{shortened(error.message, _SHOWN_CHARS)} at {place(error.instance_path)}"


def _validator_of(schema: Any) -> "Validator":
    """Checks values against this schema. Raises BadSchema.

    It may come from a stranger: no reference in it is fetched, and no pattern takes long.
    """
    from jsonschema_rs import FancyRegexOptions, RegexOptions, validator_for

    # the second engine knows (?=...), and looks back only so often
    fancy = FancyRegexOptions(backtrack_limit=MOST_STEPS_BACK)
    try:
        return validator_for(schema, retriever=_refuse, pattern_options=RegexOptions())
    except ValueError:
        pass
    try:
        return validator_for(schema, retriever=_refuse, pattern_options=fancy)
    except ValueError as error:
        message, _, rest = str(error).partition("\n")
        where = rest.rpartition("On instance")[2].partition(":")[0]
        raise BadSchema(f"{message}, at {where}" if where else message) from None


def place(path: Iterable[str | int]) -> str:
    """Where in a value this path of names and numbers leads."""
    steps = (f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)
    return f"${''.join(steps)}"


def _refuse(uri: str) -> Any:
    raise ValueError("no schema is fetched")
