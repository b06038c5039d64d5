"""What the wires share in making an answer of a reply: why it ended, and what else it carried."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson

from llmbatch_cli.core.errors import BadReply, Refused
from llmbatch_cli.core.types import FinishReason
from llmbatch_cli.providers.wire.replies import clean, excerpt

T = TypeVar("T")

_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop eos end_turn stop_sequence COMPLETE STOP_SEQUENCE STOP",
    "length": "length max_tokens model_length model_context_window_exceeded max_output_tokens "
    "MAX_TOKENS CONTINUATION",
    "tool_calls": "tool_calls tool_use function_call TOOL_CALL",
    "content_filter": "content_filter sensitive refusal guardrail_intervened content_filtered "
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII ESCALATION MODEL_ARMOR "
    "IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION",
}
"""Every wire's words for why an answer ended; any other is unknown, as `pause_turn` is.

OpenAI, its hosts, Anthropic and Bedrock write small letters, Cohere and Gemini capitals.
"""
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    native: reason for reason, natives in _REASONS.items() for native in natives.split()
}


def finish_reason(native: object) -> FinishReason | None:
    """Why the answer ended, from the provider's own word; None is unknown."""
    return FINISH_REASONS.get(native) if isinstance(native, str) else None


def raise_if_refused(native: object, words: object = None) -> None:
    """Raise Refused for an answer without text that a filter or the model itself withheld.

    `words` are the model's refusal, or the provider's reason for it.
    """
    if native == "refusal" or (isinstance(words, str) and words):
        raise Refused(f"the model refused: {clean(str(words or 'no reason given'))}", status=200)
    if finish_reason(native) == "content_filter":
        why = "" if native == "content_filter" else f": {native}"
        raise Refused(f"the content filter left nothing of the answer{why}", status=200)


def missing(what: str, body: Mapping[str, Any]) -> BadReply:
    """The error of a reply with status 200 that has no `what`; it shows how the body begins."""
    return BadReply(f"the reply has no {what}: {beginning(body)}", status=200)


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
    return writable({name: value for name, value in found.items() if value})
