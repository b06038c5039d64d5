"""Reading what was asked in OpenAI's shape, for the wires that have a shape of their own.

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22). Every error is a
UsageError that names the provider: what a wire cannot say is told, never left out in silence.
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
from llmbatch_cli.core.types import Message

DEFAULT_TYPE: Final = "application/octet-stream"
INNER: Final[Mapping[str, frozenset[str]]] = {
    "image_url": frozenset(("url", "detail")),
    "input_audio": frozenset(("data", "format")),
    "file": frozenset(("file_data", "filename", "file_id")),
}
"""The fields of the object that a part of each kind holds."""


def json_headers() -> dict[str, str]:
    """What every request says of its body, of the reply it wants, and of us."""
    return {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": f"llmbatch/{__version__}",
    }


def json_bytes(body: object) -> bytes:
    """The body, or a part of it, as JSON. Raises UsageError for what JSON cannot hold."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise UsageError(f"the request cannot be written as JSON: {error}") from error


def check_fields(value: Mapping[str, Any], known: frozenset[str], what: str, provider: str) -> None:
    """Raise UsageError for a field that holds something and that the wire has no place for."""
    for name in value.keys() - known:
        if value[name] not in (None, "", [], {}, False):
            raise UsageError(f"{provider} takes no {name!r} in {what}", hint="leave it out")


def parts(message: Message, provider: str) -> Sequence[Mapping[str, Any]]:
    """The message's content as a list of parts; a string is one text part, nothing is none."""
    content = message.get("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise UsageError(f"a message's content for {provider} is neither a text nor a list of parts")


def text_of(message: Message, provider: str) -> str:
    """The content as one text. Raises UsageError for a part that is no text."""
    return "".join(part_text(part, provider) for part in parts(message, provider))


def part_text(part: Mapping[str, Any], provider: str) -> str:
    """The text of a text or refusal part. Raises UsageError for any other."""
    kind = part.get("type")
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind not in ("text", "refusal") or not isinstance(text, str):
        raise UsageError(f"{provider} takes no part {kind!r} here")
    check_fields(part, frozenset(("type", kind, "annotations")), f"a part {kind!r}", provider)
    return text


def inner(part: Mapping[str, Any], name: str, provider: str) -> Mapping[str, Any]:
    """The object that the part holds under its own type's name."""
    check_fields(part, frozenset(("type", name)), f"a part {name!r}", provider)
    found = part.get(name)
    if isinstance(found, str):
        return {"url": found}
    if not isinstance(found, dict):
        raise UsageError(f"a part {name!r} for {provider} holds no object {name!r}")
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

    Source: RFC 2397. Raises UsageError where it holds no data.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise UsageError("a data: URL without a comma holds no data")
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


def tool_calls_of(message: Mapping[str, Any], provider: str) -> Sequence[Any]:
    """What an assistant's message has under `tool_calls`. Raises UsageError for what is no list."""
    found = message.get("tool_calls") or ()
    if not isinstance(found, list | tuple):
        raise UsageError(f"tool_calls for {provider} must be a list")
    return found


def calls(message: Message, provider: str) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """Each tool call of an assistant's message: itself, its function's name, its arguments read.

    Raises UsageError for what is no function call, or whose arguments are no JSON object.
    """
    for call in tool_calls_of(message, provider):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise UsageError(f"{provider} takes no tool call but of a function")
        name = text_field(function, "name", "a tool call's function", provider)
        yield call, name, read_arguments(function.get("arguments"), name)


def read_arguments(value: object, name: str) -> Mapping[str, Any]:
    """A function's arguments as an object, from the JSON text that OpenAI writes."""
    if isinstance(value, dict):
        return value
    try:
        read = orjson.loads(value) if isinstance(value, str) and value.strip() else {}
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the arguments of the call of {name!r} are no JSON") from error
    if not isinstance(read, dict):
        raise UsageError(f"the arguments of the call of {name!r} are no JSON object")
    return read


def functions(tools: object, provider: str) -> Iterator[Mapping[str, Any]]:
    """The function of each tool. Raises UsageError for a tool of another kind."""
    for tool in tools if isinstance(tools, list | tuple) else (tools,):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            kind = tool.get("type") if isinstance(tool, dict) else tool
            raise UsageError(f"{provider} takes no tool {kind!r}, only functions")
        check_fields(tool, frozenset(("type", "function")), "a tool", provider)
        text_field(function, "name", "a tool's function", provider)
        yield function


def schema_of(response_format: Mapping[str, Any], provider: str) -> Mapping[str, Any]:
    """The schema of a `json_schema` format, its description inside where it had one outside."""
    named = response_format.get("json_schema")
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        raise UsageError(f"response_format for {provider} holds no json_schema.schema")
    schema: dict[str, Any] = named["schema"]
    if named.get("description") and "description" not in schema:
        schema = {"description": named["description"], **schema}
    return schema


def merged(into: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both objects as one; objects inside are merged too, anything else of `more` wins."""
    result = dict(into)
    for name, value in more.items():
        old = result.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[name] = merged(old, value) if both and isinstance(old, dict) else value
    return result
