"""Anthropic's Messages API, which Claude on Vertex speaks too.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages, /errors, /rate-limits,
/docs/en/build-with-claude/streaming, /handling-stop-reasons, /prompt-caching, and the Python SDK
2.12.0. The version stays 2023-06-01: 2026-10-21 takes temperature, top_p and top_k from the
models that have them (/docs/en/api/migration-2026-10-21) and gives nothing that is used here.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    UnknownModel,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import (
    Completion,
    FinishReason,
    RateInfo,
    Request,
    WireReply,
    WireRequest,
)
from llmbatch_cli.providers.anthropic.body import body
from llmbatch_cli.providers.anthropic.models import CURRENT, is_retired
from llmbatch_cli.providers.anthropic.stream import MessageStream
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.wire.messages import json_headers, post
from llmbatch_cli.providers.wire.replies import (
    LONGEST_WAIT_S,
    arguments_json,
    clean,
    count,
    error_for_status,
    error_of,
    excerpt,
    json_object,
    mapping,
    retry_after_s,
    text_or_none,
    without_key,
)

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reasons by their meaning; `pause_turn`, a turn that the provider broke off, has none."""

ERROR_TYPES: Final[Mapping[str, type[ProviderError]]] = {
    "invalid_request_error": Rejected,
    "request_too_large": Rejected,
    "authentication_error": Unauthorized,
    "permission_error": Unauthorized,
    "billing_error": OutOfQuota,
    "not_found_error": Rejected,
    "rate_limit_error": RateLimited,
    "api_error": Overloaded,
    "timeout_error": Overloaded,
    "overloaded_error": Overloaded,
    "conflict_error": Overloaded,
    "exceed_context_size_error": ContextLength,
}
"""`error.type`; the last is llama.cpp's."""

_MEANINGS: Final = (
    (re.compile(r"prompt is too long|exceed context limit|context (window|size)"), ContextLength),
    (re.compile(r"credit balance is too low|api usage limits|spend limit"), OutOfQuota),
    (re.compile(r"content filtering policy"), Refused),
)
"""What an `invalid_request_error` means by its message, where it is more than a bad request."""

_MODELS_HINT: Final = (
    f"current models are {', '.join(CURRENT)}; `llmbatch models anthropic` lists all"
)


class Anthropic(Provider):
    """The Messages API at one address with one key."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = {**json_headers(), "anthropic-version": "2023-06-01"}
        if settings.api_key is not None:
            self._headers["x-api-key"] = settings.api_key

    def aim(self, base_url: str) -> None:
        """Send to this address; `/v1` may be missing, as it is in the SDKs' ANTHROPIC_BASE_URL."""
        super().aim(base_url)
        version = "" if self.base_url.endswith("/v1") else "/v1"
        self._url = f"{self.base_url}{version}/messages"

    def build(self, request: Request) -> WireRequest:
        return post(self.address(request), self._headers, request, self.body(request))

    def address(self, request: Request) -> str:
        """Where this request goes."""
        return self._url

    def body(self, request: Request) -> dict[str, Any]:
        """The request's body. Raises UnsupportedParameter, or UsageError for its messages."""
        return body(request, self.name)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(request, reply)
        message = json_object(reply)
        if message.get("type") == "error" or message.get("error"):
            raise self.error(request, reply)
        return self.read(message, reply.headers)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        def error(data: bytes) -> ProviderError:
            return self.error(request, WireReply(200, headers, data))

        return MessageStream(lambda message: self.read(message, headers), error)

    def read(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> Completion:
        """The answer in a message object. Raises Refused and BadReply."""
        content = message.get("content")
        if not isinstance(content, list):
            found = clean(", ".join(message), 200) or "nothing"
            raise BadReply(f"the reply has no content, only {found}", status=200)
        blocks = [block for block in content if isinstance(block, dict)]
        native = text_or_none(message.get("stop_reason"))
        texts = _texts(blocks, "text")
        calls = _tool_calls(blocks)
        text = "".join(texts) if texts or not calls else None
        if native == "refusal" and not text:
            raise Refused(_refusal(message, self._api_key), status=200)
        thoughts = "\n\n".join(filter(None, _texts(blocks, "thinking")))
        return Completion(
            text=text,
            finish_reason=FINISH_REASONS.get(native) if native is not None else None,
            native_finish_reason=native,
            usage=usage(message.get("usage")),
            model=text_or_none(message.get("model")),
            reasoning=thoughts or None,
            tool_calls=calls,
            extras=_extras(message, blocks),
            response_id=text_or_none(message.get("id")),
            request_id=headers.get("request-id"),
            limits=rate_info(headers),
        )

    def error(self, request: Request, reply: WireReply) -> ProviderError:
        """The error that a reply other than an answer means."""
        kind, message = _said(reply)
        model = request.model
        meant = _meaning(kind, message, reply.status)
        hint = None
        if reply.status == 404 and meant is Rejected and _speaks_of_model(message, model):
            meant, hint = UnknownModel, _MODELS_HINT
            if is_retired(model):
                message = f"{model} was retired by {self.name} and answers no more ({message})"
        limits = rate_info(reply.headers)
        return error_of(meant, message, reply, self._api_key, limits=limits, hint=hint)


def _said(reply: WireReply) -> tuple[str | None, str]:
    """The error's type and message, whatever the body's shape."""
    try:
        found = json_object(reply)
    except BadReply as bad:
        return None, f"HTTP {reply.status}: {bad.message}"
    said = found.get("error")
    if not isinstance(said, dict):
        said = found if said is None else {"message": said}
    message = said.get("message")
    if not isinstance(message, str) or not message:
        message = f"HTTP {reply.status}: {excerpt(reply.body)}"
    return text_or_none(said.get("type")), message


def _meaning(kind: str | None, message: str, status: int) -> type[ProviderError]:
    by_type = ERROR_TYPES.get(kind or "")
    if by_type is None:
        by_type = error_for_status(500 if status == 200 else status)
    if by_type in (Rejected, RateLimited):
        said = message.lower()
        for pattern, meant in _MEANINGS:
            if pattern.search(said):
                return meant
    return by_type


def _speaks_of_model(message: str, model: str) -> bool:
    return model in message or "model" in message.lower()


def _refusal(message: Mapping[str, Any], api_key: str | None) -> str:
    details = mapping(message.get("stop_details"))
    why = text_or_none(details.get("explanation")) or text_or_none(details.get("category"))
    return clean(without_key(f"the model refused: {why or 'it gave no reason'}", api_key))


def _texts(blocks: list[dict[str, Any]], kind: str) -> list[str]:
    found = (block.get(kind) for block in blocks if block.get("type") == kind)
    return [text for text in found if isinstance(text, str)]


def _tool_calls(blocks: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    uses = [block for block in blocks if block.get("type") == "tool_use"]
    return [
        {
            "id": text_or_none(use.get("id")) or f"call_{place}",
            "type": "function",
            "function": {
                "name": text_or_none(use.get("name")) or "",
                "arguments": arguments_json(use.get("input")),
            },
        }
        for place, use in enumerate(uses)
    ]


def _extras(message: Mapping[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Citations, the stop sequence that was met, why the model refused, the provider's tools.

    And what the next turn must give back: thinking with its signature. What `usage` counts
    that has no name with us comes where it counts anything.
    """
    citations = [
        citation
        for block in blocks
        if isinstance(block.get("citations"), list)
        for citation in block["citations"]
    ]
    known = ("text", "thinking", "redacted_thinking", "tool_use")
    counted = mapping(message.get("usage"))
    found = {
        "citations": citations,
        "stop_sequence": message.get("stop_sequence"),
        "stop_details": message.get("stop_details"),
        "thinking_blocks": [block for block in blocks if _is_signed(block)],
        "blocks": [block for block in blocks if block.get("type") not in known],
        **{name: counted[name] for name in _COUNTED if any(mapping(counted.get(name)).values())},
    }
    return {name: value for name, value in found.items() if value}


_COUNTED: Final = ("cache_creation", "server_tool_use")


def _is_signed(block: Mapping[str, Any]) -> bool:
    kind = block.get("type")
    return kind == "redacted_thinking" or (kind == "thinking" and bool(block.get("signature")))


def usage(value: object) -> Usage | None:
    """Anthropic's usage as OpenAI counts it: the prompt with what the cache gave and took."""
    if not isinstance(value, dict):
        return None
    new = count(value.get("input_tokens"))
    read = count(value.get("cache_read_input_tokens"))
    written = count(value.get("cache_creation_input_tokens"))
    answer = count(value.get("output_tokens"))
    prompt = None if new is None else new + (read or 0) + (written or 0)
    details = mapping(value.get("output_tokens_details"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answer,
        total_tokens=None if prompt is None or answer is None else prompt + answer,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(details.get("thinking_tokens")),
    )


def rate_info(headers: Mapping[str, str], now: datetime | None = None) -> RateInfo | None:
    """The limits in the `anthropic-ratelimit-*` headers; None without any.

    Tokens are those of the tightest limit in force, as the provider picks it, else the input's.
    """
    prefix = "anthropic-ratelimit-"
    tokens = "tokens" if f"{prefix}tokens-limit" in headers else "input-tokens"
    wait_s = retry_after_s(headers, now)
    requests_limit = _whole(headers.get(f"{prefix}requests-limit"))
    tokens_limit = _whole(headers.get(f"{prefix}{tokens}-limit"))
    if requests_limit is None and tokens_limit is None and wait_s is None:
        return None
    moment = now or datetime.now(UTC)
    return RateInfo(
        limit_requests=requests_limit,
        remaining_requests=_whole(headers.get(f"{prefix}requests-remaining")),
        reset_requests_s=_seconds_until(headers.get(f"{prefix}requests-reset"), moment),
        limit_tokens=tokens_limit,
        remaining_tokens=_whole(headers.get(f"{prefix}{tokens}-remaining")),
        reset_tokens_s=_seconds_until(headers.get(f"{prefix}{tokens}-reset"), moment),
        retry_after_s=wait_s,
    )


def _whole(value: str | None) -> int | None:
    return count(int(value)) if value is not None and re.fullmatch(r"\d{1,15}", value) else None


def _seconds_until(value: str | None, now: datetime) -> float | None:
    """Seconds until an RFC 3339 moment, 0 if it has passed; None if it is none."""
    try:
        moment = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_WAIT_S)
