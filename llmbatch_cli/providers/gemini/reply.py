"""What Gemini answers, whole or as a stream; the same on every address it has.

Sources (read 2026-11-22): ai.google.dev/api/generate-content (Candidate, FinishReason,
UsageMetadata, PromptFeedback), /gemini-api/docs/thinking, /docs/thought-signatures;
google-genai 3.4.0, types.py (FinishReason, BlockedReason).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    ProviderError,
    Refused,
    Rejected,
    Unauthorized,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, FinishReason, WireReply
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.gemini.errors import error
from llmbatch_cli.providers.openai.provider import writable
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.replies import (
    arguments_json,
    clean,
    count,
    excerpt,
    json_object,
    mapping,
    rate_info,
    text_or_none,
)

FINISH_REASONS: Final[Mapping[str, FinishReason | None]] = {
    "FINISH_REASON_UNSPECIFIED": None,
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": None,
    "NO_IMAGE": None,
    "OTHER": None,
    "MALFORMED_FUNCTION_CALL": None,
    "MALFORMED_RESPONSE": None,
    "UNEXPECTED_TOOL_CALL": None,
    "TOO_MANY_TOOL_CALLS": None,
    "MISSING_THOUGHT_SIGNATURE": None,
    "PUP_LIMITED_DISABLED": None,
}
"""Every reason of the current list; a STOP behind function calls is `tool_calls`."""

NOTHING_CAME: Final[Mapping[str, type[ProviderError]]] = {
    "MISSING_THOUGHT_SIGNATURE": Rejected,
    "PUP_LIMITED_DISABLED": Unauthorized,
    "FINISH_REASON_UNSPECIFIED": BadReply,
    "OTHER": BadReply,
    "IMAGE_OTHER": BadReply,
    "NO_IMAGE": BadReply,
    "MALFORMED_FUNCTION_CALL": BadReply,
    "MALFORMED_RESPONSE": BadReply,
    "UNEXPECTED_TOOL_CALL": BadReply,
    "TOO_MANY_TOOL_CALLS": BadReply,
}
"""What a candidate without text and calls means, by its reason; a filter's is Refused.

BadReply is what another try may mend: the model has garbled its own call.
"""


def completion(body: Mapping[str, Any], reply: WireReply) -> Completion:
    """The answer in a body of generateContent. Raises ProviderError for a body without one."""
    found = body.get("candidates")
    candidates = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not candidates:
        raise _no_candidate(body, reply)
    choices = [_choice(candidate, place) for place, candidate in enumerate(candidates)]
    first = choices[0]
    message = first["message"]
    if not message["content"] and not message.get("tool_calls") and not message.get("images"):
        _raise_if_nothing_came(candidates[0])
    return Completion(
        text=message["content"],
        finish_reason=first["finish_reason"],
        native_finish_reason=text_or_none(candidates[0].get("finishReason")),
        usage=usage(body.get("usageMetadata")),
        model=text_or_none(body.get("modelVersion")),
        reasoning=message.get("reasoning"),
        tool_calls=message.get("tool_calls", ()),
        choices=choices if len(choices) > 1 else (),
        extras=writable(_extras(candidates[0], message, first)),
        response_id=text_or_none(body.get("responseId")),
        request_id=reply.headers.get("x-request-id"),
        limits=rate_info(reply.headers),
    )


def _no_candidate(body: Mapping[str, Any], reply: WireReply) -> ProviderError:
    reason = mapping(body.get("promptFeedback")).get("blockReason")
    if isinstance(reason, str):
        more = mapping(body.get("promptFeedback")).get("blockReasonMessage")
        words = f": {clean(more)}" if isinstance(more, str) else ""
        return Refused(f"the prompt was blocked: {clean(reason, 60)}{words}", status=reply.status)
    return BadReply(f"the reply has no candidates: {excerpt(reply.body)}", status=reply.status)


def _raise_if_nothing_came(candidate: Mapping[str, Any]) -> None:
    native = candidate.get("finishReason")
    if not isinstance(native, str):
        return
    kind = NOTHING_CAME.get(native)
    if FINISH_REASONS.get(native) == "content_filter":
        kind = Refused
    if kind is not None:
        more = candidate.get("finishMessage")
        words = f": {clean(more)}" if isinstance(more, str) else ""
        raise kind(f"no answer came: {native}{words}", status=200)


def _choice(candidate: Mapping[str, Any], place: int) -> dict[str, Any]:
    """One candidate as a choice in OpenAI's shape."""
    message = _message(list(_parts(candidate)))
    native = candidate.get("finishReason")
    finish = FINISH_REASONS.get(native) if isinstance(native, str) else None
    if finish == "stop" and "tool_calls" in message:
        finish = "tool_calls"
    index = count(candidate.get("index"))
    choice: dict[str, Any] = {
        "index": place if index is None else index,
        "message": message,
        "finish_reason": finish,
    }
    if logprobs := _logprobs(candidate.get("logprobsResult")):
        choice["logprobs"] = logprobs
    return choice


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    found = mapping(candidate.get("content")).get("parts")
    yield from (part for part in found if isinstance(part, dict)) if isinstance(found, list) else ()


def _message(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    text, thoughts = _text(parts, thought=False), _text(parts, thought=True)
    calls = [part for part in parts if isinstance(part.get("functionCall"), dict)]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if thoughts:
        message["reasoning"] = thoughts
    if calls:
        message["tool_calls"] = [_call(part, place) for place, part in enumerate(calls)]
    if images := [image for part in parts if (image := _image(part))]:
        message["images"] = images
    signatures = (part.get("thoughtSignature") for part in parts if "functionCall" not in part)
    if signature := next((found for found in signatures if isinstance(found, str)), None):
        message["extra_content"] = {"google": {"thought_signature": signature}}
    return message


def _text(parts: list[Mapping[str, Any]], *, thought: bool) -> str:
    texts = (part.get("text") for part in parts if (part.get("thought") is True) == thought)
    return "".join(text for text in texts if isinstance(text, str))


def _call(part: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A function call in OpenAI's shape; its signature where Google's own such page has it."""
    function = part["functionCall"]
    call: dict[str, Any] = {
        "id": text_or_none(function.get("id")) or f"call_{place}",
        "type": "function",
        "function": {
            "name": text_or_none(function.get("name")) or "",
            "arguments": arguments_json(function.get("args")),
        },
    }
    if isinstance(part.get("thoughtSignature"), str):
        call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
    return call


def _image(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """An image, or other media, of the answer as a data: URL."""
    blob = mapping(part.get("inlineData"))
    kind, data = blob.get("mimeType"), blob.get("data")
    if not isinstance(kind, str) or not isinstance(data, str):
        return None
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _logprobs(value: object) -> dict[str, Any] | None:
    """Gemini's log probabilities in OpenAI's shape."""
    chosen, top = mapping(value).get("chosenCandidates"), mapping(value).get("topCandidates")
    if not isinstance(chosen, list):
        return None
    content = [_logprob(mapping(token)) for token in chosen]
    for place, ranked in enumerate(top[: len(content)] if isinstance(top, list) else ()):
        others = mapping(ranked).get("candidates")
        if isinstance(others, list):
            content[place]["top_logprobs"] = [_logprob(mapping(token)) for token in others]
    return {"content": content}


def _logprob(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logprob": token.get("logProbability")}


def _extras(
    candidate: Mapping[str, Any], message: Mapping[str, Any], choice: Mapping[str, Any]
) -> dict[str, Any]:
    found = {
        "logprobs": choice.get("logprobs"),
        "images": message.get("images"),
        "extra_content": message.get("extra_content"),
        "citations": mapping(candidate.get("citationMetadata")).get("citationSources"),
        "grounding": candidate.get("groundingMetadata"),
        "url_context": candidate.get("urlContextMetadata"),
        "code": [part for part in _parts(candidate) if _is_code(part)],
    }
    return {name: value for name, value in found.items() if value}


def _is_code(part: Mapping[str, Any]) -> bool:
    return "executableCode" in part or "codeExecutionResult" in part


def usage(value: object) -> Usage | None:
    """Gemini's usageMetadata as OpenAI counts: thoughts are completion, tools' results prompt."""
    if not isinstance(value, dict):
        return None
    thoughts = count(value.get("thoughtsTokenCount"))
    return Usage(
        prompt_tokens=_sum(value.get("promptTokenCount"), value.get("toolUsePromptTokenCount")),
        completion_tokens=_sum(value.get("candidatesTokenCount"), thoughts),
        total_tokens=count(value.get("totalTokenCount")),
        cached_tokens=count(value.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _sum(*values: object) -> int | None:
    known = [number for value in values if (number := count(value)) is not None]
    return sum(known) if known else None


class GeminiStream(Stream):
    """Reads `streamGenerateContent?alt=sse`: each event is a part of the whole reply.

    There is no end mark but the `finishReason` of each candidate, or the block of the prompt.
    """

    def __init__(self, headers: Mapping[str, str], api_key: str | None) -> None:
        self._headers = headers
        self._api_key = api_key
        self._events = ServerSentEvents()
        self._whole: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}

    def feed(self, data: bytes) -> str:
        return "".join(self._event(event) for _, event in self._events.feed(data))

    def _event(self, data: bytes) -> str:
        reply = WireReply(200, self._headers, data)
        body = json_object(reply)
        if body.get("error"):
            raise error(reply, self._api_key)
        candidates = body.pop("candidates", None)
        self._whole.update(body)
        text = ""
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                text += self._add(candidate)
        return text

    def _add(self, candidate: dict[str, Any]) -> str:
        index = count(candidate.get("index")) or 0
        if index in self._candidates:
            join(self._candidates[index], candidate)
        else:
            self._candidates[index] = candidate
        return _text(list(_parts(candidate)), thought=False) if index == 0 else ""

    def finish(self) -> Completion:
        candidates = [self._candidates[index] for index in sorted(self._candidates)]
        ended = candidates and all(one.get("finishReason") for one in candidates)
        if not ended and not mapping(self._whole.get("promptFeedback")).get("blockReason"):
            raise Interrupted("the stream ended before the answer did", status=200)
        return completion({**self._whole, "candidates": candidates}, self._reply())

    def _reply(self) -> WireReply:
        return WireReply(200, self._headers, b"")


def join(old: dict[str, Any], new: Mapping[str, Any], depth: int = 2) -> None:
    """Add a later piece of a candidate: lists go on, objects down to `depth` are joined."""
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif depth > 1 and isinstance(before, dict) and isinstance(value, dict):
            join(before, value, depth - 1)
        else:
            old[name] = value
