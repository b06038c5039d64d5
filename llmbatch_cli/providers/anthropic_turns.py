"""Messages in OpenAI's shape as a system prompt and turns in Anthropic's, block by block.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages, /docs/en/build-with-claude/
vision, /pdf-support, /prompt-caching, /docs/en/agents-and-tools/tool-use/handle-tool-calls.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.errors import UsageError
from llmbatch_cli.providers.messages import calls, data_url, inner, text_field
from llmbatch_cli.types import Message

Block = dict[str, Any]

_ROLES: Final = {"user": "user", "tool": "user", "assistant": "assistant"}
_UNSAID: Final = ("function_call", "audio")
"""Fields of a message that would change its meaning if they were left out."""


def conversation(messages: Sequence[Message], provider: str) -> tuple[list[Block], list[Message]]:
    """The system prompt's blocks, and the turns, of which no two neighbours have one role."""
    system: list[Block] = []
    turns: list[Message] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _content(message, provider)
            continue
        speaker = _ROLES.get(str(role))
        if speaker is None:
            raise UsageError(f"{provider} knows no message of the role {role!r}")
        blocks = _turn(message, provider)
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": speaker, "content": blocks})
    if not turns:
        raise UsageError(
            f"{provider} wants a message of the user", hint="a system prompt alone asks nothing"
        )
    for turn in turns:
        turn["content"] = short(turn["content"])
    return system, turns


def short(blocks: list[Block]) -> str | list[Block]:
    """A single plain text as a string, which means the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _turn(message: Message, provider: str) -> list[Block]:
    if message["role"] == "tool":
        return [_tool_result(message, provider)]
    if message["role"] == "user" and "name" in message:
        raise UsageError(
            f"{provider} takes no name on a message", hint="write it into the message's text"
        )
    for name in _UNSAID:
        if message.get(name):
            raise UsageError(f"{provider} takes no {name} in a message")
    blocks = _content(message, provider)
    if message.get("tool_calls"):
        # An assistant that only calls has "" or null as its text, which Claude does not take.
        blocks = [block for block in blocks if block.get("text") != ""]
        blocks += [
            {"type": "tool_use", "id": call.get("id"), "name": name, "input": given}
            for call, name, given in calls(message, provider)
        ]
    return blocks


def _content(message: Message, provider: str) -> list[Block]:
    """A message's content as blocks; its own cache_control goes to the last."""
    content = message.get("content")
    if isinstance(content, list):
        blocks = [_part(part, provider) for part in content]
    else:
        text = content if content is not None else message.get("refusal")
        blocks = [{"type": "text", "text": text or ""}]
    if blocks and "cache_control" in message:
        blocks[-1]["cache_control"] = message["cache_control"]
    return blocks


def _tool_result(message: Message, provider: str) -> Block:
    blocks = _content({"content": message.get("content")}, provider)
    result = {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        "content": short(blocks),
    }
    if "is_error" in message:
        result["is_error"] = message["is_error"]
    return cached(result, message)


def cached(block: Block, said: Mapping[str, Any]) -> Block:
    """The block with the cache_control that stood beside it, if any did."""
    if "cache_control" in said:
        block["cache_control"] = said["cache_control"]
    return block


def _part(part: Any, provider: str) -> Block:
    if not isinstance(part, Mapping):
        raise UsageError(f"{provider} wants the parts of a message as objects")
    kind = part.get("type")
    if kind in ("image_url", "file"):
        bare = {name: value for name, value in part.items() if name != "cache_control"}
        held = inner(bare, kind, provider)
        return cached((_image if kind == "image_url" else _file)(held, provider), part)
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal") or ""}
    if kind in ("input_audio", "audio", "video_url"):
        raise UsageError(f"{provider} takes no {kind} in a message")
    return dict(part)


def _image(image: Mapping[str, Any], provider: str) -> Block:
    url = text_field(image, "url", "an image", provider)
    if url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return _data_block(url, provider)


def _file(file: Mapping[str, Any], provider: str) -> Block:
    data = file.get("file_data")
    if isinstance(data, str):
        if data.startswith(("http://", "https://")):
            block: Block = {"type": "document", "source": {"type": "url", "url": data}}
        elif data.startswith("data:"):
            block = _data_block(data, provider)
        else:
            block = _document("application/pdf", data)
    elif file.get("file_id"):
        block = {"type": "document", "source": {"type": "file", "file_id": file["file_id"]}}
    else:
        raise UsageError(f"{provider} wants a file with file_data or a file_id")
    if block["type"] == "document" and file.get("filename"):
        block["title"] = file["filename"]
    return block


def _data_block(url: str, provider: str) -> Block:
    """A data: URL as an image or a document, by its media type."""
    found = data_url(url)
    if found is None:
        raise UsageError(f"{provider} takes an http(s) or a data: URL, not {url[:40]!r}")
    media, data = found
    if media.startswith("image/"):
        media = "image/jpeg" if media == "image/jpg" else media
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    if media == "application/pdf":
        return _document(media, data)
    if media.startswith("text/"):
        return _plain_text(data)
    raise UsageError(f"{provider} takes images, PDFs and text, not {media}")


def _document(media_type: str, data: str) -> Block:
    return {
        "type": "document",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }


def _plain_text(data: str) -> Block:
    try:
        text = b64decode(data).decode()
    except ValueError as error:
        raise UsageError("the text of a data: URL is no UTF-8") from error
    return {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
    }
