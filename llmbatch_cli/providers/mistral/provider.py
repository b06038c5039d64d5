"""Mistral's chat completions: OpenAI's wire, less what Mistral forbids, and with its own parts.

Sources (read 2026-11-22): docs.mistral.ai/api, the Python SDK 3.7.0 (ChatCompletionRequest,
AssistantMessage, the content chunks, ChatCompletionChoice), and for what is forbidden the API's own
answers ("extra_forbidden") in charmbracelet/crush issue 1590 and eca issue 231.
"""

import re
from collections.abc import Mapping, Sequence
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
from llmbatch_cli.providers.wire.errors import COMMON_CODES, ErrorBody, ErrorRules, by_code
from llmbatch_cli.providers.wire.messages import (
    check_fields,
    data_url,
    inner,
    plain_base64,
    text_field,
    tool_calls_of,
)
from llmbatch_cli.providers.wire.replies import joined, mappings

REFUSED: Final[Mapping[str, Any]] = {"logit_bias": {}, "user": ""}
RENAMED: Final = {"seed": "random_seed"}
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "prefix")),
    "tool": frozenset(("role", "content", "tool_call_id", "name")),
}
"""The fields that a message of each role may have; any other is answered with an error."""
THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Where the answers of this program and of other hosts keep thoughts; said as a thinking chunk."""
CODES: Final = {
    **COMMON_CODES,
    **by_code({UnknownModel: "invalid_model 1500", RateLimited: "rate_limited"}),
}

_ALLOWED_A_MINUTE: Final = "x-ratelimit-limit-req-minute"
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Mistral(OpenAI):
    """Mistral's API, or a server that speaks as it does."""

    own_hosts: ClassVar[tuple[str, ...]] = ()
    stream_fields: ClassVar[Mapping[str, Any]] = {"stream": True}
    rules = ErrorRules(codes=CODES)
    request_id_headers: ClassVar[Sequence[str]] = ("mistral-correlation-id", "x-request-id")

    def build(self, request: Request) -> WireRequest:
        said = [_message(message, self.name) for message in request.messages]
        return super().build(Request(request.model, said, request.params, request.stream))

    def refused(self, request: Request) -> Mapping[str, Any]:
        return REFUSED

    def renames(self) -> Mapping[str, str]:
        return RENAMED

    def read(self, body: dict[str, Any]) -> Completion:
        completion = super().read(body)
        parts = mappings(mappings(body["choices"])[0]["message"].get("content"))
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


def _message(message: Message, provider: str) -> Message:
    """The message in Mistral's words. Raises UsageError for what it has none for."""
    role = message.get("role")
    role = "system" if role == "developer" else role
    known = FIELDS.get(str(role))
    if known is None:
        raise UsageError(f"{provider} takes no message of the role {role!r}")
    said = {**message, "role": role}
    thoughts = next((said.pop(name) for name in THOUGHTS if said.get(name)), None)
    check_fields(said, known | frozenset(THOUGHTS), f"a message of the role {role}", provider)
    said = {name: value for name, value in said.items() if name in known}
    content = said.get("content")
    if isinstance(content, list | tuple):
        said["content"] = [_part(part, provider) for part in content]
    if isinstance(thoughts, str) and role == "assistant":
        said["content"] = _with_thoughts(thoughts, said.get("content"))
    if said.get("tool_calls"):
        said["tool_calls"] = [_tool_call(call) for call in tool_calls_of(said, provider)]
    if isinstance(said.get("tool_call_id"), str):
        said["tool_call_id"] = call_id(said["tool_call_id"])
    return said


def _with_thoughts(thoughts: str, content: object) -> list[Any]:
    chunk = {"type": "thinking", "thinking": [{"type": "text", "text": thoughts}], "closed": True}
    if isinstance(content, list):
        return [chunk, *content]
    return [chunk, {"type": "text", "text": content}] if content else [chunk]


def _part(part: Any, provider: str) -> Any:
    """A part of a message's content; those that Mistral knows by the same name stay as they are."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        audio = inner(part, "input_audio", provider)
        return {"type": kind, "input_audio": text_field(audio, "data", "a recording", provider)}
    if kind == "file" and "file" in part:
        return _file(inner(part, "file", provider), provider)
    return part


def _file(file: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    if isinstance(file.get("file_id"), str):
        return {"type": "file", "file_id": file["file_id"]}
    data = file.get("file_data") or file.get("url")
    if not isinstance(data, str):
        raise UsageError(f"a file for {provider} holds neither file_id nor file_data")
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
    number = int.from_bytes(
        blake2b(name.encode("utf-8", "replace"), digest_size=16).digest(), "big"
    )
    letters = []
    for _ in range(9):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)
