"""Messages in OpenAI's shape as a system prompt and turns in Anthropic's, block by block.

Sources (read 2026-11-22): platform.claude.com/docs/en/api/messages, /docs/en/build-with-claude/
vision, /pdf-support, /prompt-caching, /docs/en/agents-and-tools/tool-use/handle-tool-calls; on
2026-11-23 /docs/en/build-with-claude/extended-thinking (thinking blocks go back as they came) and
docs.litellm.ai/docs/reasoning_content (`thinking_blocks`).
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Message
from llmbatch_cli.providers.wire.draft import Draft, message_fields
from llmbatch_cli.providers.wire.messages import data_url
from llmbatch_cli.providers.wire.replies import mapping

Block = dict[str, Any]

Read = Callable[[Message, Draft], list[Block]]
"""A message as blocks."""

FIELDS: Final = message_fields(
    ("cache_control",),
    tool=("name", "is_error"),
    assistant=("refusal", "annotations", "thinking_blocks"),
)
"""A tool result's `name` is left out, since the API finds the call by its id; so is `annotations`,
which a provider noted about its own answer."""
_WITH_THOUGHTS: Final = {
    **FIELDS,
    "assistant": FIELDS["assistant"] | {"reasoning", "reasoning_content"},
}
"""For a message with thinking_blocks, whose text these repeat; Claude reads only signed ones."""


def conversation(draft: Draft) -> tuple[list[Block], list[Message]]:
    """The system prompt's blocks, and the turns; two neighbours never have the same role."""
    system, turns = split(draft, _content, _turn)
    if not turns:
        raise UsageError(
            f"{draft.provider} needs a user message", hint="a system prompt alone asks nothing"
        )
    for turn in turns:
        turn["content"] = short(turn["content"])
    return system, turns


def split(draft: Draft, read_system: Read, read_turn: Read) -> tuple[list[Block], list[Message]]:
    """The system prompt's blocks, and the turns; two neighbours never have the same role.

    Raises UsageError for an unsupported role or field.
    """
    system: list[Block] = []
    turns: list[Message] = []
    for message in draft.request.messages:
        fields = _WITH_THOUGHTS if message.get("thinking_blocks") else FIELDS
        role = draft.role_of(message, fields)
        if role in ("system", "developer"):
            system += read_system(message, draft)
            continue
        role = "user" if role == "tool" else role
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"] += read_turn(message, draft)
    return system, turns


def short(blocks: list[Block]) -> str | list[Block]:
    """A single plain text as a string, which means the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _turn(message: Message, draft: Draft) -> list[Block]:
    if message["role"] == "tool":
        return [_tool_result(message, draft)]
    uses: list[Block] = [
        {"type": "tool_use", "id": call.get("id"), "name": name, "input": given}
        for call, name, given in draft.calls(message)
    ]
    return answer(thinking_blocks(message, draft), _content(message, draft), uses)


def answer(thoughts: list[Block], blocks: list[Block], uses: list[Block]) -> list[Block]:
    """An assistant's blocks, or a user's, in the order that Claude expects."""
    if thoughts or uses:
        # An assistant that only calls has "" or null as its text, which Claude refuses.
        blocks = [block for block in blocks if block.get("text") != ""]
    return [*thoughts, *blocks, *uses]


def thinking_blocks(message: Message, draft: Draft) -> list[Block]:
    """The thoughts of an earlier answer, as they came; they go before its tool calls."""
    found = message.get("thinking_blocks") or []
    kinds = ("thinking", "redacted_thinking")
    if not isinstance(found, list) or any(
        mapping(block).get("type") not in kinds for block in found
    ):
        raise UsageError(f"thinking_blocks for {draft.provider} is not a list of thinking blocks")
    return [dict(block) for block in found]


def _content(message: Message, draft: Draft) -> list[Block]:
    """A message's content as blocks; its own cache_control goes to the last."""
    content = message.get("content")
    if isinstance(content, list):
        blocks = [_part(part, draft) for part in content]
    else:
        text = content if content is not None else message.get("refusal")
        blocks = [{"type": "text", "text": text or ""}]
    if blocks and "cache_control" in message:
        blocks[-1]["cache_control"] = message["cache_control"]
    return blocks


def _tool_result(message: Message, draft: Draft) -> Block:
    result = {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        "content": short(_content({"content": message.get("content")}, draft)),
    }
    if "is_error" in message:
        result["is_error"] = message["is_error"]
    return cached(result, message)


def cached(block: Block, source: Mapping[str, Any]) -> Block:
    """The block with the cache_control of `source`, if it has one."""
    if "cache_control" in source:
        block["cache_control"] = source["cache_control"]
    return block


def _part(part: Any, draft: Draft) -> Block:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise draft.refused("a part of a message that is not an object")
    kind = part.get("type")
    if kind == "image_url":
        return cached(_image(draft.image_url(without_cache(part)), draft), part)
    if kind == "file":
        return cached(_file(draft.inner(without_cache(part), "file"), draft), part)
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal") or ""}
    if kind in ("input_audio", "audio", "video_url"):
        raise draft.refused(f"{kind} in a message")
    return dict(part)


def without_cache(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part without its cache_control."""
    return {name: value for name, value in part.items() if name != "cache_control"}


def _image(url: str, draft: Draft) -> Block:
    if url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return _data_block(url, draft)


def _file(file: Mapping[str, Any], draft: Draft) -> Block:
    data, file_id = file.get("file_data"), file.get("file_id")
    if not isinstance(data, str):
        if not file_id:
            raise UsageError(f"a file for {draft.provider} has neither file_data nor file_id")
        block = _document(type="file", file_id=file_id)
    elif data.startswith(("http://", "https://")):
        block = _document(type="url", url=data)
    elif data.startswith("data:"):
        block = _data_block(data, draft)
    else:
        block = _document(type="base64", media_type="application/pdf", data=data)
    if block["type"] == "document" and file.get("filename"):
        block["title"] = file["filename"]
    return block


def _data_block(url: str, draft: Draft) -> Block:
    """A data: URL as an image or a document, by its media type."""
    found = data_url(url)
    if found is None:
        raise draft.refused(f"{url[:40]!r}, only http(s) and data: URLs")
    media, data = found
    if media.startswith("image/"):
        media = "image/jpeg" if media == "image/jpg" else media
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    if media == "application/pdf":
        return _document(type="base64", media_type=media, data=data)
    if media.startswith("text/"):
        return _document(type="text", media_type="text/plain", data=_plain_text(data))
    raise draft.refused(f"{media}, only images, PDFs and text")


def _document(**source: Any) -> Block:
    return {"type": "document", "source": source}


def _plain_text(data: str) -> str:
    try:
        return b64decode(data).decode()
    except ValueError as error:
        raise UsageError("the text of a data: URL is not UTF-8") from error
