"""Anthropic's Messages API, which Claude on Vertex speaks too.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages, /errors, /rate-limits,
/docs/en/build-with-claude/streaming, /handling-stop-reasons, /prompt-caching, and the Python SDK
2.12.0. The version stays 2023-06-01: 2026-10-21 takes temperature, top_p and top_k from the
models that have them (/docs/en/api/migration-2026-10-21) and gives nothing that is used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from llmbatch_cli.core import errors
from llmbatch_cli.core.types import Completion, Request, WireReply, WireRequest
from llmbatch_cli.providers.anthropic.body import body
from llmbatch_cli.providers.anthropic.models import CURRENT, is_retired
from llmbatch_cli.providers.anthropic.stream import MessageStream
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.wire import usage
from llmbatch_cli.providers.wire.answers import (
    extras,
    finish_reason,
    is_one_of,
    missing,
    raise_if_refused,
)
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.errors import (
    ErrorBody,
    ErrorClass,
    ErrorRules,
    by_code,
    holds_error,
)
from llmbatch_cli.providers.wire.messages import json_headers, post
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.replies import (
    blocks_of,
    joined,
    mapping,
    mappings,
    of_type,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import function_call, named

ERROR_TYPES: Final = by_code(
    {
        errors.Rejected: "invalid_request_error request_too_large not_found_error",
        errors.Unauthorized: "authentication_error permission_error",
        errors.OutOfQuota: "billing_error",
        errors.RateLimited: "rate_limit_error",
        errors.Overloaded: "api_error timeout_error overloaded_error conflict_error",
        errors.ContextLength: "exceed_context_size_error",
    }
)
"""`error.type`; the last is llama.cpp's."""
WORDS: Final = (
    (CONTEXT_LENGTH, errors.ContextLength),
    ("credit balance is too low|api usage limits|spend limit", errors.OutOfQuota),
    ("content filtering policy", errors.Refused),
)
_MODELS_HINT: Final = (
    f"current models are {', '.join(CURRENT)}; llmbatch models anthropic lists all"
)


class Anthropic(JsonProvider):
    """The Messages API at one address with one key."""

    rules = ErrorRules(words=WORDS, codes=ERROR_TYPES, hints={errors.UnknownModel: _MODELS_HINT})
    request_id_headers: ClassVar[Sequence[str]] = ("request-id",)
    stream_reader = MessageStream
    usage_fields = usage.ANTHROPIC

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

    def is_error(self, body: Mapping[str, Any]) -> bool:
        return body.get("type") == "error" or holds_error(body)

    def read(self, body: dict[str, Any]) -> Completion:
        content, native = body.get("content"), text_or_none(body.get("stop_reason"))
        if not isinstance(content, list | dict | str):
            raise_if_refused(native)
            raise missing("content", body)
        blocks = blocks_of(content)
        text = joined(of_type("text", blocks), "text")
        calls = named(
            function_call(use.get("id"), use.get("name"), use.get("input"), place)
            for place, use in enumerate(of_type("tool_use", blocks))
        )
        if not text and is_one_of(native, ("refusal",)):
            details = mapping(body.get("stop_details"))
            raise_if_refused(native, details.get("explanation") or details.get("category"))
        return Completion(
            text=text or (None if calls else ""),
            finish_reason=finish_reason(native),
            native_finish_reason=native,
            model=text_or_none(body.get("model")),
            reasoning=joined(of_type("thinking", blocks), "thinking", "\n\n") or None,
            tool_calls=calls,
            extras=_extras(body, blocks),
            response_id=text_or_none(body.get("id")),
        )

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> errors.ProviderError:
        if self.error_class(error) is errors.UnknownModel and is_retired(model):
            message = f"{model} was retired by {self.name} ({error.message})"
            error = replace(error, message=message)
        return super().failed(error, reply, model)

    def error_class(self, error: ErrorBody) -> ErrorClass:
        # The same 429 as for too many requests, and the month's end to wait for.
        code = text_or_none(mapping(error.fields.get("details")).get("error_code")) or ""
        if code.endswith("spend_limit_reached"):
            return errors.OutOfQuota
        kind = super().error_class(error)
        # A wrong path is a not_found_error, too.
        names_model = error.status == 404 and "model" in error.message.lower()
        return errors.UnknownModel if kind is errors.Rejected and names_model else kind


def _extras(body: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Citations, the stop sequence that was met, why the model refused, the provider's tools.

    And what the next turn must give back: thinking with its signature. What `usage` counts
    that has no name with us comes where it counts anything.
    """
    known = ("text", "thinking", "redacted_thinking", "tool_use")
    counted = mapping(body.get("usage"))
    found = {
        "citations": [one for block in blocks for one in mappings(block.get("citations"))],
        "stop_sequence": body.get("stop_sequence"),
        "stop_details": body.get("stop_details"),
        "thinking_blocks": [block for block in blocks if _is_signed(block)],
        "blocks": [block for block in blocks if block.get("type") not in known],
    }
    for name in ("cache_creation", "server_tool_use"):
        if any(mapping(counted.get(name)).values()):
            found[name] = counted[name]
    return extras(found)


def _is_signed(block: Mapping[str, Any]) -> bool:
    kind = block.get("type")
    return kind == "redacted_thinking" or (kind == "thinking" and bool(block.get("signature")))
