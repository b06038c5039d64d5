"""What Cohere answers, whole or as a stream, and its errors.

Sources (read 2026-11-22): docs.cohere.com/v2/reference/chat, /v2/reference/chat-stream,
/v2/docs/streaming, /reference/errors, /docs/rate-limits; cohere 7.3.1, types/ (usage,
chat_finish_reason, logprob_item) and v2/types/v2chat_stream_response.py.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core import errors
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.providers.wire.answers import extras, finish_reason, is_one_of, missing
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.errors import ErrorRules
from llmbatch_cli.providers.wire.provider import EventStream, Pieces
from llmbatch_cli.providers.wire.replies import (
    blocks_of,
    clean,
    joined,
    mapping,
    mappings,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import ToolCallPieces, function_call, named

RULES: Final = ErrorRules(
    # 498: a deny-listed token in the prompt or the answer; 499: cancelled, "try again".
    statuses={498: errors.Refused, 499: errors.Overloaded, 501: errors.Rejected},
    words=(
        (r"^too many tokens: max tokens", errors.Rejected),
        (CONTEXT_LENGTH, errors.ContextLength),
        (r"\bmodel\b.{0,200}(not found|was removed|not supported|deprecated)", errors.UnknownModel),
        (r"limited to [\d,]+ api calls / month", errors.OutOfQuota),
        (r"maximum billing reached|update your payment method", errors.OutOfQuota),
    ),
    common_words=False,
    hints={
        errors.UnknownModel: "llmbatch models cohere lists what this key may use",
        errors.OutOfQuota: "a trial key has 1,000 calls a month; dashboard.cohere.com has "
        "production keys",
    },
)
"""Cohere's errors carry no code, so only the message classifies them."""


def completion(body: Mapping[str, Any]) -> Completion:
    """The answer in a body of /v2/chat. Raises ProviderError for a body without one."""
    message = body.get("message")
    native = text_or_none(body.get("finish_reason"))
    if not isinstance(message, dict):
        raise missing("message", body)
    if is_one_of(native, ("error", "timeout")):
        words = text_or_none(body.get("error")) or str(native)
        raise errors.Overloaded(f"the server gave up on the answer: {clean(words)}", status=200)
    calls = []
    for place, call in enumerate(mappings(message.get("tool_calls"))):
        function = mapping(call.get("function"))
        # A call without arguments has an empty text, which is not JSON.
        arguments = text_or_none(function.get("arguments")) or None
        calls.append(function_call(call.get("id"), function.get("name"), arguments, place))
    calls = named(calls)
    parts = blocks_of(message.get("content"))
    return Completion(
        text=joined(parts, "text") or (None if calls else ""),
        finish_reason=finish_reason(native),
        native_finish_reason=native,
        reasoning=joined(parts, "thinking") or None,
        tool_calls=calls,
        extras=extras(
            {
                "citations": message.get("citations"),
                "tool_plan": message.get("tool_plan"),
                "billed_units": mapping(body.get("usage")).get("billed_units"),
                "logprobs": _logprobs(mappings(body.get("logprobs"))),
            }
        ),
        response_id=text_or_none(body.get("id")),
    )


def _logprobs(items: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Cohere's log probabilities in OpenAI's shape; a piece of several tokens has their sum."""
    content = []
    for item in items:
        found = item.get("logprobs")
        numbers = [n for n in found if type(n) in (int, float)] if isinstance(found, list) else []
        content.append({"token": item.get("text"), "logprob": sum(numbers) if numbers else None})
    return {"content": content} if content else None


class CohereStream(EventStream):
    """Reads the events from message-start to message-end, which is the end mark."""

    def begin(self, request: Request) -> None:
        self._id: object = None
        self._pieces = Pieces()
        self._lists: defaultdict[str, list[object]] = defaultdict(list)
        self._calls = ToolCallPieces()
        self._end: Mapping[str, Any] = {}

    def add(self, event: dict[str, Any]) -> str:
        kind, delta = event.get("type"), mapping(event.get("delta"))
        message = mapping(delta.get("message"))
        if kind == "message-start":
            self._id = event.get("id")
        elif kind == "message-end":
            self._end = delta
            self.ended = True
        elif kind in ("tool-call-start", "tool-call-delta"):
            self._calls.add({**mapping(message.get("tool_calls")), "index": event.get("index")})
        elif kind == "citation-start" and message.get("citations"):
            self._lists["citations"].append(message["citations"])
        elif kind in ("content-start", "content-delta") and event.get("logprobs"):
            self._lists["logprobs"].append(event["logprobs"])
        content = mapping(message.get("content"))
        self._pieces.add("tool_plan", message.get("tool_plan"))
        self._pieces.add("thinking", content.get("thinking"))
        return self._pieces.add("text", content.get("text"))

    def is_whole(self, event: Mapping[str, Any]) -> bool:
        return "message" in event and "delta" not in event

    def whole(self) -> dict[str, Any]:
        texts = self._pieces.whole()
        message = {
            "content": [texts],
            "tool_calls": self._calls.whole(),
            "tool_plan": texts.get("tool_plan"),
            "citations": self._lists["citations"],
        }
        whole = {"id": self._id, "message": message, "logprobs": self._lists["logprobs"]}
        return {**whole, **self._end}
