"""Cohere's chat, version 2: the request.

Sources (read 2026-11-22): docs.cohere.com/v2/reference/chat, /v2/docs/chat-api, /v2/docs/tool-use,
/v2/docs/structured-outputs, /v2/docs/reasoning; cohere 7.3.1, v2/raw_client.py and types/.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from llmbatch_cli.core.types import Completion, Message, Request, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.cohere.reply import RULES, CohereStream, completion
from llmbatch_cli.providers.wire.draft import NO_PARAMETERS, Draft, message_fields, reasoning_of
from llmbatch_cli.providers.wire.messages import bearer_headers, json_bytes, post
from llmbatch_cli.providers.wire.params import ParamTable, as_list, format_kind, limits, unless
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.usage import COHERE

FIELDS: Final = message_fields(
    tool=("name",),
    assistant=(
        *("refusal", "reasoning", "reasoning_content", "tool_plan", "citations", "annotations"),
    ),
)
"""A tool result's `name` is left out, since Cohere finds the call by its id."""
OWN_PARTS: Final = frozenset(("thinking", "document"))
"""Cohere's own kinds of content, which go as they are."""
EFFORTS: Final[Mapping[str, str]] = {"none": "disabled", "high": "enabled"}
"""Thinking is off, or on without a limit; a limit is `thinking.token_budget` in extra_body."""


class Cohere(JsonProvider):
    """api.cohere.com, or a private deployment of it."""

    rules = RULES
    request_id_headers: ClassVar[Sequence[str]] = ("x-debug-trace-id",)
    stream_reader = CohereStream
    usage_fields = COHERE

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = bearer_headers(settings.api_key)

    def aim(self, base_url: str) -> None:
        """The address may end with a version or without, as in Cohere's own SDK."""
        super().aim(base_url)
        self._url = f"{self.base_url.removesuffix('/v1').removesuffix('/v2')}/v2/chat"

    def build(self, request: Request) -> WireRequest:
        body = PARAMETERS.body(request, self.name, _message)
        return post(self._url, self._headers, request, body)

    def is_error(self, body: Mapping[str, Any]) -> bool:
        """An error's `message` is a text."""
        return isinstance(body.get("message"), str)

    def read(self, body: dict[str, Any]) -> Completion:
        return completion(body)


# ---- messages


def _message(message: Message, draft: Draft) -> dict[str, Any]:
    role = draft.role_of(message, FIELDS)
    if role == "assistant":
        return _answer(message, draft)
    built: dict[str, Any] = {"role": "system" if role == "developer" else role}
    if role == "tool":
        built["tool_call_id"] = draft.text_field(message, "tool_call_id", "a tool result")
    return {**built, "content": _content(message, draft)}


def _answer(message: Message, draft: Draft) -> dict[str, Any]:
    content = _content(message, draft) or message.get("refusal")
    thoughts = reasoning_of(message)
    if isinstance(thoughts, str):
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        content = [{"type": "thinking", "thinking": thoughts}, *text]
    found = {
        "content": content,
        "tool_calls": [_call(call, name, given) for call, name, given in draft.calls(message)],
        "tool_plan": message.get("tool_plan"),
        "citations": message.get("citations"),
    }
    return {"role": "assistant", **{name: value for name, value in found.items() if value}}


def _call(call: Mapping[str, Any], name: str, arguments: Any) -> dict[str, Any]:
    given = call["function"].get("arguments")
    text = given if isinstance(given, str) and given else json_bytes(arguments).decode()
    made = {"type": "function", "function": {"name": name, "arguments": text}}
    return {"id": call["id"], **made} if call.get("id") else made


def _content(message: Message, draft: Draft) -> str | list[dict[str, Any]]:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return [_part(part, draft) for part in draft.parts(message)]


def _part(part: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = draft.inner(part, "image_url")
        draft.text_field(image, "url", "an image_url")
        return {"type": "image_url", "image_url": dict(image)}
    if isinstance(kind, str) and kind in OWN_PARTS:
        return dict(part)
    return {"type": "text", "text": draft.part_text(part)}


# ---- parameters


def _logprobs(value: Any, draft: Draft) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise draft.unsupported("logprobs", "true gives those of the chosen tokens, and no others")
    return {"logprobs": value}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    declared = list(draft.functions(value))
    tools = [{"type": "function", "function": _function(one)} for one in declared]
    is_strict = any(function.get("strict") for function in declared)
    return {"tools": tools, **({"strict_tools": True} if is_strict else {})}


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    known = ("name", "description", "parameters")
    kept = {name: function[name] for name in known if function.get(name)}
    return {"parameters": NO_PARAMETERS, **kept}


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    if value == "auto":
        return {}
    if value not in ("required", "none"):
        hint = 'to force one function, give it alone in tools with "required"'
        raise draft.unsupported("tool_choice", hint)
    return {"tool_choice": value.upper()}


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    kind = format_kind(value, draft, "json_object", "json_schema")
    if kind == "text":
        return {}
    given: dict[str, Any] = {"type": "json_object"}
    if kind == "json_schema":
        given["json_schema"] = draft.schema_of(value)
    elif schema := value.get("json_schema") or value.get("schema"):
        given["json_schema"] = schema
    return {"response_format": given}


def _effort(value: Any, draft: Draft) -> Mapping[str, Any]:
    if value not in EFFORTS:
        hint = "use none or high; thinking.token_budget in extra_body sets a limit"
        raise draft.unsupported("reasoning_effort", hint)
    return {"thinking": {"type": EFFORTS[value]}}


PARAMETERS: Final = ParamTable(
    rules={
        "top_p": "p",
        **limits(unless(-1, "max_tokens")),
        "stop": as_list("stop_sequences"),
        "logprobs": _logprobs,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "response_format": _response_format,
        "reasoning_effort": _effort,
    },
    neutral={
        "n": 1,
        "logit_bias": {},
        "top_logprobs": 0,
        "parallel_tool_calls": True,
        "user": "",
    },
    own={"top_k": "k"},
    merged=frozenset(("thinking",)),
)
