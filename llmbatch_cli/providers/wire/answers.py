"""What the wires share in making an answer of a reply: why it ended, and what else it carried."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

import orjson

from llmbatch_cli.core.errors import BadReply, Refused, Unreadable
from llmbatch_cli.core.types import FinishReason
from llmbatch_cli.providers.wire.replies import clean, excerpt

T = TypeVar("T")

WAITING: Final = frozenset(
    ("queued", "in_progress", "in_queue", "pending", "processing", "running")
)
"""The status of a job in place of an answer."""

_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop eos eos_token end_turn stop_sequence complete",
    "length": "length max_tokens model_length model_context_window_exceeded max_output_tokens "
    "continuation",
    "tool_calls": "tool_calls tool_call tool_use function_call",
    "content_filter": "content_filter sensitive refusal guardrail_intervened content_filtered "
    "safety recitation language blocklist prohibited_content spii escalation model_armor "
    "image_safety image_prohibited_content image_recitation",
}
"""Every wire's words for why an answer ended; any other is unknown, as `pause_turn` is."""
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    native: reason for reason, natives in _REASONS.items() for native in natives.split()
}
_LETTERS_ONLY: Final = {word.replace("_", ""): found for word, found in FINISH_REASONS.items()}
_NO_LETTERS: Final = re.compile("[^a-z]+")


def finish_reason(native: object) -> FinishReason | None:
    """Why the answer ended, from the provider's own word; None is unknown.

    Cohere and Gemini write capitals; gateways write anything: Stop, maxTokens, end-turn.
    """
    if not isinstance(native, str):
        return None
    return FINISH_REASONS.get(native) or _LETTERS_ONLY.get(_letters(native))


def _letters(native: str) -> str:
    return _NO_LETTERS.sub("", native[:100].lower()).removeprefix("finishreason")


def is_one_of(native: object, words: Collection[str]) -> bool:
    """Whether the provider's word is one of these, however it is written."""
    if not isinstance(native, str) or native in words:
        return isinstance(native, str)
    # The usual words need no second look.
    return native not in FINISH_REASONS and _letters(native) in map(_letters, words)


def raise_if_refused(native: object, words: object = None) -> None:
    """Raise Refused for an answer without text that a filter or the model itself withheld.

    `words` are the model's refusal, or the provider's reason for it.
    """
    if is_one_of(native, ("refusal",)) or (isinstance(words, str) and words):
        raise Refused(f"the model refused: {clean(str(words or 'no reason given'))}", status=200)
    if finish_reason(native) == "content_filter":
        why = "" if native == "content_filter" else f": {clean(str(native), 60)}"
        raise Refused(f"the content filter left nothing of the answer{why}", status=200)


def missing(what: str, body: Mapping[str, Any]) -> BadReply:
    """The error of a reply with status 200 that has no `what`; it shows how the body begins.

    Unreadable for a job that waits or runs: to ask again would begin another one.
    """
    kind = Unreadable if is_one_of(body.get("status"), WAITING) else BadReply
    return kind(f"the reply has no {what}: {beginning(body)}", status=200)


def beginning(body: Mapping[str, Any]) -> str:
    """The beginning of a body that was read, safe to show."""
    try:
        return excerpt(orjson.dumps(body))
    except TypeError:
        return clean(", ".join(body), 200)


def writable(value: T) -> T:
    """The value itself. Raises BadReply for one nested deeper than JSON can be written."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise BadReply(f"the reply cannot be written as JSON: {error}", status=200) from error
    return value


def extras(found: Mapping[str, Any]) -> dict[str, Any]:
    """What holds anything of it. Raises BadReply for what JSON cannot hold."""
    kept = {name: value for name, value in found.items() if value}
    return writable(kept) if kept else kept
