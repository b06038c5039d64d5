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
from llmbatch_cli.core.types import Message
from llmbatch_cli.providers.wire.draft import Draft, message_fields, reasoning_of
from llmbatch_cli.providers.wire.messages import DEFAULT_TYPE, data_url, guessed_type, plain_base64
from llmbatch_cli.providers.wire.replies import mapping, text_or_none

Part = dict[str, Any]

FIELDS: Final = message_fields(
    tool=("name",),
    assistant=("refusal", "reasoning", "reasoning_content", "extra_content", "annotations"),
)
"""`annotations` is what a provider noted about its own answer, and no part of the conversation."""
NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""The thought signature of a call that Gemini 3 has not made itself."""
AUDIO: Final[Mapping[str, str]] = {"mp3": "audio/mp3", "wav": "audio/wav", "pcm16": "audio/pcm"}


def generation(model: str) -> float | None:
    """The generation in a model's name: 3.1 of `gemini-3.1-pro`; None where it has none."""
    found = re.search(r"gemini-(\d+(?:\.\d+)?)", model)
    return float(found[1]) if found else None


def thinks_by_level(model: str) -> bool:
    """Whether the model is of the third generation or later; `gemini-flash-latest` is."""
    number = generation(model)
    return number >= 3 if number is not None else "gemini" in model


def conversation(draft: Draft) -> tuple[list[dict[str, Any]], list[Part]]:
    """`contents`, and the parts of `systemInstruction`, which takes the system messages."""
    contents: list[dict[str, Any]] = []
    system: list[Part] = []
    for message in draft.request.messages:
        role = draft.role_of(message, FIELDS)
        if role in ("system", "developer"):
            system += [{"text": draft.part_text(part)} for part in draft.parts(message)]
        elif role == "assistant":
            contents.append(_answer(message, draft))
        elif role == "tool":
            _add_result(contents, _tool_result(message, draft))
        else:
            read = [_part(part, draft) for part in draft.parts(message)]
            contents.append({"role": "user", "parts": read})
    if not contents:
        raise UsageError(f"{draft.provider} needs a user message besides the system's")
    return contents, system


def _answer(message: Message, draft: Draft) -> dict[str, Any]:
    texts = [draft.part_text(part) for part in draft.parts(message)]
    answer: list[Part] = [{"text": text} for text in texts if text]
    if message.get("refusal"):
        answer.append({"text": str(message["refusal"])})
    thoughts = reasoning_of(message)
    if isinstance(thoughts, str):
        answer.insert(0, {"text": thoughts, "thought": True})
    signature = _signature(message)
    if signature and answer:
        answer[-1]["thoughtSignature"] = signature
    answer += _function_calls(message, draft)
    return {"role": "model", "parts": answer or [{"text": ""}]}


def _function_calls(message: Message, draft: Draft) -> list[Part]:
    made: list[Part] = []
    for call, name, arguments in draft.calls(message):
        part: Part = {"functionCall": {"name": name, "args": arguments}}
        if isinstance(call.get("id"), str):
            part["functionCall"]["id"] = call["id"]
        if signature := _signature(call):
            part["thoughtSignature"] = signature
        made.append(part)
    signed = any("thoughtSignature" in part for part in made)
    if made and not signed and thinks_by_level(draft.request.model):
        made[0]["thoughtSignature"] = NO_SIGNATURE
    return made


def _signature(value: Mapping[str, Any]) -> str | None:
    """`extra_content.google.thought_signature`, as in Google's OpenAI-compatible API."""
    google = mapping(mapping(value.get("extra_content")).get("google"))
    return text_or_none(google.get("thought_signature")) or None


def _tool_result(message: Message, draft: Draft) -> Part:
    call_id = text_or_none(message.get("tool_call_id"))
    name = draft.called(message)
    if not isinstance(name, str):
        raise UsageError(
            f"{draft.provider} needs the name of the function of the tool result {call_id!r}",
            hint="keep the assistant's message with the call before it, or give it a name",
        )
    result: Part = {"name": name, "response": _response(draft.text_of(message))}
    if call_id is not None:
        result["id"] = call_id
    return {"functionResponse": result}


def _response(text: str) -> dict[str, Any]:
    """A tool's result as the object that Gemini needs; anything else becomes its `output`."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text
    return found if isinstance(found, dict) else {"output": found}


def _add_result(contents: list[dict[str, Any]], part: Part) -> None:
    """Results of parallel calls belong in one content."""
    last = contents[-1] if contents else None
    if last and last["role"] == "user" and "functionResponse" in (last["parts"] or [{}])[-1]:
        last["parts"].append(part)
    else:
        contents.append({"role": "user", "parts": [part]})


def _part(part: Mapping[str, Any], draft: Draft) -> Part:
    kind = part.get("type")
    if kind == "image_url":
        return _image(draft.inner(part, "image_url"), draft)
    if kind == "input_audio":
        return _audio(draft.inner(part, "input_audio"), draft)
    if kind == "file":
        return _file(draft.inner(part, "file"), draft)
    return {"text": draft.part_text(part)}


def _image(image: Mapping[str, Any], draft: Draft) -> Part:
    model = draft.request.model
    part = _from_url(draft.text_field(image, "url", "an image_url"))
    detail = image.get("detail")
    if detail in ("low", "high") and thinks_by_level(model):
        part["mediaResolution"] = {"level": f"MEDIA_RESOLUTION_{detail.upper()}"}
    elif detail not in (None, "auto"):
        hint = "extra_body mediaResolution applies to all images of a request"
        raise draft.refused(f"a detail {detail!r} of an image for {model}", hint)
    return part


def _from_url(url: str, name: str = "") -> Part:
    if data := data_url(url):
        kind = guessed_type(name) if data[0] == DEFAULT_TYPE else None
        return _inline(kind or data[0], data[1])
    file = {"fileUri": url}
    if kind := guessed_type(name or url):
        file["mimeType"] = kind
    return {"fileData": file}


def _inline(media_type: str, data: str) -> Part:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _audio(audio: Mapping[str, Any], draft: Draft) -> Part:
    data = draft.text_field(audio, "data", "an input_audio")
    kind = str(audio.get("format") or "wav").lower()
    return _inline(AUDIO.get(kind, f"audio/{kind}"), data)


def _file(file: Mapping[str, Any], draft: Draft) -> Part:
    name = str(file.get("filename") or "")
    if isinstance(file.get("file_id"), str):
        return _from_url(file["file_id"], name)
    data = draft.text_field(file, "file_data", "a file")
    if re.match(r"(?i)data:|https?:|gs:", data):
        return _from_url(data, name)
    return _inline(guessed_type(name) or DEFAULT_TYPE, plain_base64(data))
