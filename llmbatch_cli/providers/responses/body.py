"""The request body of OpenAI's Responses API.

Sources (read 2026-11-22): developers.openai.com/api/docs/api-reference/responses/create,
/guides/migrate-to-responses; response_create_params.py and its parts of the Python SDK 3.54.0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.wire.draft import Draft, message_fields
from llmbatch_cli.providers.wire.messages import json_bytes
from llmbatch_cli.providers.wire.params import ParamTable, limits, unless

NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "seed": None,
    "stop": [],
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
}
"""Parameters that this API does not support, each with the value that changes nothing."""
LOGPROBS: Final = "message.output_text.logprobs"
FIELDS: Final = message_fields(assistant=("phase",))


def body(request: Request, provider: str, neutral: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a Responses request.

    Nothing is stored with OpenAI unless `store` says so. Raises UnsupportedParameter for one
    in `neutral` or NEUTRAL, and UsageError for a message or tool that is not supported.
    """
    draft = Draft(request, f"{provider}/{request.model} on the Responses API")
    instructions, rest = _instructions(request.messages, draft)
    draft.body = {
        "model": request.model,
        "input": [item for message in rest for item in _items(message, draft)],
        "store": False,
    }
    if instructions:
        draft.body["instructions"] = instructions
    if request.stream:
        draft.body["stream"] = True
    PARAMETERS.add(draft, {**neutral, **NEUTRAL})
    return draft.body


def _instructions(messages: Sequence[Message], draft: Draft) -> tuple[str, Sequence[Message]]:
    """The text of the system messages at the beginning, and the other messages."""
    texts: list[str] = []
    for place, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") not in ("system", "developer") or not isinstance(content, str):
            return "\n\n".join(texts), messages[place:]
        draft.check_fields(message, FIELDS["system"], "a system message")
        texts.append(content)
    return "", messages


def _items(message: Message, draft: Draft) -> Iterator[dict[str, Any]]:
    role = draft.role_of(message, FIELDS)
    if role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message.get("tool_call_id"),
            "output": _content(message, draft),
        }
    elif role == "assistant":
        yield from _answer(message, draft)
    else:
        yield {"role": role, "content": _content(message, draft)}


def _answer(message: Message, draft: Draft) -> Iterator[dict[str, Any]]:
    """An assistant's message: its text, then each of its tool calls as an item of its own."""
    text = draft.text_of(message)
    if text or not message.get("tool_calls"):
        phase = {"phase": message["phase"]} if message.get("phase") else {}
        yield {"role": "assistant", "content": text, **phase}
    for call in draft.tool_calls_of(message):
        yield _call(call, draft)


def _call(call: Any, draft: Draft) -> dict[str, Any]:
    kind = call.get("type", "function") if isinstance(call, dict) else None
    inside = call.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inside, dict):
        raise draft.refused(f"a tool call of the kind {kind!r}")
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


def _content(message: Message, draft: Draft) -> str | list[dict[str, Any]]:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return [_part(part, draft) for part in draft.parts(message)]


def _part(part: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "image_url":
        image = draft.inner(part, "image_url")
        url, detail = image.get("url"), image.get("detail")
        return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
    if kind == "file":
        file = draft.inner(part, "file")
        named = {"file_url" if name == "url" else name: value for name, value in file.items()}
        return {"type": "input_file", **named}
    if isinstance(kind, str) and kind.startswith("input_"):
        return dict(part)
    return {"type": "input_text", "text": draft.part_text(part)}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    return {"tools": [_tool(tool) for tool in value]}


def _inside(tool: Any, *kinds: str) -> tuple[Any, Any]:
    """The type of a tool or a choice, and the object of that name, which holds its fields.

    None for the latter where it is not of these kinds, or has no such object.
    """
    kind = tool.get("type") if isinstance(tool, dict) else None
    fields = tool.get(kind) if kind in kinds else None
    return kind, fields if isinstance(fields, dict) else None


def _tool(tool: Any) -> Any:
    """A tool without the object around its fields.

    `strict` is false in chat completions where it is not given, and true here, so it is given.
    """
    kind, fields = _inside(tool, "function", "custom")
    if fields is None:
        return tool
    if kind == "function":
        return {"type": kind, "parameters": None, "strict": False, **fields}
    grammar = fields.get("format")
    if isinstance(grammar, dict) and isinstance(grammar.get("grammar"), dict):
        fields = {**fields, "format": {"type": "grammar", **grammar["grammar"]}}
    return {"type": kind, **fields}


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    """The choice without the object around its fields, as its tools are."""
    kind, fields = _inside(value, "function", "custom", "allowed_tools")
    if fields is not None:
        value = {"type": kind, **fields}
        if isinstance(value.get("tools"), list):
            value["tools"] = [_named(tool) for tool in value["tools"]]
    return {"tool_choice": value}


def _named(tool: Any) -> Any:
    """One of the allowed tools, by its kind and name."""
    kind, fields = _inside(tool, "function", "custom")
    return tool if fields is None else {"type": kind, "name": fields.get("name")}


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        value = {"type": "json_schema", **value["json_schema"]}
    return {"text.format": value}


def _logprobs(value: Any, draft: Draft) -> Mapping[str, Any]:
    return _include(LOGPROBS, draft) if value else {}


def _include(value: Any, draft: Draft) -> Mapping[str, Any]:
    more = value if isinstance(value, list) else [value]
    return {"include": list(dict.fromkeys((*draft.body.get("include", ()), *more)))}


PARAMETERS: Final = ParamTable(
    rules={
        **limits(unless(-1, "max_output_tokens")),
        "tools": _tools,
        "tool_choice": _tool_choice,
        "response_format": _response_format,
        "logprobs": _logprobs,
        "reasoning_effort": "reasoning.effort",
    },
    own={"include": _include, "verbosity": "text.verbosity"},
    merged=None,
)
