"""Reads messages, tools and formats in OpenAI's shape, for the APIs with a shape of their own.

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22). Every error is a
UsageError that names the provider: what an API does not support is refused, never dropped
silently.
"""

import base64
import binascii
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from llmbatch_cli import __version__
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Message, Request, WireRequest

DEFAULT_TYPE: Final = "application/octet-stream"
INNER: Final[Mapping[str, frozenset[str]]] = {
    "image_url": frozenset(("url", "detail")),
    "input_audio": frozenset(("data", "format")),
    "file": frozenset(("file_data", "filename", "file_id")),
}
"""The fields of the object inside a part of each kind."""
NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The schema of a function without parameters, for an API that demands one."""


def json_headers() -> dict[str, str]:
    """The headers of every request: the type of its body and of the reply, and our name."""
    return {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": f"llmbatch/{__version__}",
    }


def bearer_headers(api_key: str | None) -> dict[str, str]:
    """The same with the key as a bearer token, where there is one."""
    return json_headers() | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def post(url: str, headers: Mapping[str, str], request: Request, body: object) -> WireRequest:
    """The POST of a JSON body, with the request's own `extra_headers`."""
    if "extra_headers" in request.params:
        headers = {**headers, **request.params["extra_headers"]}
    return WireRequest("POST", url, headers, json_bytes(body))


def message_fields(
    every: Sequence[str] = (),
    *,
    user: Sequence[str] = (),
    tool: Sequence[str] = (),
    assistant: Sequence[str] = (),
) -> Mapping[str, frozenset[str]]:
    """The supported fields of a message by its role: those of any API, and these."""
    common = frozenset(("role", "content", *every))
    return {
        "system": common,
        "developer": common,
        "user": common | {*user},
        "tool": common | {"tool_call_id", *tool},
        "assistant": common | {"tool_calls", *assistant},
    }


def role_of(message: Message, fields: Mapping[str, frozenset[str]], provider: str) -> str:
    """The message's role. Raises UsageError for a role, or a field, that is not in `fields`."""
    role = message.get("role")
    if not isinstance(role, str) or role not in fields:
        raise UsageError(f"{provider} does not support messages of the role {role!r}")
    check_fields(message, fields[role], f"a message of the role {role}", provider)
    return role


def json_bytes(body: object) -> bytes:
    """The body, or a part of it, as JSON. Raises UsageError for what JSON cannot express."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise UsageError(f"the request cannot be written as JSON: {error}") from error


def check_fields(value: Mapping[str, Any], known: frozenset[str], what: str, provider: str) -> None:
    """Raise UsageError for a field that is not supported and not empty."""
    for name in value.keys() - known:
        if value[name] not in (None, "", [], {}, False):
            raise UsageError(f"{provider} does not support {name!r} in {what}", hint="remove it")


def parts(message: Message, provider: str) -> Sequence[Mapping[str, Any]]:
    """The message's content as a list of parts; a string is one text part, nothing is none."""
    content = message.get("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise UsageError(f"a message's content for {provider} must be a text or a list of parts")


def text_of(message: Message, provider: str) -> str:
    """The content as one text. Raises UsageError for a part that is not text."""
    return "".join(part_text(part, provider) for part in parts(message, provider))


def part_text(part: Mapping[str, Any], provider: str) -> str:
    """The text of a text or refusal part. Raises UsageError for any other."""
    kind = part.get("type")
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind not in ("text", "refusal") or not isinstance(text, str):
        raise UsageError(f"{provider} does not support a part {kind!r} here")
    check_fields(part, frozenset(("type", kind, "annotations")), f"a part {kind!r}", provider)
    return text


def inner(part: Mapping[str, Any], name: str, provider: str) -> Mapping[str, Any]:
    """The object that the part has by the name of its type."""
    check_fields(part, frozenset(("type", name)), f"a part {name!r}", provider)
    found = part.get(name)
    if isinstance(found, str):
        return {"url": found}
    if not isinstance(found, dict):
        raise UsageError(f"a part {name!r} for {provider} has no object {name!r}")
    check_fields(found, INNER[name], name, provider)
    return found


def text_field(value: Mapping[str, Any], name: str, what: str, provider: str) -> str:
    """A field that must be a text and not empty. Raises UsageError where it is not."""
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise UsageError(f"{what} for {provider} has no {name!r}")
    return found


def data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a data: URL; None for any other URL.

    Source: RFC 2397. Raises UsageError where it has no data.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise UsageError("a data: URL without a comma has no data")
    kind, *settings = head.split(";")
    if "base64" not in (setting.strip().lower() for setting in settings):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return kind or "text/plain", data


def plain_base64(data: str) -> str:
    """The text itself, if it is base64. Raises UsageError if it is not."""
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("a file's data is neither a data: URL nor base64") from error
    return data


def guessed_type(name: str) -> str | None:
    """The media type that a file's name or a URL's path suggests; None where it does not."""
    try:
        path = urlsplit(name).path
    except ValueError:
        return None
    return mimetypes.guess_type(path, strict=False)[0]


def reasoning_of(message: Message) -> Any:
    """The thoughts of an earlier answer, under either of the names in use; None for none."""
    return message.get("reasoning") or message.get("reasoning_content")


def tool_calls_of(message: Mapping[str, Any], provider: str) -> Sequence[Any]:
    """An assistant message's `tool_calls`. Raises UsageError where they are not a list."""
    found = message.get("tool_calls") or ()
    if not isinstance(found, list | tuple):
        raise UsageError(f"tool_calls for {provider} must be a list")
    return found


def calls(message: Message, provider: str) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Each tool call of an assistant's message: itself, its function's name, its arguments.

    Raises UsageError for a call of another kind, or whose arguments are not a JSON object.
    """
    for call in tool_calls_of(message, provider):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise UsageError(f"{provider} supports only tool calls of functions")
        name = text_field(function, "name", "a tool call's function", provider)
        yield call, name, read_arguments(function.get("arguments"), name)


def read_arguments(value: object, name: str) -> Mapping[str, Any]:
    """A function's arguments as an object, from OpenAI's JSON text."""
    if isinstance(value, dict):
        return value
    try:
        read = orjson.loads(value) if isinstance(value, str) and value.strip() else {}
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the arguments of the call of {name!r} are not JSON") from error
    if not isinstance(read, dict):
        raise UsageError(f"the arguments of the call of {name!r} are not a JSON object")
    return read


def functions(tools: object, provider: str, *, strict: bool = True) -> Iterator[Mapping[str, Any]]:
    """The function of each tool.

    Raises UsageError for a tool of another kind, and for fields besides name, description,
    parameters and, where `strict` says so, strict.
    """
    known = frozenset(("name", "description", "parameters", *(["strict"] if strict else [])))
    for tool in tools if isinstance(tools, list | tuple) else (tools,):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            kind = tool.get("type") if isinstance(tool, dict) else tool
            raise UsageError(f"{provider} does not support a tool {kind!r}, only functions")
        check_fields(tool, frozenset(("type", "function")), "a tool", provider)
        check_fields(function, known, "a tool's function", provider)
        text_field(function, "name", "a tool's function", provider)
        yield function


def schema_of(response_format: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    """The schema of a `json_schema` format, its description inside where it had one outside."""
    named = response_format.get("json_schema")
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        raise UsageError(f"response_format for {provider} has no json_schema.schema")
    schema: dict[str, Any] = named["schema"]
    if named.get("description") and "description" not in schema:
        schema = {"description": named["description"], **schema}
    return schema
