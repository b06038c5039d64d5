"""A request in the form of Bedrock's Converse.

Sources (read 2026-11-22): docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse
.html as modelled in botocore 1.44.5, /userguide/structured-output.html, and
/userguide/claude-messages-adaptive-thinking.html.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.anthropic.models import Claude, claude, says_sampling, thinking
from llmbatch_cli.providers.anthropic.turns import Block, image_url, spoken, thinking_blocks
from llmbatch_cli.providers.base import CARRIED, is_neutral
from llmbatch_cli.providers.wire.messages import (
    calls,
    check_fields,
    data_url,
    functions,
    inner,
    json_bytes,
    merged,
    part_text,
    parts,
    plain_base64,
    schema_of,
    text_field,
)

_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg"} | {
    f"image/{name}": name for name in ("gif", "webp")
}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    f"{_OFFICE}.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS: Final = {f"video/{name}": name for name in ("mp4", "webm", "mpeg")} | {
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
}
_OWN: Final = "give a model's own parameters as additionalModelRequestFields"
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9\s\-()\[\]]+")


@dataclass(slots=True)
class _Draft:
    """A body in the making, and whom it is for."""

    provider: str
    model: Claude | None
    """None for models that are not Claude."""
    params: Mapping[str, Any]
    body: dict[str, Any] = field(default_factory=dict)

    def infer(self, name: str, value: Any) -> None:
        """Set one field of inferenceConfig."""
        self.body.setdefault("inferenceConfig", {})[name] = value

    def refuse(self, name: str, hint: str | None = None) -> None:
        """Raise that this wire has no words for the parameter."""
        raise UnsupportedParameter(name, self.provider, hint=hint)


def body(request: Request, provider: str) -> dict[str, Any]:
    """The request's body. Raises UnsupportedParameter, or UsageError for its messages."""
    system, messages = spoken(request.messages, provider, _brief, _turn)
    model = claude(request.model) if "claude" in request.model else None
    draft = _Draft(provider, model, request.params, {"messages": messages})
    if system:
        draft.body["system"] = system
    for name, value in request.params.items():
        if name in _SAID:
            _SAID[name](draft, value)
        elif name not in CARRIED and not is_neutral(name, value, _NEUTRAL, provider, _OWN):
            draft.body[name] = value
    return merged(draft.body, request.params.get("extra_body", {}))


def _max_tokens(draft: _Draft, value: Any) -> None:
    if value != -1:
        draft.infer("maxTokens", value)


def _sampling(name: str, said: str) -> Callable[[_Draft, Any], None]:
    def say(draft: _Draft, value: Any) -> None:
        model = draft.model
        if model is None or says_sampling(model, name, draft.params, draft.provider):
            draft.infer(said, value)

    return say


def _stop(draft: _Draft, value: Any) -> None:
    draft.infer("stopSequences", [value] if isinstance(value, str) else value)


def _effort(draft: _Draft, value: Any) -> None:
    if draft.model is None:
        draft.refuse("reasoning_effort", _OWN)
        return
    bound = draft.params.get("max_tokens", -1)
    bound = draft.model.max_output_tokens if bound == -1 else bound
    fields = thinking(draft.model, value, bound, draft.provider)
    if fields:
        draft.body["additionalModelRequestFields"] = fields


def _response_format(draft: _Draft, value: Any) -> None:
    kind = value.get("type")
    if kind == "json_schema":
        schema = json_bytes(schema_of(value, draft.provider)).decode()
        named = value["json_schema"]
        kept = {k: named[k] for k in ("name", "description") if named.get(k)}
        structure = {"jsonSchema": {"schema": schema, **kept}}
        text_format = {"type": "json_schema", "structure": structure}
        draft.body["outputConfig"] = {"textFormat": text_format}
    elif kind != "text":
        draft.refuse("response_format", "Converse answers in JSON by a schema: use json_schema")


def _tools(draft: _Draft, value: Any) -> None:
    tools: list[Block] = []
    known = frozenset(("name", "description", "strict", "parameters"))
    for function in functions(value, draft.provider):
        check_fields(function, known, "a tool's function", draft.provider)
        spec: Block = {"name": function["name"]}
        for name in ("description", "strict"):
            if function.get(name):
                spec[name] = function[name]
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        tools.append({"toolSpec": {**spec, "inputSchema": {"json": schema}}})
    draft.body["toolConfig"] = {"tools": tools, **draft.body.get("toolConfig", {})}


def _tool_choice(draft: _Draft, value: Any) -> None:
    choice: Block = {}
    if isinstance(value, Mapping) and value.get("type") == "function":
        function = value.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        choice = {"tool": {"name": name}}
    elif value in ("auto", "required"):
        choice = {"auto" if value == "auto" else "any": {}}
    else:
        draft.refuse("tool_choice", "Converse knows auto, required and one function's name")
    if draft.model is not None and "auto" not in choice and not draft.model.forces_tools:
        draft.refuse("tool_choice", "this model cannot be forced to call a tool; use auto")
    draft.body.setdefault("toolConfig", {})["toolChoice"] = choice


_SAID: Final[Mapping[str, Callable[[_Draft, Any], None]]] = {
    "max_tokens": _max_tokens,
    "temperature": _sampling("temperature", "temperature"),
    "top_p": _sampling("top_p", "topP"),
    "stop": _stop,
    "reasoning_effort": _effort,
    "response_format": _response_format,
    "tools": _tools,
    "tool_choice": _tool_choice,
}

_NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "parallel_tool_calls": True,
    "user": "",
}
"""Parameters that Converse does not have, each with the value that asks for nothing."""


def _brief(message: Message, provider: str) -> list[Block]:
    blocks: list[Block] = []
    for part in _parts(message, provider):
        blocks += [{"text": part_text(_bare(part), provider)}, *_cache_point(part)]
    return blocks


def _parts(message: Message, provider: str) -> list[Mapping[str, Any]]:
    """The message's parts; the message's own cache_control stands at the last."""
    found = list(parts(message, provider))
    if found and "cache_control" in message:
        found[-1] = {**found[-1], "cache_control": message["cache_control"]}
    return found


def _turn(message: Message, provider: str) -> list[Block]:
    blocks = [b for part in _parts(message, provider) for b in _blocks(part, provider)]
    if message["role"] == "tool":
        status = {"status": "error"} if message.get("is_error") else {}
        called = text_field(message, "tool_call_id", "a tool's result", provider)
        return [{"toolResult": {"toolUseId": called, "content": blocks, **status}}]
    asked = [
        {"toolUse": {"toolUseId": call.get("id"), "name": name, "input": given}}
        for call, name, given in calls(message, provider)
    ]
    thoughts = _thoughts(message, provider)
    if thoughts or asked:
        # Converse takes no empty text, which is what an assistant says that only calls.
        blocks = [block for block in blocks if block.get("text") != ""]
    return [*thoughts, *blocks, *asked]


def _thoughts(message: Message, provider: str) -> list[Block]:
    """What an earlier answer has thought, in the words of Converse."""
    blocks: list[Block] = []
    for block in thinking_blocks(message, provider):
        if block["type"] == "redacted_thinking":
            blocks.append({"reasoningContent": {"redactedContent": block.get("data")}})
        else:
            said = {"text": block.get("thinking"), "signature": block.get("signature")}
            blocks.append({"reasoningContent": {"reasoningText": said}})
    return blocks


def _blocks(part: Mapping[str, Any], provider: str) -> list[Block]:
    """One part, and the cache point behind it if there is one."""
    if "type" not in part:
        return [dict(part)]
    read = _READ.get(str(part["type"]))
    if read is None:
        raise UsageError(f"{provider} takes no part {part['type']!r} in a message")
    return [read(_bare(part), provider), *_cache_point(part)]


def _bare(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part without its cache_control, which becomes a block of its own."""
    return {name: value for name, value in part.items() if name != "cache_control"}


def _cache_point(part: Mapping[str, Any]) -> list[Block]:
    control = part.get("cache_control")
    if not isinstance(control, Mapping):
        return []
    ttl = {"ttl": control["ttl"]} if "ttl" in control else {}
    return [{"cachePoint": {"type": "default", **ttl}}]


def _text(part: Mapping[str, Any], provider: str) -> Block:
    return {"text": part_text(part, provider)}


def _image(part: Mapping[str, Any], provider: str) -> Block:
    return _media(image_url(inner(part, "image_url", provider), provider), None, provider)


def _file(part: Mapping[str, Any], provider: str) -> Block:
    file = inner(part, "file", provider)
    url = text_field(file, "file_data", "a file", provider)
    return _media(url, file.get("filename"), provider)


def _audio(part: Mapping[str, Any], provider: str) -> Block:
    audio = inner(part, "input_audio", provider)
    data = plain_base64(text_field(audio, "data", "an audio part", provider))
    kind = text_field(audio, "format", "an audio part", provider)
    return {"audio": {"format": kind, "source": {"bytes": data}}}


_READ: Final[Mapping[str, Callable[[Mapping[str, Any], str], Block]]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _media(url: str, name: object, provider: str) -> Block:
    """A data: URL as an image, a video or a document, by its media type."""
    found = data_url(url)
    if found is None:
        raise UsageError(
            f"{provider} fetches no addresses: {url[:60]!r}", hint="give the file itself, as data:"
        )
    media, data = found
    source = {"bytes": data}
    if media in _IMAGES:
        return {"image": {"format": _IMAGES[media], "source": source}}
    if media in _VIDEOS:
        return {"video": {"format": _VIDEOS[media], "source": source}}
    if media not in _DOCUMENTS:
        raise UsageError(f"{provider} takes no file of the type {media}")
    title = " ".join(_NO_NAME.sub(" ", str(name or "document")).split())[:200]
    return {
        "document": {"format": _DOCUMENTS[media], "name": title or "document", "source": source}
    }
