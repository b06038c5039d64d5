"""What Ollama answers, whole or as a stream of JSON lines, and its errors.

Sources (read 2026-11-22): docs.ollama.com/api/chat, /api/errors, /api/streaming; ollama/ollama
api/types.go (ChatResponse, DoneReason) and server/routes.go; errors of its cloud as users have
recorded them in continuedev/continue issues 9233 and 11444.
"""

from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core import errors
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.providers.wire.answers import extras, finish_reason, is_one_of, missing
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.errors import ErrorRules
from llmbatch_cli.providers.wire.provider import EventStream, Pieces
from llmbatch_cli.providers.wire.replies import (
    content_text,
    count,
    mapping,
    mappings,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import function_call, named

RULES: Final = ErrorRules(
    words=(
        (r"\bmodel\b.{0,200}\bnot found", errors.UnknownModel),
        (r"(hourly|session|daily|weekly|monthly) usage limit", errors.OutOfQuota),
        (CONTEXT_LENGTH, errors.ContextLength),
        (r"requires more system memory|does not support|invalid model name", errors.Rejected),
    ),
    # A model too large for the machine is a 500.
    words_of_overload=True,
    common_words=False,
)
"""Ollama's errors carry no code, so only the message classifies them."""


def completion(body: Mapping[str, Any]) -> Completion:
    """The answer in a body of /api/chat. Raises ProviderError for a body without one."""
    message = body.get("message")
    if not isinstance(message, dict):
        raise missing("message", body)
    if body.get("done") is False:
        raise errors.BadReply("the reply is only the beginning of an answer", status=200)
    native = text_or_none(body.get("done_reason"))
    calls = []
    for place, call in enumerate(mappings(message.get("tool_calls"))):
        function, call_id = mapping(call.get("function")), call.get("id")
        calls.append(function_call(call_id, function.get("name"), function.get("arguments"), place))
    calls = named(calls)
    text = content_text(message.get("content")) or ""
    if is_one_of(native, ("load", "unload")) and not text and not calls:
        raise errors.BadReply(f"the server has only {native}ed the model", status=200)
    finish = finish_reason(native)
    return Completion(
        text=text or (None if calls else ""),
        finish_reason="tool_calls" if calls and finish == "stop" else finish,
        native_finish_reason=native,
        model=text_or_none(body.get("model")),
        reasoning=text_or_none(message.get("thinking")) or None,
        tool_calls=calls,
        extras=_extras(body),
    )


def _extras(body: Mapping[str, Any]) -> dict[str, Any]:
    """Log probabilities, whose entries are OpenAI's already, and the times in nanoseconds."""
    found = {name: count(body[name]) for name in body if name.endswith("_duration")}
    logprobs = body.get("logprobs")
    content = {"content": logprobs} if isinstance(logprobs, list) and logprobs else None
    return extras({**found, "logprobs": content})


class OllamaStream(EventStream):
    """Reads one JSON object a line; the one that is `done` is the end mark, and has the counts."""

    whole_begins = b"[<"

    def begin(self, request: Request) -> None:
        self._pieces = Pieces()
        self._calls: list[Any] = []
        self._logprobs: list[Any] = []
        self._end: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> str:
        message = mapping(event.get("message"))
        self._pieces.add("thinking", message.get("thinking"))
        self._calls += mappings(message.get("tool_calls"))
        self._logprobs += mappings(event.get("logprobs"))
        if event.get("done") is True:
            self._end = event
            self.ended = True
        return self._pieces.add("content", message.get("content"))

    def whole(self) -> dict[str, Any]:
        message = {**self._pieces.whole(), "tool_calls": self._calls}
        return {**self._end, "message": message, "logprobs": self._logprobs}
