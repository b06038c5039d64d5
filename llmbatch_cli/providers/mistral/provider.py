"""Mistral's chat completions: OpenAI's wire, less what Mistral forbids, and with its own parts.

Sources (read 2026-11-22): docs.mistral.ai/api, the Python SDK 3.7.0 (ChatCompletionRequest,
AssistantMessage, the content chunks, ChatCompletionChoice), and for what is forbidden the API's own
answers ("extra_forbidden") in charmbracelet/crush issue 1590 and eca issue 231.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, ClassVar, Final

from llmbatch_cli.core.errors import (
    OutOfQuota,
    ProviderError,
    RateLimited,
    UnknownModel,
    UsageError,
)
from llmbatch_cli.core.types import Completion, Message, Request, WireReply, WireRequest
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.wire.answers import extras
from llmbatch_cli.providers.wire.draft import Draft, message_fields
from llmbatch_cli.providers.wire.errors import COMMON_CODES, ErrorBody, ErrorRules, by_code
from llmbatch_cli.providers.wire.messages import data_url, plain_base64
from llmbatch_cli.providers.wire.replies import joined, mapping, mappings

NEUTRAL: Final[Mapping[str, Any]] = {"logit_bias": {}, "user": ""}
RENAMED: Final = {"seed": "random_seed", "max_completion_tokens": "max_tokens"}
THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Where earlier answers, of this program and of other hosts, have their thoughts."""
FIELDS: Final = message_fields(tool=("name",), assistant=("prefix", *THOUGHTS))
CODES: Final = {
    **COMMON_CODES,
    **by_code({UnknownModel: "invalid_model 1500", RateLimited: "rate_limited"}),
}

_ALLOWED_A_MINUTE: Final = "x-ratelimit-limit-req-minute"
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Mistral(OpenAI):
    """Mistral's API, or a compatible server."""

    own_hosts: ClassVar[tuple[str, ...]] = ()
    stream_fields: ClassVar[Mapping[str, Any]] = {"stream": True}
    rules = ErrorRules(codes=CODES)
    request_id_headers: ClassVar[Sequence[str]] = ("mistral-correlation-id", "x-request-id")

    def build(self, request: Request) -> WireRequest:
        draft = Draft(request, self.name)
        messages = [_message(message, draft) for message in request.messages]
        return super().build(replace(request, messages=messages))

    def neutral(self, request: Request) -> Mapping[str, Any]:
        return NEUTRAL

    def renamed(self) -> Mapping[str, str]:
        return RENAMED

    def read(self, body: dict[str, Any]) -> Completion:
        completion = super().read(body)
        parts = mappings(mapping(mappings(body["choices"])[0].get("message")).get("content"))
        if parts:
            thinking = (mappings(part.get("thinking")) for part in parts)
            completion.reasoning = "".join(joined(chunks, "text") for chunks in thinking) or None
            references = [part for part in parts if part.get("type") == "reference"]
            completion.extras = {**completion.extras, **extras({"citations": references})}
        return completion

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        failed = super().failed(error, reply, model)
        # A limit of 0 a minute is a key without this model: waiting would never end.
        if isinstance(failed, RateLimited) and reply.headers.get(_ALLOWED_A_MINUTE) == "0":
            return OutOfQuota(
                f"this key is allowed no requests of {model}: {failed.message}",
                status=failed.status,
            )
        return failed


def _message(message: Message, draft: Draft) -> Message:
    """The message in Mistral's form. Raises UsageError for what it does not support."""
    role = draft.role_of(message, FIELDS)
    kept = FIELDS[role] - {*THOUGHTS}
    built = {name: value for name, value in message.items() if name in kept}
    built["role"] = "system" if role == "developer" else role
    content = built.get("content")
    if isinstance(content, list | tuple):
        built["content"] = [_part(part, draft) for part in content]
    thoughts = next((message[name] for name in THOUGHTS if message.get(name)), None)
    if isinstance(thoughts, str):
        built["content"] = _with_thoughts(thoughts, built.get("content"))
    if built.get("tool_calls"):
        built["tool_calls"] = [_tool_call(call) for call in draft.tool_calls_of(built)]
    if isinstance(built.get("tool_call_id"), str):
        built["tool_call_id"] = call_id(built["tool_call_id"])
    return built


def _with_thoughts(thoughts: str, content: object) -> list[Any]:
    chunk = {"type": "thinking", "thinking": [{"type": "text", "text": thoughts}], "closed": True}
    if isinstance(content, list):
        return [chunk, *content]
    return [chunk, {"type": "text", "text": content}] if content else [chunk]


def _part(part: Any, draft: Draft) -> Any:
    """A part of a message's content; those that Mistral has by the same name stay as they are."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        audio = draft.inner(part, "input_audio")
        return {"type": kind, "input_audio": draft.text_field(audio, "data", "a recording")}
    if kind == "file" and "file" in part:
        return _file(draft.inner(part, "file"), draft)
    return part


def _file(file: Mapping[str, Any], draft: Draft) -> Mapping[str, Any]:
    if isinstance(file.get("file_id"), str):
        return {"type": "file", "file_id": file["file_id"]}
    data = file.get("file_data") or file.get("url")
    if not isinstance(data, str):
        raise UsageError(f"a file for {draft.provider} has neither file_id nor file_data")
    if "://" not in data[:10] and data_url(data) is None:
        data = f"data:application/pdf;base64,{plain_base64(data)}"
    named = {"document_name": file["filename"]} if file.get("filename") else {}
    return {"type": "document_url", "document_url": data, **named}


def _tool_call(call: Any) -> Any:
    if isinstance(call, dict) and isinstance(call.get("id"), str):
        return {**call, "id": call_id(call["id"])}
    return call


def call_id(name: str) -> str:
    """The id of a tool call as Mistral demands it, nine letters and digits; the same every time."""
    if _CALL_ID.fullmatch(name):
        return name
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
    number = int.from_bytes(digest, "big")
    size = len(_LETTERS)
    return "".join(_LETTERS[number // size**place % size] for place in range(9))
