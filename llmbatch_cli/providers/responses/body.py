"""A chat request in the words of OpenAI's Responses API.

Sources (read 2026-11-22): developers.openai.com/api/docs/api-reference/responses/create,
/guides/migrate-to-responses; response_create_params.py and its parts of the Python SDK 3.54.0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.base import CARRIED, is_neutral
from llmbatch_cli.providers.wire.messages import (
    check_fields,
    inner,
    json_bytes,
    merged,
    part_text,
    parts,
    text_of,
    tool_calls_of,
)

REFUSED: Final[Mapping[str, Any]] = {
    "n": 1,
    "seed": None,
    "stop": [],
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
}
"""What this API has no words for, each with the one value that says nothing."""
LOGPROBS: Final = "message.output_text.logprobs"
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content")),
    "developer": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "phase")),
    "tool": frozenset(("role", "content", "tool_call_id")),
}


def body(request: Request, provider: str, refused: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a Responses request.

    Nothing is stored with OpenAI unless `store` says so. Raises UnsupportedParameter for one
    in `refused` or REFUSED, and UsageError for a message or tool without a form here.
    """
    instructions, rest = _instructions(request.messages, provider)
    result: dict[str, Any] = {
        "model": request.model,
        "input": [item for message in rest for item in _items(message, provider)],
        "store": False,
    }
    if instructions:
        result["instructions"] = instructions
    if request.stream:
        result["stream"] = True
    refused = {**refused, **REFUSED}
    asked = f"{provider}/{request.model} on the Responses API"
    for name, value in request.params.items():
        if name not in CARRIED and not is_neutral(name, value, refused, asked):
            _put(result, name, value, provider)
    extra = dict(request.params.get("extra_body", {}))
    for name in extra.keys() & _EXTRA:
        _put(result, name, extra.pop(name), provider)
    return merged(result, extra)


def _instructions(messages: Sequence[Message], provider: str) -> tuple[str, Sequence[Message]]:
    """The text of the system messages at the beginning, and the other messages."""
    texts: list[str] = []
    for place, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") not in ("system", "developer") or not isinstance(content, str):
            return "\n\n".join(texts), messages[place:]
        check_fields(message, _KNOWN["system"], "a system message", provider)
        texts.append(content)
    return "", messages


def _items(message: Message, provider: str) -> Iterator[dict[str, Any]]:
    role = str(message.get("role"))
    known = _KNOWN.get(role)
    if known is None:
        raise UsageError(f"{provider} takes no message of the role {role!r}")
    check_fields(message, known, f"a message of the role {role}", provider)
    if role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message.get("tool_call_id"),
            "output": _content(message, provider),
        }
    elif role == "assistant":
        yield from _said(message, provider)
    else:
        yield {"role": role, "content": _content(message, provider)}


def _said(message: Message, provider: str) -> Iterator[dict[str, Any]]:
    """An assistant's message: its text, then each of its tool calls as an item of its own."""
    text = text_of(message, provider)
    if text or not message.get("tool_calls"):
        phase = {"phase": message["phase"]} if message.get("phase") else {}
        yield {"role": "assistant", "content": text, **phase}
    for call in tool_calls_of(message, provider):
        yield _call(call, provider)


def _call(call: Any, provider: str) -> dict[str, Any]:
    kind = call.get("type", "function") if isinstance(call, dict) else None
    inside = call.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inside, dict):
        raise UsageError(f"{provider} takes no tool call of the kind {kind!r}")
    if kind == "custom":
        return {
            "type": "custom_tool_call",
            "call_id": call.get("id"),
            "name": inside.get("name"),
            "input": inside.get("input"),
        }
    arguments = inside.get("arguments") or "{}"
    if not isinstance(arguments, str):
        arguments = json_bytes(arguments).decode()
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": inside.get("name"),
        "arguments": arguments,
    }


def _content(message: Message, provider: str) -> str | list[dict[str, Any]]:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return [_part(part, provider) for part in parts(message, provider)]


def _part(part: Mapping[str, Any], provider: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = inner(part, "image_url", provider)
        url, detail = image.get("url"), image.get("detail")
        return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
    if kind == "file":
        file = inner(part, "file", provider)
        named = {"file_url" if name == "url" else name: value for name, value in file.items()}
        return {"type": "input_file", **named}
    if isinstance(kind, str) and kind.startswith("input_"):
        return dict(part)
    return {"type": "input_text", "text": part_text(part, provider)}


def _put(result: dict[str, Any], name: str, value: Any, provider: str) -> None:
    """Add one parameter in this API's words."""
    put = _PUTS.get(name)
    if put is not None:
        put(result, value, provider)
    else:
        result[name] = value


def _put_bound(result: dict[str, Any], value: Any, provider: str) -> None:
    if value != -1:
        result["max_output_tokens"] = value


def _put_tools(result: dict[str, Any], value: Any, provider: str) -> None:
    result["tools"] = [_flat(tool) for tool in value]


def _flat(tool: Any) -> Any:
    """A tool without the object around its fields.

    `strict` is false in chat completions where it is not given, and true here, so it is said.
    """
    kind = tool.get("type") if isinstance(tool, dict) else None
    fields = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(fields, dict):
        return tool
    if kind == "function":
        return {"type": kind, "parameters": None, "strict": False, **fields}
    grammar = fields.get("format")
    if isinstance(grammar, dict) and isinstance(grammar.get("grammar"), dict):
        fields = {**fields, "format": {"type": "grammar", **grammar["grammar"]}}
    return {"type": kind, **fields}


def _put_choice(result: dict[str, Any], value: Any, provider: str) -> None:
    """The choice without the object around its fields, as its tools are."""
    kind = value.get("type") if isinstance(value, dict) else None
    fields = value.get(kind) if kind in ("function", "custom", "allowed_tools") else None
    if isinstance(fields, dict):
        value = {"type": kind, **fields}
        if isinstance(value.get("tools"), list):
            value["tools"] = [_named(tool) for tool in value["tools"]]
    result["tool_choice"] = value


def _named(tool: Any) -> Any:
    """One of the allowed tools, told by its kind and name."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    fields = tool.get(kind) if kind in ("function", "custom") else None
    return {"type": kind, "name": fields.get("name")} if isinstance(fields, dict) else tool


def _put_format(result: dict[str, Any], value: Any, provider: str) -> None:
    said = value
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        said = {"type": "json_schema", **value["json_schema"]}
    result["text"] = {**result.get("text", {}), "format": said}


def _put_logprobs(result: dict[str, Any], value: Any, provider: str) -> None:
    if value:
        _put_include(result, [LOGPROBS], provider)


def _put_include(result: dict[str, Any], value: Any, provider: str) -> None:
    asked = [*result.get("include", ()), *(value if isinstance(value, list) else [value])]
    result["include"] = [name for place, name in enumerate(asked) if name not in asked[:place]]


def _put_effort(result: dict[str, Any], value: Any, provider: str) -> None:
    result["reasoning"] = {"effort": value}


def _put_verbosity(result: dict[str, Any], value: Any, provider: str) -> None:
    result["text"] = {**result.get("text", {}), "verbosity": value}


_PUTS: Final[Mapping[str, Callable[[dict[str, Any], Any, str], None]]] = {
    "max_tokens": _put_bound,
    "tools": _put_tools,
    "tool_choice": _put_choice,
    "response_format": _put_format,
    "logprobs": _put_logprobs,
    "include": _put_include,
    "reasoning_effort": _put_effort,
    "verbosity": _put_verbosity,
}
_EXTRA: Final = frozenset(("include", "verbosity"))
"""Parameters of OpenAI's that come in `extra_body`, as they have no name with us."""
