"""What Cohere answers, whole or as a stream, and its errors.

Sources (read 2026-11-22): docs.cohere.com/v2/reference/chat, /v2/reference/chat-stream,
/v2/docs/streaming, /reference/errors, /docs/rate-limits; cohere 7.3.1, types/ (usage,
chat_finish_reason, logprob_item) and v2/types/v2chat_stream_response.py.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    Refused,
    Rejected,
    UnknownModel,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, FinishReason, RateInfo, WireReply
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.openai.provider import writable
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.replies import (
    clean,
    count,
    error_for_status,
    error_of,
    excerpt,
    json_object,
    mapping,
    rate_info,
    retry_after_s,
    text_or_none,
)

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
FAILURES: Final = frozenset(("ERROR", "TIMEOUT"))
"""Finish reasons of a reply that broke off: the generation failed, or took too long."""

STATUSES: Final[Mapping[int, type[ProviderError]]] = {498: Refused, 499: Overloaded, 501: Rejected}
"""498: a deny-listed token in the prompt or the answer; 499: cancelled, "try again"."""

SAID: Final = (
    (re.compile(r"^too many tokens: (?!max tokens)"), ContextLength),
    (re.compile(r"(?i)\bmodel\b.{0,200}(not found|was removed|not supported|deprecated)"),
     UnknownModel),
    (re.compile(r"(?i)limited to [\d,]+ API calls / month"), OutOfQuota),
    (re.compile(r"(?i)maximum billing reached|update your payment method"), OutOfQuota),
)  # fmt: skip
"""What only the message tells: Cohere's errors carry no code."""

_HINTS: Final[Mapping[type[ProviderError], str]] = {
    UnknownModel: "`llmbatch models cohere` lists what this key may use",
    OutOfQuota: "a trial key has 1,000 calls a month; dashboard.cohere.com has production keys",
}


def completion(body: Mapping[str, Any], reply: WireReply, api_key: str | None) -> Completion:
    """The answer in a body of /v2/chat. Raises ProviderError for a body without one."""
    message = body.get("message")
    if not isinstance(message, dict):
        raise _no_message(message, reply, api_key)
    native = text_or_none(body.get("finish_reason"))
    if native in FAILURES:
        words = text_or_none(body.get("error"))
        raise Overloaded(
            f"the answer broke off: {clean(words) if words else native}", status=reply.status
        )
    tool_calls = list(_calls(message.get("tool_calls")))
    text = _text(message.get("content"), "text")
    return Completion(
        text=text or (None if tool_calls else ""),
        finish_reason=FINISH_REASONS.get(native) if native is not None else None,
        native_finish_reason=native,
        usage=usage(body.get("usage")),
        reasoning=_text(message.get("content"), "thinking") or None,
        tool_calls=tool_calls,
        extras=writable(_extras(body, message)),
        response_id=text_or_none(body.get("id")),
        request_id=reply.headers.get("x-debug-trace-id"),
        limits=limits(reply.headers),
    )


def _no_message(message: object, reply: WireReply, api_key: str | None) -> ProviderError:
    """An error's `message` is a text; under a 200 it is an error all the same."""
    if isinstance(message, str):
        return error(reply, api_key)
    return BadReply(f"the reply has no message: {excerpt(reply.body)}", status=reply.status)


def _text(content: object, kind: str) -> str:
    """The texts of one kind in the content, which a stream of text alone may have as a string."""
    if isinstance(content, str):
        return content if kind == "text" else ""
    texts = (mapping(part).get(kind) for part in content) if isinstance(content, list) else ()
    return "".join(text for text in texts if isinstance(text, str))


def _calls(value: object) -> Iterator[dict[str, Any]]:
    for place, call in enumerate(value if isinstance(value, list) else ()):
        function = mapping(mapping(call).get("function"))
        yield {
            "id": text_or_none(mapping(call).get("id")) or f"call_{place}",
            "type": "function",
            "function": {
                "name": text_or_none(function.get("name")) or "",
                "arguments": text_or_none(function.get("arguments")) or "{}",
            },
        }


def _extras(body: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "citations": message.get("citations"),
        "tool_plan": message.get("tool_plan"),
        "billed_units": mapping(body.get("usage")).get("billed_units"),
        "logprobs": _logprobs(body.get("logprobs")),
    }
    return {name: value for name, value in found.items() if value}


def _logprobs(value: object) -> dict[str, Any] | None:
    """Cohere's log probabilities in OpenAI's shape; a piece of several tokens has their sum."""
    if not isinstance(value, list) or not value:
        return None
    content = []
    for item in map(mapping, value):
        found = item.get("logprobs")
        numbers = [n for n in found if type(n) in (int, float)] if isinstance(found, list) else []
        content.append({"token": item.get("text"), "logprob": sum(numbers) if numbers else None})
    return {"content": content}


def usage(value: object) -> Usage | None:
    """Cohere's usage: the tokens of the model, or where they are missing, the billed ones."""
    if not isinstance(value, dict):
        return None
    tokens, billed = mapping(value.get("tokens")), mapping(value.get("billed_units"))
    asked = _tokens(tokens.get("input_tokens"), billed.get("input_tokens"))
    answered = _tokens(tokens.get("output_tokens"), billed.get("output_tokens"))
    return Usage(
        prompt_tokens=asked,
        completion_tokens=answered,
        total_tokens=None if asked is None or answered is None else asked + answered,
        cached_tokens=_tokens(value.get("cached_tokens")),
    )


def _tokens(*values: object) -> int | None:
    """The first that is a count; Cohere writes counts as 913.0."""
    for value in values:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if (number := count(whole)) is not None:
            return number
    return None


def limits(headers: Mapping[str, str]) -> RateInfo | None:
    """The limits in the reply: a trial key's calls of this minute have headers of their own."""
    names = ("x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining")
    limit, remaining = (headers.get(name, "") for name in names)
    if limit.isascii() and limit.isdigit():
        left = int(remaining[:9]) if remaining.isascii() and remaining.isdigit() else None
        return RateInfo(int(limit[:9]), left, retry_after_s=retry_after_s(headers))
    return rate_info(headers)


# ---- errors


def error(reply: WireReply, api_key: str | None) -> ProviderError:
    """The error that a reply other than an answer means: `{"id", "message"}`."""
    try:
        words = json_object(reply).get("message")
        message = words if isinstance(words, str) else f"HTTP {reply.status}: {excerpt(reply.body)}"
    except BadReply as bad:
        message = f"HTTP {reply.status}: {bad.message}"
    kind = _kind(message, reply.status)
    told = limits(reply.headers)
    return error_of(kind, message, reply, api_key, limits=told, hint=_HINTS.get(kind))


def _kind(message: str, status: int) -> type[ProviderError]:
    for pattern, kind in SAID:
        if status < 500 and pattern.search(message):
            return kind
    return STATUSES.get(status) or error_for_status(500 if status == 200 else status)


# ---- stream


class CohereStream(Stream):
    """Reads the events from message-start to message-end, which is the end mark."""

    def __init__(self, headers: Mapping[str, str], api_key: str | None) -> None:
        self._headers = headers
        self._api_key = api_key
        self._events = ServerSentEvents()
        self._id: object = None
        self._content: dict[str, list[str]] = {"text": [], "thinking": []}
        self._plan: list[str] = []
        self._citations: list[object] = []
        self._logprobs: list[object] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._end: Mapping[str, Any] | None = None

    def feed(self, data: bytes) -> str:
        return "".join(self._event(event) for _, event in self._events.feed(data))

    def _event(self, data: bytes) -> str:
        if data.strip() == b"[DONE]":
            return ""
        reply = WireReply(200, self._headers, data)
        event = json_object(reply)
        kind, delta = event.get("type"), mapping(event.get("delta"))
        message = mapping(delta.get("message"))
        if kind in ("content-start", "content-delta"):
            return self._add_content(event, mapping(message.get("content")))
        if kind in ("tool-call-start", "tool-call-delta"):
            self._add_call(count(event.get("index")) or 0, mapping(message.get("tool_calls")))
        elif kind == "message-start":
            self._id = event.get("id")
        elif kind == "message-end":
            self._end = delta
        elif isinstance(event.get("message"), str):
            raise error(reply, self._api_key)
        elif isinstance(message.get("tool_plan"), str):
            self._plan.append(message["tool_plan"])
        elif kind == "citation-start" and message.get("citations"):
            self._citations.append(message["citations"])
        return ""

    def _add_content(self, event: Mapping[str, Any], content: Mapping[str, Any]) -> str:
        for kind, pieces in self._content.items():
            if isinstance(content.get(kind), str):
                pieces.append(content[kind])
        if event.get("logprobs"):
            self._logprobs.append(event["logprobs"])
        return text_or_none(content.get("text")) or ""

    def _add_call(self, index: int, call: Mapping[str, Any]) -> None:
        function = mapping(call.get("function"))
        known = self._calls.setdefault(index, {"function": {}})
        if call.get("id"):
            known["id"] = call["id"]
        if function.get("name"):
            known["function"]["name"] = function["name"]
        if isinstance(function.get("arguments"), str):
            self._arguments.setdefault(index, []).append(function["arguments"])

    def finish(self) -> Completion:
        if self._end is None:
            raise Interrupted("the stream ended before the answer did", status=200)
        for index, pieces in self._arguments.items():
            self._calls[index]["function"]["arguments"] = "".join(pieces)
        content = [{kind: "".join(pieces)} for kind, pieces in self._content.items()]
        message = {
            "content": content,
            "tool_calls": [self._calls[index] for index in sorted(self._calls)],
            "tool_plan": "".join(self._plan),
            "citations": self._citations,
        }
        whole = {"id": self._id, "message": message, "logprobs": self._logprobs, **self._end}
        return completion(whole, WireReply(200, self._headers, b""), self._api_key)
