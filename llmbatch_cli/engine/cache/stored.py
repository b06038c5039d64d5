"""An answer as bytes, and back."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import orjson

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion

_NAMES: Final = (
    *("text", "finish_reason", "native_finish_reason", "model", "reasoning", "tool_calls"),
    *("choices", "extras", "response_id"),
)
"""What of a completion is its answer, and not of the one reply; usage is kept apart."""

GOOD_ENDS: Final = ("stop", "tool_calls")


def is_whole(completion: Completion) -> bool:
    """Whether the answer is one to keep: it ended by itself, and says something."""
    ends: Sequence[Any] = [one.get("finish_reason") for one in completion.choices]
    if not all(end in GOOD_ENDS for end in ends or (completion.finish_reason,)):
        return False
    return not completion.is_empty


def to_bytes(completion: Completion) -> bytes | None:
    """The answer as bytes; None for one that JSON cannot hold, which is not kept then."""
    values = ((name, getattr(completion, name)) for name in _NAMES)
    found = {name: value for name, value in values if value not in (None, (), {})}
    if completion.usage is not None:
        found["usage"] = asdict(completion.usage)
    try:
        # a copy, as it waits for the disk, and orjson's own bytes hold up to 13 times their length
        return memoryview(orjson.dumps(found)).tobytes()
    except TypeError:  # orjson's own error is one
        return None


def from_bytes(data: bytes) -> Completion | None:
    """The answer, which costs nothing now; None for what another version has written."""
    try:
        found = orjson.loads(data)
        usage = found.pop("usage", None)
        completion = Completion(
            **{"text": None, **found}, usage=Usage(**usage) if usage is not None else None
        )
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        return None
    return again(completion)


def again(completion: Completion) -> Completion:
    """The same answer, for another row: it costs nothing."""
    return replace(completion, cost_usd=0.0, limits=None, request_id=None)
