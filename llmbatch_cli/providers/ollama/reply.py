"""What Ollama answers, whole or as a stream of JSON lines, and its errors.

Sources (read 2026-11-22): docs.ollama.com/api/chat, /api/errors, /api/streaming; ollama/ollama
api/types.go (ChatResponse, DoneReason) and server/routes.go; errors of its cloud as users have
recorded them in continuedev/continue issues 9233 and 11444.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    Interrupted,
    OutOfQuota,
    ProviderError,
    Rejected,
    UnknownModel,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, FinishReason, WireReply
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.openai.provider import writable
from llmbatch_cli.providers.wire.framing import Lines
from llmbatch_cli.providers.wire.replies import (
    arguments_json,
    clean,
    count,
    error_for_status,
    error_of,
    excerpt,
    json_object,
    mapping,
    rate_info,
    text_or_none,
)

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length"}
"""A stop behind tool calls is `tool_calls`; `load` and `unload` end no answer."""

SAID: Final = (
    (re.compile(r"(?i)\bmodel\b.{0,200}\bnot found"), UnknownModel),
    (re.compile(r"(?i)(hourly|session|daily|weekly|monthly) usage limit"), OutOfQuota),
    (re.compile(r"(?i)exceeds? the (available )?context (length|size)"), ContextLength),
    (re.compile(r"(?i)requires more system memory|does not support|invalid model name"), Rejected),
)
"""What only the message tells: Ollama's errors carry no code."""


def completion(body: Mapping[str, Any], reply: WireReply) -> Completion:
    """The answer in a body of /api/chat. Raises ProviderError for a body without one."""
    message = body.get("message")
    if not isinstance(message, dict):
        raise BadReply(f"the reply has no message: {excerpt(reply.body)}", status=reply.status)
    if body.get("done") is False:
        raise BadReply("the reply is only the beginning of an answer", status=reply.status)
    native = text_or_none(body.get("done_reason"))
    tool_calls = list(_calls(message.get("tool_calls")))
    text = text_or_none(message.get("content")) or ""
    if native in ("load", "unload") and not text and not tool_calls:
        raise BadReply(f"the server has only {native}ed the model", status=reply.status)
    return Completion(
        text=text or (None if tool_calls else ""),
        finish_reason=_finish(native, bool(tool_calls)),
        native_finish_reason=native,
        usage=usage(body),
        model=text_or_none(body.get("model")),
        reasoning=text_or_none(message.get("thinking")) or None,
        tool_calls=tool_calls,
        extras=writable(_extras(body)),
        request_id=reply.headers.get("x-request-id"),
        limits=rate_info(reply.headers),
    )


def _finish(native: str | None, called: bool) -> FinishReason | None:
    finish = FINISH_REASONS.get(native) if native is not None else None
    return "tool_calls" if called and finish == "stop" else finish


def _calls(value: object) -> Iterator[dict[str, Any]]:
    for place, call in enumerate(value if isinstance(value, list) else ()):
        function = mapping(mapping(call).get("function"))
        yield {
            "id": text_or_none(mapping(call).get("id")) or f"call_{place}",
            "type": "function",
            "function": {
                "name": text_or_none(function.get("name")) or "",
                "arguments": arguments_json(function.get("arguments")),
            },
        }


def _extras(body: Mapping[str, Any]) -> dict[str, Any]:
    """Log probabilities, whose entries are OpenAI's already, and the times in nanoseconds."""
    found = {name: body[name] for name in body if name.endswith("_duration") and count(body[name])}
    if isinstance(body.get("logprobs"), list) and body["logprobs"]:
        found["logprobs"] = {"content": body["logprobs"]}
    return found


def usage(body: Mapping[str, Any]) -> Usage | None:
    """Ollama's counts; thoughts are among those of the answer. None where there is neither."""
    asked, answered = count(body.get("prompt_eval_count")), count(body.get("eval_count"))
    if asked is None and answered is None:
        return None
    total = None if asked is None or answered is None else asked + answered
    return Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=total)


# ---- errors


def error(reply: WireReply, model: str, api_key: str | None) -> ProviderError:
    """The error that a reply other than an answer means: `{"error": "..."}`."""
    try:
        said = json_object(reply).get("error")
        words = mapping(said).get("message", said)
        message = words if isinstance(words, str) else f"HTTP {reply.status}: {excerpt(reply.body)}"
    except BadReply as bad:
        message = f"HTTP {reply.status}: {bad.message}"
    kind = _kind(message, reply.status)
    return error_of(kind, message, reply, api_key, hint=_hint(kind, model))


def _kind(message: str, status: int) -> type[ProviderError]:
    for pattern, kind in SAID:
        if pattern.search(message):
            return kind
    return error_for_status(500 if status == 200 else status)


def _hint(kind: type[ProviderError], model: str) -> str | None:
    if kind is UnknownModel:
        return f"`ollama pull {clean(model, 200)}` fetches it; `ollama list` tells what is there"
    if kind is OutOfQuota:
        return "a local model has no such limit; ollama.com/settings shows what is left"
    return None


# ---- stream


class OllamaStream(Stream):
    """Reads one JSON object a line; the one that is `done` is the end mark, and has the counts."""

    def __init__(self, headers: Mapping[str, str], model: str, api_key: str | None) -> None:
        self._headers = headers
        self._model = model
        self._api_key = api_key
        self._lines = Lines()
        self._texts: dict[str, list[str]] = {"content": [], "thinking": []}
        self._lists: dict[str, list[object]] = {"tool_calls": [], "logprobs": []}
        self._end: dict[str, Any] | None = None

    def feed(self, data: bytes) -> str:
        return "".join(self._line(line) for line in self._lines.feed(data))

    def _line(self, line: bytes) -> str:
        if not line.strip():
            return ""
        reply = WireReply(200, self._headers, line)
        piece = json_object(reply)
        if piece.get("error"):
            raise error(reply, self._model, self._api_key)
        message = mapping(piece.get("message"))
        for name, texts in self._texts.items():
            if isinstance(message.get(name), str):
                texts.append(message[name])
        for name, found in (("tool_calls", message), ("logprobs", piece)):
            if isinstance(found.get(name), list):
                self._lists[name] += found[name]
        if piece.get("done") is True:
            self._end = piece
        return text_or_none(message.get("content")) or ""

    def finish(self) -> Completion:
        rest = self._lines.rest()
        if self._end is None and rest.strip():
            self._last(rest)
        if self._end is None:
            raise Interrupted("the stream ended before the answer did", status=200)
        message: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items()}
        message["tool_calls"] = self._lists["tool_calls"]
        whole = {**self._end, "message": message, "logprobs": self._lists["logprobs"]}
        return completion(whole, WireReply(200, self._headers, b""))

    def _last(self, line: bytes) -> None:
        """A last line without its end may be whole; one that is not was cut off."""
        try:
            self._line(line)
        except BadReply as bad:
            raise Interrupted("the stream was cut off within a line", status=200) from bad
