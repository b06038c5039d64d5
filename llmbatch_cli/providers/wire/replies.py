"""What the wires share in reading replies: JSON, texts, finish reasons. All input is hostile."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from llmbatch_cli.core.errors import BadReply, Refused
from llmbatch_cli.core.privacy import SHORTEST_KEY
from llmbatch_cli.core.types import FinishReason, WireReply

T = TypeVar("T")

MAX_MESSAGE_CHARS = 2000

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp)[-_][\w*.-]{8,}|\bAIza[\w-]{20,}"
    r"|(?i:bearer) [\w*.~+/=-]{8,}"
)


def json_object(reply: WireReply) -> dict[str, Any]:
    """The reply's body as a JSON object. Raises BadReply that shows how the body begins."""
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise BadReply(_not_json(reply), status=reply.status) from error
    if not isinstance(value, dict):
        raise BadReply(
            f"the reply is JSON but not an object: {excerpt(reply.body)}", status=reply.status
        )
    return value


def _not_json(reply: WireReply) -> str:
    if 300 <= reply.status < 400:
        return (
            f"the server redirects to {clean(reply.headers.get('location', '?'), 200)}, which is "
            "not followed, as the key would go there too (is the base URL right?)"
        )
    if not reply.body:
        return "the reply is empty"
    beginning = excerpt(reply.body)
    if "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<":
        page = "the reply is a web page, not JSON (is a proxy or a wrong base URL in between?)"
        return f"{page}: {beginning}"
    return f"the reply is not valid JSON: {beginning}"


def excerpt(body: bytes, max_chars: int = 200) -> str:
    """The beginning of a body, safe to show."""
    return clean(body[: 4 * max_chars].decode("utf-8", "replace"), max_chars)


def clean(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """A provider's own words, cut, without control characters and without anything like a key."""
    text = _CONTROL.sub("", text[: 2 * max_chars])
    text = " ".join(_SECRET.sub("[key]", text).split())
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def without_key(text: str, api_key: str | None) -> str:
    """The text without this key: some servers repeat what they were sent.

    So short a key as stands in for none, such as `x`, is no secret, and part of many a word.
    """
    return text.replace(api_key, "[key]") if api_key and len(api_key) >= SHORTEST_KEY else text


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


def count(value: object) -> int | None:
    """A token count, or None for anything else."""
    if type(value) is int and 0 <= value < 2**53:
        return value
    return None


def text_or_none(value: object) -> str | None:
    """The value if it is a string."""
    return value if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: object) -> list[dict[str, Any]]:
    """The objects in the value, if it is a list; else none."""
    return [item for item in listed(value) if isinstance(item, dict)]


def of_type(kind: str, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items whose `type` is this."""
    return [item for item in items if item.get("type") == kind]


def content_text(content: object) -> str | None:
    """A message's content as text: a string as it is, of a list the texts of its parts."""
    if isinstance(content, str) or content is None:
        return content
    return joined(mappings(content), "text") if isinstance(content, list) else None


def joined(items: Sequence[Mapping[str, Any]], name: str, between: str = "") -> str:
    """The texts that the items have under this name, in one."""
    return between.join(text for item in items if isinstance(text := item.get(name), str) and text)


_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop eos end_turn stop_sequence COMPLETE STOP_SEQUENCE STOP",
    "length": "length max_tokens model_length model_context_window_exceeded max_output_tokens "
    "MAX_TOKENS CONTINUATION",
    "tool_calls": "tool_calls tool_use function_call TOOL_CALL",
    "content_filter": "content_filter sensitive refusal guardrail_intervened content_filtered "
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII ESCALATION MODEL_ARMOR "
    "IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION",
}
"""Every wire's words for why an answer ended; what is not here is unknown, as `pause_turn` is.

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

    `words` are the model's refusal, or what the provider says about it.
    """
    if native == "refusal" or (isinstance(words, str) and words):
        raise Refused(f"the model refused: {clean(str(words or 'no reason given'))}", status=200)
    if finish_reason(native) == "content_filter":
        why = "" if native == "content_filter" else f": {native}"
        raise Refused(f"the content filter left nothing of the answer{why}", status=200)
