"""Messages in OpenAI's shape as Gemini's contents, part by part.

Sources (read 2026-11-22): ai.google.dev/api/caching#Content (parts), /gemini-api/docs/
file-input-methods (inlineData, and fileData for public https URLs), /docs/function-calling,
/docs/thought-signatures, /docs/openai (extra_content).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Message, Request
from llmbatch_cli.providers.wire.messages import (
    DEFAULT_TYPE,
    calls,
    check_fields,
    data_url,
    guessed_type,
    inner,
    part_text,
    parts,
    plain_base64,
    text_field,
)

Part = dict[str, Any]

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content")),
    "developer": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "tool": frozenset(("role", "content", "tool_call_id", "name")),
    "assistant": frozenset(
        (
            *("role", "content", "tool_calls", "refusal", "reasoning", "reasoning_content"),
            *("extra_content", "annotations"),
        )
    ),
}
"""The fields of a message that are said, by its role; any other is told, not dropped.

`annotations` is what a provider noted about its own answer, and no part of the conversation.
"""
NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""What stands in for the thought signature of a call that Gemini 3 has not made itself."""
AUDIO: Final[Mapping[str, str]] = {"mp3": "audio/mp3", "wav": "audio/wav", "pcm16": "audio/pcm"}


def generation(model: str) -> float | None:
    """The generation in a model's name: 3.1 of `gemini-3.1-pro`; None where it has none."""
    found = re.search(r"gemini-(\d+(?:\.\d+)?)", model)
    return float(found[1]) if found else None


def thinks_by_level(model: str) -> bool:
    """Whether the model is of the third generation or later; `gemini-flash-latest` is."""
    number = generation(model)
    return number >= 3 if number is not None else "gemini" in model


def conversation(request: Request, provider: str) -> tuple[list[dict[str, Any]], list[Part]]:
    """`contents`, and the parts of `systemInstruction`, which takes the system messages."""
    contents: list[dict[str, Any]] = []
    system: list[Part] = []
    names: dict[str, str] = {}
    for message in request.messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in FIELDS:
            raise UsageError(f"{provider} knows no message of the role {role!r}")
        check_fields(message, FIELDS[role], f"a message of the role {role}", provider)
        if role in ("system", "developer"):
            system += [{"text": part_text(part, provider)} for part in parts(message, provider)]
        elif role == "assistant":
            contents.append(_answer(message, request.model, names, provider))
        elif role == "tool":
            _add_result(contents, _tool_result(message, names, provider))
        else:
            said = [_part(part, request.model, provider) for part in parts(message, provider)]
            contents.append({"role": "user", "parts": said})
    if not contents:
        raise UsageError(f"{provider} needs a message of the user beside the system's")
    return contents, system


def _answer(message: Message, model: str, names: dict[str, str], provider: str) -> dict[str, Any]:
    """An assistant's message; the names of its calls are kept for their results."""
    said: list[Part] = []
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(reasoning, str):
        said.append({"text": reasoning, "thought": True})
    said += [
        {"text": text} for part in parts(message, provider) if (text := part_text(part, provider))
    ]
    if message.get("refusal"):
        said.append({"text": str(message["refusal"])})
    signature = _signature(message)
    if signature and said:
        said[-1]["thoughtSignature"] = signature
    said += _function_calls(message, model, names, provider)
    return {"role": "model", "parts": said or [{"text": ""}]}


def _function_calls(
    message: Message, model: str, names: dict[str, str], provider: str
) -> list[Part]:
    made: list[Part] = []
    for call, name, arguments in calls(message, provider):
        part: Part = {"functionCall": {"name": name, "args": arguments}}
        if isinstance(call.get("id"), str):
            names[call["id"]] = name
            part["functionCall"]["id"] = call["id"]
        if signature := _signature(call):
            part["thoughtSignature"] = signature
        made.append(part)
    signed = any("thoughtSignature" in part for part in made)
    if made and not signed and thinks_by_level(model):
        made[0]["thoughtSignature"] = NO_SIGNATURE
    return made


def _signature(value: Mapping[str, Any]) -> str | None:
    """`extra_content.google.thought_signature`, where Google's OpenAI-compatible page has it."""
    extra = value.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) and found else None


def _tool_result(message: Message, names: Mapping[str, str], provider: str) -> Part:
    call_id = message.get("tool_call_id")
    name = names.get(call_id) if isinstance(call_id, str) else None
    name = name or message.get("name")
    if not isinstance(name, str):
        raise UsageError(
            f"{provider} needs the name of the function behind the tool result {call_id!r}",
            hint="keep the assistant's message with the call before it, or give it a name",
        )
    text = "".join(part_text(part, provider) for part in parts(message, provider))
    result: Part = {"name": name, "response": _response(text)}
    if isinstance(call_id, str):
        result["id"] = call_id
    return {"functionResponse": result}


def _response(text: str) -> dict[str, Any]:
    """A tool's result as the object that Gemini wants; what is no object goes under `output`."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text
    return found if isinstance(found, dict) else {"output": found}


def _add_result(contents: list[dict[str, Any]], part: Part) -> None:
    """Results of calls made side by side belong into one content."""
    last = contents[-1] if contents else None
    if last and last["role"] == "user" and "functionResponse" in (last["parts"] or [{}])[-1]:
        last["parts"].append(part)
    else:
        contents.append({"role": "user", "parts": [part]})


def _part(part: Mapping[str, Any], model: str, provider: str) -> Part:
    kind = part.get("type")
    if kind == "image_url":
        return _image(inner(part, "image_url", provider), model, provider)
    if kind == "input_audio":
        return _audio(inner(part, "input_audio", provider), provider)
    if kind == "file":
        return _file(inner(part, "file", provider), provider)
    return {"text": part_text(part, provider)}


def _image(image: Mapping[str, Any], model: str, provider: str) -> Part:
    part = _from_url(text_field(image, "url", "an image_url", provider))
    detail = image.get("detail")
    if detail in ("low", "high") and thinks_by_level(model):
        part["mediaResolution"] = {"level": f"MEDIA_RESOLUTION_{detail.upper()}"}
    elif detail not in (None, "auto"):
        raise UsageError(
            f"{provider} takes no detail {detail!r} of an image for {model}",
            hint="extra_body mediaResolution holds for all images of a request",
        )
    return part


def _from_url(url: str, name: str = "") -> Part:
    if data := data_url(url):
        kind = guessed_type(name) if data[0] == DEFAULT_TYPE else None
        return {"inlineData": {"mimeType": kind or data[0], "data": data[1]}}
    file = {"fileUri": url}
    if kind := guessed_type(name or url):
        file["mimeType"] = kind
    return {"fileData": file}


def _audio(audio: Mapping[str, Any], provider: str) -> Part:
    data = text_field(audio, "data", "an input_audio", provider)
    kind = str(audio.get("format") or "wav").lower()
    return {"inlineData": {"mimeType": AUDIO.get(kind, f"audio/{kind}"), "data": data}}


def _file(file: Mapping[str, Any], provider: str) -> Part:
    name = str(file.get("filename") or "")
    if isinstance(file.get("file_id"), str):
        return _from_url(file["file_id"], name)
    data = text_field(file, "file_data", "a file", provider)
    if re.match(r"(?i)data:|https?:|gs:", data):
        return _from_url(data, name)
    kind = guessed_type(name) or DEFAULT_TYPE
    return {"inlineData": {"mimeType": kind, "data": plain_base64(data)}}
