"""Lines of the batch APIs of OpenAI and Azure: {"custom_id", "method", "url", "body"}.

A body of chat completions is read as it is, one of the Responses API as the chat completion that
asks for the same; which API answers is decided by the run, as with every row.

Sources (read 2026-11-26): batch_create_params.py and responses/*_param.py of OpenAI's Python SDK
3.54.0. Azure's lines have "/chat/completions" in its older samples, which many files follow.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.rows.input.params import is_object, shown

_CHAT: Final = "/v1/chat/completions"
_PATH: Final = re.compile(
    r"(?:https?://[^/?#]+)?/?(?:openai/)?(?:v1/)?"
    r"(?:(?:openai/)?deployments/(?P<deployment>[^/?#]+)/)?"
    r"(?P<endpoint>chat/completions|responses|completions|embeddings|moderations|images/\w+|videos)"
    r"/?(?:\?.*)?"
)
# `stream` says how an answer travels, which the row does not decide.
_NOT_PARAMETERS: Final = frozenset(("model", "messages", "stream", "stream_options"))


class Asked(NamedTuple):
    """What a batch line asks."""

    messages: Any
    """Unchecked."""
    where: str
    """Where they stand, for messages about them."""
    model: Any
    params: Mapping[str, Any]
    """By the names of chat completions, unchecked."""


def is_batch_line(row: Mapping[str, Any]) -> bool:
    """Whether the row has the shape of a batch line, be it a good one or not."""
    if row.get("prompt") is not None or row.get("messages") is not None:
        return False
    return isinstance(row.get("body"), dict) or ("url" in row and "custom_id" in row)


def read_batch_line(row: Mapping[str, Any]) -> Asked:
    """What it asks. Raises InputError for another endpoint, and for a body that cannot be read."""
    url, method, body = row.get("url"), row.get("method", "POST"), row.get("body")
    found = _PATH.fullmatch(_CHAT if url is None else str(url))
    endpoint = found["endpoint"] if found else None
    if endpoint not in ("chat/completions", "responses"):
        raise InputError(
            f'"url" must be that of chat completions or responses, as in "{_CHAT}", '
            f"not {shown(url)}"
        )
    if str(method).upper() != "POST":
        raise InputError(f'"method" must be "POST", not {shown(method)}')
    if not isinstance(body, dict):
        raise InputError(f'"body" must be an object, not {shown(body)}')
    model = body.get("model") or (found["deployment"] if found else None)
    if endpoint == "responses" or (
        body.get("messages") is None and url is None and "input" in body
    ):
        return Asked(_conversation(body), '"body"."input"', model, _params(body))
    if body.get("messages") is None:
        raise InputError('"body" has no "messages"')
    params = {name: item for name, item in body.items() if name not in _NOT_PARAMETERS}
    return Asked(body["messages"], '"body"."messages"', model, params)


# The Responses API


def _conversation(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of `instructions` and `input`."""
    given, instructions = body.get("input"), body.get("instructions")
    if given is None:
        raise InputError('"body" has no "input"')
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        if not isinstance(instructions, str):
            raise InputError(f'"body"."instructions" must be a string, not {shown(instructions)}')
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InputError(f'"body"."input" must be a string or a list, not {shown(given)}')
    for place, item in enumerate(given):
        try:
            _add(messages, item)
        except InputError as error:
            raise InputError(f'"body"."input"[{place}]: {error.message}') from error
    return messages


def _add(messages: list[dict[str, Any]], item: object) -> None:
    """Add an item of `input` to the messages."""
    if not isinstance(item, dict):
        raise InputError(f"an item is an object, not {shown(item)}")
    kind = item.get("type", "message")
    if kind == "message":
        messages.append(_message(item))
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if not (messages and messages[-1]["role"] == "assistant"):
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        content = _content(item.get("output"))
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    else:
        raise InputError(f"items of the type {shown(kind)} cannot be read")


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: item[name] for name in ("role", "phase") if item.get(name) is not None}
    return {**kept, "content": _content(item.get("content"))}


def _content(value: object) -> object:
    """Text, or parts, in the shape of chat completions."""
    return [_part(part) for part in value] if isinstance(value, list) else value


def _part(part: object) -> object:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in _PARTS:
        return part  # chat completions have it by the same name, or it is refused there
    return _PARTS[kind](part)


def _text(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": part.get("text")}


def _image(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("image_url") is None:
        raise InputError("an input_image without image_url cannot be read")
    detail = {"detail": part["detail"]} if part.get("detail") is not None else {}
    return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}


def _file(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("file_url") is not None:
        raise InputError("an input_file with file_url cannot be read")
    names = ("file_data", "file_id", "filename")
    return {"type": "file", "file": {name: part[name] for name in names if part.get(name)}}


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "input_text": _text,
    "output_text": _text,
    "input_image": _image,
    "input_file": _file,
}
_LOGPROBS: Final = "message.output_text.logprobs"


def _params(body: Mapping[str, Any]) -> dict[str, Any]:
    """The other fields by the names of chat completions; those that these lack keep their own."""
    if body.get("background"):
        raise InputError('"body"."background" asks for an answer later, which cannot be read')
    kept = {name: item for name, item in body.items() if name not in _TRANSLATED}
    return {**kept, **dict(_translated(body))}


_TRANSLATED: Final = frozenset(
    (*_NOT_PARAMETERS, "input", "instructions", "background", "max_output_tokens", "text")
) | {"reasoning", "tools", "tool_choice", "include"}


def _translated(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "max_tokens", body.get("max_output_tokens")
    text, reasoning = _object(body, "text"), _object(body, "reasoning")
    yield "response_format", _format(text.pop("format", None))
    yield "verbosity", text.pop("verbosity", None)
    yield "reasoning_effort", reasoning.pop("effort", None)
    yield "text", text or None
    yield "reasoning", reasoning or None
    tools = body.get("tools")
    yield "tools", [_nested(tool) for tool in tools] if isinstance(tools, list) else tools
    yield "tool_choice", _nested(body.get("tool_choice"))
    include = body.get("include")
    if isinstance(include, list) and _LOGPROBS in include:
        yield "logprobs", True
        include = [one for one in include if one != _LOGPROBS]
    yield "include", include or None


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy of an object of the body without its null fields."""
    value = body.get(name)
    if value is not None and not is_object(value):
        raise InputError(f'"body"."{name}" must be an object, not {shown(value)}')
    return {key: item for key, item in (value or {}).items() if item is not None}


def _format(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        return value
    inside = {name: item for name, item in value.items() if name != "type"}
    return {"type": "json_schema", "json_schema": inside}


def _nested(tool: Any) -> Any:
    """A function, or the choice of one, with the object around its fields."""
    if not isinstance(tool, dict) or tool.get("type") != "function" or "function" in tool:
        return tool
    inside = {name: item for name, item in tool.items() if name != "type" and item is not None}
    return {"type": "function", "function": inside}
