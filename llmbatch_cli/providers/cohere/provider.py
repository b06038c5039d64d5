"""Cohere's chat, version 2: what is asked.

Sources (read 2026-11-22): docs.cohere.com/v2/reference/chat, /v2/docs/chat-api, /v2/docs/tool-use,
/v2/docs/structured-outputs, /v2/docs/reasoning; cohere 7.3.1, v2/raw_client.py and types/.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Completion, Message, Request, WireRequest
from llmbatch_cli.providers.base import CARRIED, Settings, is_neutral
from llmbatch_cli.providers.cohere.reply import RULES, CohereStream, completion
from llmbatch_cli.providers.wire.messages import (
    calls,
    check_fields,
    functions,
    inner,
    json_bytes,
    json_headers,
    merged,
    part_text,
    parts,
    schema_of,
    text_field,
)
from llmbatch_cli.providers.wire.provider import JsonProvider

Put = Callable[[dict[str, Any], Any, str], None]

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content")),
    "developer": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "tool": frozenset(("role", "content", "tool_call_id", "name")),
    "assistant": frozenset(
        (
            *("role", "content", "tool_calls", "refusal", "reasoning", "reasoning_content"),
            *("tool_plan", "citations", "annotations"),
        )
    ),
}
"""The fields of a message that are said, by its role; any other is told, not dropped.

A tool result's `name` is the name of its call, which Cohere finds by the id.
"""
OWN_PARTS: Final = frozenset(("thinking", "document"))
"""Cohere's own kinds of content, which go as they stand."""
EFFORTS: Final[Mapping[str, str]] = {"none": "disabled", "high": "enabled"}
"""Thinking is on, without a bound, or off; a bound is `thinking.token_budget` in extra_body."""


class Cohere(JsonProvider):
    """api.cohere.com, or a private deployment of it."""

    rules = RULES
    request_id_headers: ClassVar[Sequence[str]] = ("x-debug-trace-id",)
    stream_reader = CohereStream

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = json_headers()
        if settings.api_key is not None:
            self._headers["authorization"] = f"Bearer {settings.api_key}"

    def aim(self, base_url: str) -> None:
        """The address may end with a version or without, as Cohere's own SDK has it."""
        super().aim(base_url)
        self._url = f"{self.base_url.removesuffix('/v1').removesuffix('/v2')}/v2/chat"

    def build(self, request: Request) -> WireRequest:
        headers = {**self._headers, **request.params.get("extra_headers", {})}
        return WireRequest("POST", self._url, headers, json_bytes(body(request, self.name)))

    def is_error(self, body: Mapping[str, Any]) -> bool:
        """An error's `message` is a text."""
        return isinstance(body.get("message"), str)

    def read(self, body: dict[str, Any]) -> Completion:
        return completion(body)


def body(request: Request, provider: str) -> dict[str, Any]:
    """The body of POST /v2/chat. Raises UnsupportedParameter, or UsageError for its messages."""
    result: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, provider) for message in request.messages],
        "stream": request.stream,
    }
    for name, value in request.params.items():
        put = PARAMETERS.get(name)
        if put is not None:
            put(result, value, provider)
        elif name not in CARRIED and not is_neutral(name, value, NEUTRAL, provider):
            result[name] = value
    for name, value in request.params.get("extra_body", {}).items():
        if name == "thinking" and isinstance(value, dict):
            result[name] = merged(result.get(name, {}), value)
        else:
            result["k" if name == "top_k" else name] = value
    return result


# ---- messages


def _message(message: Message, provider: str) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or role not in FIELDS:
        raise UsageError(f"{provider} knows no message of the role {role!r}")
    check_fields(message, FIELDS[role], f"a message of the role {role}", provider)
    if role == "assistant":
        return _answer(message, provider)
    said: dict[str, Any] = {"role": "system" if role == "developer" else role}
    if role == "tool":
        said["tool_call_id"] = text_field(message, "tool_call_id", "a tool result", provider)
    said["content"] = _content(message, provider)
    return said


def _answer(message: Message, provider: str) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant"}
    content = _content(message, provider) or message.get("refusal")
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(reasoning, str):
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        content = [{"type": "thinking", "thinking": reasoning}, *text]
    if content:
        said["content"] = content
    if made := [_call(call, name, given) for call, name, given in calls(message, provider)]:
        said["tool_calls"] = made
    for name in ("tool_plan", "citations"):
        if message.get(name):
            said[name] = message[name]
    return said


def _call(call: Mapping[str, Any], name: str, arguments: Any) -> dict[str, Any]:
    given = call["function"].get("arguments")
    text = given if isinstance(given, str) and given else json_bytes(arguments).decode()
    made = {"type": "function", "function": {"name": name, "arguments": text}}
    return {"id": call["id"], **made} if call.get("id") else made


def _content(message: Message, provider: str) -> str | list[dict[str, Any]]:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return [_part(part, provider) for part in parts(message, provider)]


def _part(part: Mapping[str, Any], provider: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = inner(part, "image_url", provider)
        text_field(image, "url", "an image_url", provider)
        return {"type": "image_url", "image_url": dict(image)}
    if isinstance(kind, str) and kind in OWN_PARTS:
        return dict(part)
    return {"type": "text", "text": part_text(part, provider)}


# ---- parameters


def _as(field: str) -> Put:
    def put(body: dict[str, Any], value: Any, provider: str) -> None:
        body[field] = value

    return put


def _max_tokens(body: dict[str, Any], value: Any, provider: str) -> None:
    """-1 is no bound, which is what an absent one means."""
    if value != -1:
        body["max_tokens"] = value


def _stop(body: dict[str, Any], value: Any, provider: str) -> None:
    body["stop_sequences"] = [value] if isinstance(value, str) else value


def _logprobs(body: dict[str, Any], value: Any, provider: str) -> None:
    """Of the chosen tokens only: how many alternatives, which a number asks for, it cannot say."""
    if not isinstance(value, bool):
        raise UnsupportedParameter(
            "logprobs", provider, hint="true asks for those of the chosen tokens"
        )
    body["logprobs"] = value


def _tools(body: dict[str, Any], value: Any, provider: str) -> None:
    asked = list(functions(value, provider))
    body["tools"] = [{"type": "function", "function": _function(one, provider)} for one in asked]
    if any(function.get("strict") for function in asked):
        body["strict_tools"] = True


def _function(function: Mapping[str, Any], provider: str) -> dict[str, Any]:
    known = ("name", "description", "parameters")
    check_fields(function, frozenset((*known, "strict")), "a tool's function", provider)
    said = {name: function[name] for name in known if function.get(name)}
    return {**said, "parameters": said.get("parameters", {"type": "object", "properties": {}})}


def _tool_choice(body: dict[str, Any], value: Any, provider: str) -> None:
    if value in ("required", "none"):
        body["tool_choice"] = value.upper()
    elif value != "auto":
        raise UnsupportedParameter(
            "tool_choice", provider, hint='one function alone in tools, and "required", forces it'
        )


def _response_format(body: dict[str, Any], value: Any, provider: str) -> None:
    kind = value.get("type") if isinstance(value, dict) else value
    if kind == "json_schema":
        schema = schema_of(value, provider)
        body["response_format"] = {"type": "json_object", "json_schema": schema}
    elif kind == "json_object" and isinstance(value, dict):
        given = value.get("json_schema") or value.get("schema")
        body["response_format"] = {"type": kind, **({"json_schema": given} if given else {})}
    elif kind != "text":
        raise UnsupportedParameter("response_format", provider, hint=f"it has no form for {kind!r}")


def _effort(body: dict[str, Any], value: Any, provider: str) -> None:
    if not isinstance(value, str) or value not in EFFORTS:
        raise UnsupportedParameter(
            "reasoning_effort",
            provider,
            hint="it knows none and high; extra_body thinking.token_budget sets a bound",
        )
    body["thinking"] = {"type": EFFORTS[value]}


PARAMETERS: Final[Mapping[str, Put]] = {
    "top_p": _as("p"),
    "max_tokens": _max_tokens,
    "stop": _stop,
    "logprobs": _logprobs,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning_effort": _effort,
}
"""How OpenAI's parameters are said; temperature, seed and the penalties have the same names."""
NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "logit_bias": {},
    "top_logprobs": 0,
    "parallel_tool_calls": True,
    "user": "",
}
"""Parameters that Cohere does not have, each with the value that asks for nothing."""
