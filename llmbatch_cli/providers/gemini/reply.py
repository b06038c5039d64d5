"""What Gemini answers, whole or as a stream; the same on every address it has.

Sources (read 2026-11-22): ai.google.dev/api/generate-content (Candidate, FinishReason,
UsageMetadata, PromptFeedback), /gemini-api/docs/thinking, /docs/thought-signatures;
google-genai 3.4.0, types.py (FinishReason, BlockedReason).
"""

from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import BadReply, ProviderError, Refused, Rejected, Unauthorized
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.providers.wire.answers import extras, finish_reason, missing
from llmbatch_cli.providers.wire.provider import EventStream
from llmbatch_cli.providers.wire.replies import (
    blocks_of,
    clean,
    count,
    joined,
    listed,
    mapping,
    mappings,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import function_call, named

EMPTY_ANSWERS: Final[Mapping[str, type[ProviderError]]] = {
    "MISSING_THOUGHT_SIGNATURE": Rejected,
    "PUP_LIMITED_DISABLED": Unauthorized,
    **dict.fromkeys(
        (
            *("FINISH_REASON_UNSPECIFIED", "OTHER", "IMAGE_OTHER", "NO_IMAGE"),
            *("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"),
            "TOO_MANY_TOOL_CALLS",
        ),
        BadReply,
    ),
}
"""The error for a candidate without text and calls, by its reason; a filter's is Refused.

BadReply is retried: the model has garbled its own call.
"""


def completion(body: Mapping[str, Any]) -> Completion:
    """The answer in a body of generateContent. Raises ProviderError for a body without one."""
    candidates = mappings(body.get("candidates"))
    if not candidates:
        _raise_if_blocked(mapping(body.get("promptFeedback")))
        raise missing("candidates", body)
    choices = [_choice(candidate, place) for place, candidate in enumerate(candidates)]
    first = choices[0]
    message = first["message"]
    if not message["content"] and not message.get("tool_calls") and not message.get("images"):
        _raise_if_empty(candidates[0])
    return Completion(
        text=message["content"],
        finish_reason=first["finish_reason"],
        native_finish_reason=text_or_none(candidates[0].get("finishReason")),
        model=text_or_none(body.get("modelVersion")),
        reasoning=message.get("reasoning"),
        tool_calls=message.get("tool_calls", ()),
        choices=choices if len(choices) > 1 else (),
        extras=_extras(candidates[0], first),
        response_id=text_or_none(body.get("responseId")),
    )


def _raise_if_blocked(feedback: Mapping[str, Any]) -> None:
    reason, more = feedback.get("blockReason"), feedback.get("blockReasonMessage")
    if isinstance(reason, str):
        words = f": {clean(more)}" if isinstance(more, str) else ""
        raise Refused(f"the prompt was blocked: {clean(reason, 60)}{words}", status=200)


def _raise_if_empty(candidate: Mapping[str, Any]) -> None:
    native, more = text_or_none(candidate.get("finishReason")), candidate.get("finishMessage")
    words = f": {clean(more)}" if isinstance(more, str) else ""
    filtered = finish_reason(native) == "content_filter"
    kind = Refused if filtered else EMPTY_ANSWERS.get((native or "").upper())
    if kind is not None:
        raise kind(f"the answer is empty: {native}{words}", status=200)


def _choice(candidate: Mapping[str, Any], place: int) -> dict[str, Any]:
    """One candidate as a choice in OpenAI's shape."""
    message = _message(_parts(candidate))
    finish = finish_reason(candidate.get("finishReason"))
    if finish == "stop" and "tool_calls" in message:
        finish = "tool_calls"
    index = count(candidate.get("index"))
    choice: dict[str, Any] = {
        "index": place if index is None else index,
        "message": message,
        "finish_reason": finish,
    }
    if logprobs := _logprobs(mapping(candidate.get("logprobsResult"))):
        choice["logprobs"] = logprobs
    return choice


def _parts(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = candidate.get("content")
    if isinstance(content, dict) and "text" not in content:
        content = content.get("parts")
    return blocks_of(content)


def _message(parts: list[dict[str, Any]]) -> dict[str, Any]:
    text, thoughts = _text(parts), _text(parts, thought=True)
    calls = [part for part in parts if isinstance(part.get("functionCall"), dict)]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if thoughts:
        message["reasoning"] = thoughts
    if calls:
        message["tool_calls"] = named(_call(part, place) for place, part in enumerate(calls))
    if images := [image for part in parts if (image := _image(part))]:
        message["images"] = images
    signatures = (part.get("thoughtSignature") for part in parts if "functionCall" not in part)
    if signature := next((found for found in signatures if isinstance(found, str)), None):
        message["extra_content"] = {"google": {"thought_signature": signature}}
    return message


def _text(parts: list[dict[str, Any]], *, thought: bool = False) -> str:
    return joined([part for part in parts if (part.get("thought") is True) == thought], "text")


def _call(part: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A function call in OpenAI's shape; its signature as Google's compatible API has it."""
    function = part["functionCall"]
    call = function_call(function.get("id"), function.get("name"), function.get("args"), place)
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


def _logprobs(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Gemini's log probabilities in OpenAI's shape."""
    if not isinstance(found.get("chosenCandidates"), list):
        return None
    content = [_logprob(mapping(token)) for token in found["chosenCandidates"]]
    for entry, ranked in zip(content, listed(found.get("topCandidates")), strict=False):
        others = mapping(ranked).get("candidates")
        if isinstance(others, list):
            entry["top_logprobs"] = [_logprob(mapping(token)) for token in others]
    return {"content": content}


def _logprob(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logprob": token.get("logProbability")}


def _extras(candidate: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    code = ("executableCode", "codeExecutionResult")
    return extras(
        {
            "logprobs": choice.get("logprobs"),
            "images": choice["message"].get("images"),
            "extra_content": choice["message"].get("extra_content"),
            "citations": mapping(candidate.get("citationMetadata")).get("citationSources"),
            "grounding": candidate.get("groundingMetadata"),
            "url_context": candidate.get("urlContextMetadata"),
            "code": [part for part in _parts(candidate) if any(name in part for name in code)],
        }
    )


class GeminiStream(EventStream):
    """Reads `streamGenerateContent?alt=sse`: each event is a part of the whole reply.

    The only end mark is the `finishReason` of each candidate, or the block of the prompt.
    """

    def begin(self, request: Request) -> None:
        self._body: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}

    def add(self, event: dict[str, Any]) -> str:
        candidates = mappings(event.pop("candidates", None))
        self._body.update(event)
        return "".join([self._candidate(candidate) for candidate in candidates])

    def _candidate(self, candidate: dict[str, Any]) -> str:
        index = count(candidate.get("index")) or 0
        if index in self._candidates:
            join(self._candidates[index], candidate)
        else:
            self._candidates[index] = candidate
        return _text(_parts(candidate)) if index == 0 else ""

    def is_complete(self) -> bool:
        ended = [one.get("finishReason") for one in self._candidates.values()]
        blocked = mapping(self._body.get("promptFeedback")).get("blockReason")
        return bool(blocked or (ended and all(ended)))

    def whole(self) -> dict[str, Any]:
        candidates = [one for _, one in sorted(self._candidates.items())]
        return {**self._body, "candidates": candidates}


def join(old: dict[str, Any], new: Mapping[str, Any], depth: int = 2) -> None:
    """Add a later piece of a candidate: lists are continued, objects down to `depth` are joined."""
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif depth > 1 and isinstance(before, dict) and isinstance(value, dict):
            join(before, value, depth - 1)
        else:
            old[name] = value
