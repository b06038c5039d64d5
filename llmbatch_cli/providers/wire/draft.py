"""Reads messages, tools and formats in OpenAI's shape, for the APIs with a shape of their own.

Source: platform.openai.com/docs/api-reference/chat/create (read 2026-11-22).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Message, Params, Request
from llmbatch_cli.providers.wire.replies import blocks_of

INNER: Final[Mapping[str, frozenset[str]]] = {
    "image_url": frozenset(("url", "detail")),
    "input_audio": frozenset(("data", "format")),
    "file": frozenset(("file_data", "filename", "file_id")),
}
"""The fields of the object inside a part of each kind."""
NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The schema of a function without parameters, for an API that demands one."""


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


def reasoning_of(message: Message) -> Any:
    """The thoughts of an earlier answer, under either of the names in use; None for none."""
    return message.get("reasoning") or message.get("reasoning_content")


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


@dataclass(slots=True)
class Draft:
    """A request's body in the making, and the reading of what goes into it.

    Every error is a UsageError that names the provider: what an API does not support is refused,
    never dropped silently.
    """

    request: Request
    provider: str
    """As error messages name it."""
    body: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """The functions of the tool calls read so far, by the calls' ids."""

    @property
    def params(self) -> Params:
        """The request's parameters."""
        return self.request.params

    def put(self, path: str, value: Any) -> None:
        """Set a field by its path in the body, such as `generationConfig.topP`."""
        place = self.body
        while "." in path:
            outer, _, path = path.partition(".")
            place = place.setdefault(outer, {})
        place[path] = value

    def unsupported(self, parameter: str, hint: str | None = None) -> UnsupportedParameter:
        """The error for a parameter, or a value of it, that this API does not support."""
        return UnsupportedParameter(parameter, self.provider, hint=hint)

    def refused(self, what: str, hint: str | None = None) -> UsageError:
        """The error for something in a message or tool that this API does not support."""
        return UsageError(f"{self.provider} does not support {what}", hint=hint)

    def role_of(self, message: Message, fields: Mapping[str, frozenset[str]]) -> str:
        """The message's role. Raises UsageError for a role, or a field, that is not in `fields`."""
        role = message.get("role")
        if not isinstance(role, str) or role not in fields:
            raise self.refused(f"messages of the role {role!r}")
        self.check_fields(message, fields[role], f"a message of the role {role}")
        return role

    def check_fields(self, value: Mapping[str, Any], known: frozenset[str], what: str) -> None:
        """Raise UsageError for a field that is not supported and not empty."""
        for name in value.keys() - known:
            if value[name] not in (None, "", [], {}, False):
                raise self.refused(f"{name!r} in {what}", "remove it")

    def parts(self, message: Message) -> Sequence[Mapping[str, Any]]:
        """The message's content as a list of parts; a string is one text part, nothing is none."""
        content = message.get("content")
        if content is None:
            return ()
        if isinstance(content, str):
            return ({"type": "text", "text": content},)
        if isinstance(content, list) and all(isinstance(part, dict | str) for part in content):
            return blocks_of(content)
        raise self.refused("content that is neither a text nor a list of parts")

    def text_of(self, message: Message) -> str:
        """The content as one text. Raises UsageError for a part that is not text."""
        return "".join(self.part_text(part) for part in self.parts(message))

    def part_text(self, part: Mapping[str, Any]) -> str:
        """The text of a text or refusal part. Raises UsageError for any other."""
        kind = part.get("type")
        text = part.get("refusal") if kind == "refusal" else part.get("text")
        if kind not in ("text", "refusal") or not isinstance(text, str):
            raise self.refused(f"a part {kind!r} here")
        self.check_fields(part, frozenset(("type", kind, "annotations")), f"a part {kind!r}")
        return text

    def inner(self, part: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """The object that the part has by the name of its type."""
        self.check_fields(part, frozenset(("type", name)), f"a part {name!r}")
        found = part.get(name)
        if isinstance(found, str):
            return {"url": found}
        if not isinstance(found, dict):
            raise UsageError(f"a part {name!r} for {self.provider} has no object {name!r}")
        self.check_fields(found, INNER[name], name)
        return found

    def image_url(self, part: Mapping[str, Any]) -> str:
        """The URL of an image part, for an API that does not support `detail`."""
        image = self.inner(part, "image_url")
        if image.get("detail") != "auto":
            self.check_fields(image, frozenset(("url",)), "an image_url")
        return self.text_field(image, "url", "an image_url")

    def text_field(self, value: Mapping[str, Any], name: str, what: str) -> str:
        """A field that must be a text and not empty. Raises UsageError where it is not."""
        found = value.get(name)
        if not isinstance(found, str) or not found:
            raise UsageError(f"{what} for {self.provider} has no {name!r}")
        return found

    def tool_calls_of(self, message: Mapping[str, Any]) -> Sequence[Any]:
        """An assistant message's `tool_calls`. Raises UsageError where they are not a list."""
        found = message.get("tool_calls") or ()
        if not isinstance(found, list | tuple):
            raise UsageError(f"tool_calls for {self.provider} must be a list")
        return found

    def calls(self, message: Message) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
        """Each tool call of an assistant's message: itself, its function's name, its arguments.

        Raises UsageError for a call of another kind, or whose arguments are not a JSON object.
        """
        for call in self.tool_calls_of(message):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                raise self.refused("tool calls other than of functions")
            name = self.text_field(function, "name", "a tool call's function")
            if isinstance(call.get("id"), str):
                self.names[call["id"]] = name
            yield call, name, read_arguments(function.get("arguments"), name)

    def called(self, message: Message) -> Any:
        """The name of the function whose result this message is; None where it is not known."""
        return self.names.get(str(message.get("tool_call_id"))) or message.get("name")

    def functions(self, tools: object, *, strict: bool = True) -> Iterator[Mapping[str, Any]]:
        """The function of each tool.

        Raises UsageError for a tool of another kind, and for fields besides name, description,
        parameters and, where `strict` says so, strict.
        """
        known = frozenset(("name", "description", "parameters", *(["strict"] if strict else [])))
        for tool in tools if isinstance(tools, list | tuple) else (tools,):
            function = tool.get("function") if isinstance(tool, dict) else None
            if not isinstance(function, dict):
                kind = tool.get("type") if isinstance(tool, dict) else tool
                raise self.refused(f"a tool {kind!r}, only functions")
            self.check_fields(tool, frozenset(("type", "function")), "a tool")
            self.check_fields(function, known, "a tool's function")
            self.text_field(function, "name", "a tool's function")
            yield function

    def schema_of(self, response_format: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema of a `json_schema` format, its description inside where it had one outside."""
        named = response_format.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
            raise UsageError(f"response_format for {self.provider} has no json_schema.schema")
        schema: dict[str, Any] = named["schema"]
        if named.get("description") and "description" not in schema:
            schema = {"description": named["description"], **schema}
        return schema
