"""The request body of Bedrock's Converse.

Sources (read 2026-11-22): docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse
.html as modelled in botocore 1.44.5, /userguide/structured-output.html, and
/userguide/claude-messages-adaptive-thinking.html.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.anthropic.body import UNSUPPORTED
from llmbatch_cli.providers.anthropic.models import claude, sampling, thinking
from llmbatch_cli.providers.anthropic.turns import (
    Block,
    answer,
    split,
    thinking_blocks,
    without_cache,
)
from llmbatch_cli.providers.wire.draft import NO_PARAMETERS, Draft
from llmbatch_cli.providers.wire.messages import data_url, json_bytes, plain_base64
from llmbatch_cli.providers.wire.params import (
    Convert,
    ParamTable,
    as_list,
    format_kind,
    limit_of,
    limits,
    unless,
)
from llmbatch_cli.providers.wire.replies import mapping

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
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9\s\-()\[\]]+")
_OWN: Final = "give a model's own parameters as additionalModelRequestFields"


def body(request: Request, provider: str) -> dict[str, Any]:
    """The request's body. Raises UnsupportedParameter, or UsageError for its messages."""
    draft = Draft(request, provider)
    system, draft.body["messages"] = split(draft, _system, _turn)
    if system:
        draft.body["system"] = system
    PARAMETERS.add(draft)
    return draft.body


def _is_claude(draft: Draft) -> bool:
    return "claude" in draft.request.model


def _sampling(name: str, path: str) -> Convert:
    of_claude = sampling(name, path)
    return lambda value, draft: of_claude(value, draft) if _is_claude(draft) else {path: value}


def _effort(value: Any, draft: Draft) -> Mapping[str, Any]:
    if not _is_claude(draft):
        raise draft.unsupported("reasoning_effort", _OWN)
    limit = limit_of(draft.params)
    limit = claude(draft.request.model).max_output_tokens if limit == -1 else limit
    fields = thinking(value, limit, draft)
    return {f"additionalModelRequestFields.{path}": field for path, field in fields.items()}


def _response_format(value: Any, draft: Draft) -> Mapping[str, Any]:
    if format_kind(value, draft, "json_schema") == "text":
        return {}
    schema = json_bytes(draft.schema_of(value)).decode()
    named = value["json_schema"]
    kept = {name: named[name] for name in ("name", "description") if named.get(name)}
    structure = {"jsonSchema": {"schema": schema, **kept}}
    return {"outputConfig.textFormat": {"type": "json_schema", "structure": structure}}


def _tools(value: Any, draft: Draft) -> Mapping[str, Any]:
    return {"toolConfig.tools": [_tool(one) for one in draft.functions(value)]}


def _tool(function: Mapping[str, Any]) -> Block:
    kept = {name: function[name] for name in ("description", "strict") if function.get(name)}
    schema = {"json": function.get("parameters") or NO_PARAMETERS}
    return {"toolSpec": {"name": function["name"], **kept, "inputSchema": schema}}


def _tool_choice(value: Any, draft: Draft) -> Mapping[str, Any]:
    choice: Block
    if isinstance(value, Mapping) and value.get("type") == "function":
        choice = {"tool": {"name": mapping(value.get("function")).get("name")}}
    elif value in ("auto", "required"):
        choice = {"auto" if value == "auto" else "any": {}}
    else:
        hint = "Converse supports auto, required and a function's name"
        raise draft.unsupported("tool_choice", hint)
    if "auto" not in choice and _is_claude(draft) and not claude(draft.request.model).forces_tools:
        hint = "this model cannot be forced to call a tool; use auto"
        raise draft.unsupported("tool_choice", hint)
    return {"toolConfig.toolChoice": choice}


PARAMETERS: Final = ParamTable(
    rules={
        **limits(unless(-1, "inferenceConfig.maxTokens")),
        "temperature": _sampling("temperature", "inferenceConfig.temperature"),
        "top_p": _sampling("top_p", "inferenceConfig.topP"),
        "stop": as_list("inferenceConfig.stopSequences"),
        "reasoning_effort": _effort,
        "response_format": _response_format,
        "tools": _tools,
        "tool_choice": _tool_choice,
    },
    neutral={**UNSUPPORTED, "parallel_tool_calls": True, "user": ""},
    merged=None,
    hint=_OWN,
)


def _system(message: Message, draft: Draft) -> list[Block]:
    blocks: list[Block] = []
    for part in _parts(message, draft):
        blocks += [{"text": draft.part_text(without_cache(part))}, *_cache_point(part)]
    return blocks


def _parts(message: Message, draft: Draft) -> list[Mapping[str, Any]]:
    """The message's parts; the message's own cache_control goes to the last."""
    found = list(draft.parts(message))
    if found and "cache_control" in message:
        found[-1] = {**found[-1], "cache_control": message["cache_control"]}
    return found


def _turn(message: Message, draft: Draft) -> list[Block]:
    blocks = [block for part in _parts(message, draft) for block in _blocks(part, draft)]
    if message["role"] == "tool":
        status = {"status": "error"} if message.get("is_error") else {}
        call_id = draft.text_field(message, "tool_call_id", "a tool's result")
        return [{"toolResult": {"toolUseId": call_id, "content": blocks, **status}}]
    uses: list[Block] = [
        {"toolUse": {"toolUseId": call.get("id"), "name": name, "input": given}}
        for call, name, given in draft.calls(message)
    ]
    thoughts = [_thought(block) for block in thinking_blocks(message, draft)]
    return answer(thoughts, blocks, uses)


def _thought(block: Block) -> Block:
    """A thought of an earlier answer, in Converse's form."""
    if block["type"] == "redacted_thinking":
        return {"reasoningContent": {"redactedContent": block.get("data")}}
    text = {"text": block.get("thinking"), "signature": block.get("signature")}
    return {"reasoningContent": {"reasoningText": text}}


def _blocks(part: Mapping[str, Any], draft: Draft) -> list[Block]:
    """One part, and the cache point behind it if there is one."""
    if "type" not in part:
        return [dict(part)]
    read = _READ.get(str(part["type"]))
    if read is None:
        raise draft.refused(f"a part {part['type']!r} in a message")
    return [read(without_cache(part), draft), *_cache_point(part)]


def _cache_point(part: Mapping[str, Any]) -> list[Block]:
    control = part.get("cache_control")
    if not isinstance(control, Mapping):
        return []
    ttl = {"ttl": control["ttl"]} if "ttl" in control else {}
    return [{"cachePoint": {"type": "default", **ttl}}]


def _text(part: Mapping[str, Any], draft: Draft) -> Block:
    return {"text": draft.part_text(part)}


def _image(part: Mapping[str, Any], draft: Draft) -> Block:
    return _media(draft.image_url(part), None, draft)


def _file(part: Mapping[str, Any], draft: Draft) -> Block:
    file = draft.inner(part, "file")
    url = draft.text_field(file, "file_data", "a file")
    return _media(url, file.get("filename"), draft)


def _audio(part: Mapping[str, Any], draft: Draft) -> Block:
    audio = draft.inner(part, "input_audio")
    data = plain_base64(draft.text_field(audio, "data", "an audio part"))
    kind = draft.text_field(audio, "format", "an audio part")
    return {"audio": {"format": kind, "source": {"bytes": data}}}


_READ: Final[Mapping[str, Callable[[Mapping[str, Any], Draft], Block]]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _media(url: str, name: object, draft: Draft) -> Block:
    """A data: URL as an image, a video or a document, by its media type."""
    found = data_url(url)
    if found is None:
        raise draft.refused(f"URLs such as {url[:60]!r}", "give the file itself, as data:")
    media, data = found
    source = {"bytes": data}
    if media in _IMAGES:
        return {"image": {"format": _IMAGES[media], "source": source}}
    if media in _VIDEOS:
        return {"video": {"format": _VIDEOS[media], "source": source}}
    if media not in _DOCUMENTS:
        raise draft.refused(f"files of the type {media}")
    title = " ".join(_NO_NAME.sub(" ", str(name or "document")).split())[:200]
    return {
        "document": {"format": _DOCUMENTS[media], "name": title or "document", "source": source}
    }
