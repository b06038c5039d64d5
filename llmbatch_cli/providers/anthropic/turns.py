"""Messages in OpenAI's shape as a system prompt and turns in Anthropic's, block by block.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages, /docs/en/build-with-claude/
vision, /pdf-support, /prompt-caching, /docs/en/agents-and-tools/tool-use/handle-tool-calls; on
2026-11-23 /docs/en/build-with-claude/extended-thinking (thinking blocks go back as they came) and
docs.litellm.ai/docs/reasoning_content (`thinking_blocks`).
"""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Message
from llmbatch_cli.providers.wire.messages import calls, check_fields, data_url, inner, text_field
from llmbatch_cli.providers.wire.replies import mapping

Block = dict[str, Any]

Read = Callable[[Message, str], list[Block]]
"""A message as blocks; the second argument names the provider."""

_ROLES: Final = {"user": "user", "tool": "user", "assistant": "assistant"}
_SYSTEM: Final = frozenset(("role", "content", "cache_control"))
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "system": _SYSTEM,
    "developer": _SYSTEM,
    "user": _SYSTEM,
    "tool": _SYSTEM | {"tool_call_id", "name", "is_error"},
    "assistant": _SYSTEM | {"tool_calls", "refusal", "annotations", "thinking_blocks"},
}
"""The fields of a message that are said, by its role; any other is told, not dropped.

A tool result's `name` is the name of its call, which is found by the id; `annotations` is what a
provider noted about its own answer.
"""
_THOUGHTS: Final = frozenset(("reasoning", "reasoning_content"))
"""The text of thinking_blocks once more; Claude takes no thoughts without a signature."""


def conversation(messages: Sequence[Message], provider: str) -> tuple[list[Block], list[Message]]:
    """The system prompt's blocks, and the turns, of which no two neighbours have one role."""
    system, turns = spoken(messages, provider, _content, _turn)
    if not turns:
        raise UsageError(
            f"{provider} wants a message of the user", hint="a system prompt alone asks nothing"
        )
    for turn in turns:
        turn["content"] = short(turn["content"])
    return system, turns


def spoken(
    messages: Sequence[Message], provider: str, brief: Read, turn: Read
) -> tuple[list[Block], list[Message]]:
    """The system prompt's blocks as `brief` reads them, and the turns as `turn` does.

    No two neighbouring turns have one role. Raises UsageError for a role or field that has no
    form.
    """
    system: list[Block] = []
    turns: list[Message] = []
    for message in messages:
        role = message.get("role")
        if not isinstance(role, str) or role not in FIELDS:
            raise UsageError(f"{provider} knows no message of the role {role!r}")
        known = FIELDS[role] | (_THOUGHTS if message.get("thinking_blocks") else frozenset())
        check_fields(message, known, f"a message of the role {role}", provider)
        if role not in _ROLES:
            system += brief(message, provider)
        elif turns and turns[-1]["role"] == _ROLES[role]:
            turns[-1]["content"] += turn(message, provider)
        else:
            turns.append({"role": _ROLES[role], "content": turn(message, provider)})
    return system, turns


def short(blocks: list[Block]) -> str | list[Block]:
    """A single plain text as a string, which means the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _turn(message: Message, provider: str) -> list[Block]:
    if message["role"] == "tool":
        return [_tool_result(message, provider)]
    thoughts = thinking_blocks(message, provider)
    uses: list[Block] = [
        {"type": "tool_use", "id": call.get("id"), "name": name, "input": given}
        for call, name, given in calls(message, provider)
    ]
    blocks = _content(message, provider)
    if thoughts or uses:
        # An assistant that only calls has "" or null as its text, which Claude does not take.
        blocks = [block for block in blocks if block.get("text") != ""]
    return [*thoughts, *blocks, *uses]


def thinking_blocks(message: Message, provider: str) -> list[Block]:
    """What an earlier answer has thought, as it came; Claude wants it before its tool calls."""
    found = message.get("thinking_blocks") or []
    kinds = ("thinking", "redacted_thinking")
    if not isinstance(found, list) or any(
        mapping(block).get("type") not in kinds for block in found
    ):
        raise UsageError(f"thinking_blocks for {provider} is no list of thinking blocks")
    return [dict(block) for block in found]


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


def image_url(image: Mapping[str, Any], provider: str) -> str:
    """The address of an image. Raises UsageError for a `detail`, which Claude has no word for."""
    if image.get("detail") != "auto":
        check_fields(image, frozenset(("url",)), "an image_url", provider)
    return text_field(image, "url", "an image", provider)


def _image(image: Mapping[str, Any], provider: str) -> Block:
    url = image_url(image, provider)
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
