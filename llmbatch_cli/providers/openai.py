"""OpenAI's chat completions, the wire that most hosts and servers speak.

Source: platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes (read 2026-11-22).
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmbatch_cli import __version__
from llmbatch_cli.errors import (
    BadReply,
    ContextLength,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    UnknownModel,
    UsageError,
)
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.openai_stream import ChatStream
from llmbatch_cli.providers.replies import (
    clean,
    count,
    error_for_status,
    excerpt,
    json_object,
    mapping,
    rate_info,
    retry_after_s,
    text_or_none,
    without_key,
)
from llmbatch_cli.types import Completion, FinishReason, Request, Usage, WireReply, WireRequest

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""OpenAI's finish reasons, and those that compatible hosts send in their place."""

ERROR_CODES: Final[Mapping[str, type[ProviderError]]] = {
    "insufficient_quota": OutOfQuota,
    "billing_hard_limit_reached": OutOfQuota,
    "billing_not_active": OutOfQuota,
    "invalid_api_key": Unauthorized,
    "rate_limit_exceeded": RateLimited,
    "context_length_exceeded": ContextLength,
    "exceed_context_size_error": ContextLength,
    "model_not_found": UnknownModel,
    "content_filter": Refused,
    "content_policy_violation": Refused,
}
"""`error.code` or `error.type` where it says more than the status."""


class OpenAI(Provider):
    """One server that speaks chat completions."""

    max_tokens_name = "max_tokens"
    """What the server calls the bound on the answer's tokens."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": f"llmbatch/{__version__}",
        }
        if settings.api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.api_key}"

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._url = f"{self.base_url}/chat/completions"

    def build(self, request: Request) -> WireRequest:
        body: dict[str, Any] = {"model": request.model, "messages": request.messages}
        headers = self._headers
        if request.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        if request.params:
            headers = self._add_params(body, request.params)
        try:
            return WireRequest("POST", self._url, headers, orjson.dumps(body))
        except TypeError as error:
            raise UsageError(f"the request cannot be written as JSON: {error}") from error

    def _add_params(self, body: dict[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
        headers = self._headers
        for name, value in params.items():
            if name == "max_tokens":
                body[self.max_tokens_name] = value
            elif name == "extra_headers":
                headers = {**headers, **value}
            elif name != "extra_body":
                body[name] = value
        body.update(params.get("extra_body", ()))
        return headers

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        asked = count(request.params.get("n")) or 1
        return ChatStream(lambda reply: self.parse(request, reply), headers, content_text, asked)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(reply)
        body = json_object(reply)
        choices = body.get("choices")
        if body.get("error"):
            raise self.error(reply)
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise BadReply(f"the reply has no choices: {excerpt(reply.body)}", status=200)
        return self._completion(reply, body, choices)

    def _completion(
        self, reply: WireReply, body: dict[str, Any], choices: list[dict[str, Any]]
    ) -> Completion:
        first = choices[0]
        message = first.get("message")
        if not isinstance(message, dict):
            raise BadReply(f"the reply's choice has no message: {excerpt(reply.body)}", status=200)
        native = text_or_none(first.get("finish_reason"))
        text = content_text(message.get("content"))
        tool_calls = message.get("tool_calls") or ()
        if not text:
            _raise_if_refused(message, native)
        return Completion(
            text=text,
            finish_reason=FINISH_REASONS.get(native) if native is not None else None,
            native_finish_reason=native,
            usage=usage(body.get("usage")),
            model=text_or_none(body.get("model")),
            reasoning=_reasoning(message),
            tool_calls=tool_calls if isinstance(tool_calls, list) else (),
            choices=choices if len(choices) > 1 else (),
            extras=_extras(first, message),
            response_id=text_or_none(body.get("id")),
            request_id=reply.headers.get("x-request-id"),
            limits=rate_info(reply.headers),
        )

    def error(self, reply: WireReply) -> ProviderError:
        """The error that a reply other than an answer means."""
        said = _said(reply)
        kind = ERROR_CODES.get(str(said.get("code"))) or ERROR_CODES.get(str(said.get("type")))
        status = reply.status
        if kind is None and status == 200:
            status = count(said.get("code")) or 500
        kind = kind or error_for_status(status)
        return kind(
            clean(without_key(said["message"], self._api_key)),
            status=reply.status,
            retry_after_s=retry_after_s(reply.headers),
        )


def _said(reply: WireReply) -> dict[str, Any]:
    """`error` of the body, whatever its shape, with a message in every case."""
    said: object
    try:
        body = json_object(reply)
        said = body.get("error", body)
    except BadReply as bad:
        said = f"HTTP {reply.status}: {bad.message}"
    found = dict(said) if isinstance(said, dict) else {"message": said}
    message = found.get("message") or found.get("detail")
    found["message"] = message if isinstance(message, str) else _unworded(reply)
    return found


def _unworded(reply: WireReply) -> str:
    return f"HTTP {reply.status}: {excerpt(reply.body)}"


def content_text(content: object) -> str | None:
    """A message's content as text: a string as it is, of a list its text parts joined."""
    if isinstance(content, str) or content is None:
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return None


def _raise_if_refused(message: Mapping[str, Any], native: str | None) -> None:
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        raise Refused(f"the model refused: {clean(refusal)}", status=200)
    if native == "content_filter":
        raise Refused("the content filter left nothing of the answer", status=200)


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """`reasoning_content` (DeepSeek, vLLM, llama.cpp) or `reasoning` (OpenRouter, Groq)."""
    found = message.get("reasoning_content") or message.get("reasoning")
    return found if isinstance(found, str) else None


def _extras(choice: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    extras = {}
    if len(message) > 2:
        for name in ("refusal", "audio", "annotations"):
            if message.get(name):
                extras[name] = message[name]
    if choice.get("logprobs"):
        extras["logprobs"] = choice["logprobs"]
    return extras


def usage(value: object) -> Usage | None:
    """OpenAI's usage object; None where there is none."""
    if not isinstance(value, dict):
        return None
    return Usage(
        prompt_tokens=count(value.get("prompt_tokens")),
        completion_tokens=count(value.get("completion_tokens")),
        total_tokens=count(value.get("total_tokens")),
        cached_tokens=count(mapping(value.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(
            mapping(value.get("completion_tokens_details")).get("reasoning_tokens")
        ),
    )
