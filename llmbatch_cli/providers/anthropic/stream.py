"""A streamed message put together again, event by event.

Source: platform.claude.com/docs/en/build-with-claude/streaming (read 2026-11-22), and
`accumulate_event` of the Python SDK 2.12.0.
"""

from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.wire.provider import EventStream, Pieces
from llmbatch_cli.providers.wire.replies import mapping, text_or_none
from llmbatch_cli.providers.wire.tools import tool_input

_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
}
"""A delta's type: where its text stands, and the block's field that it continues."""


class _Block:
    """One content block, as far as it has come."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.fields = dict(start)
        self.pieces = Pieces()
        for name in ("text", "thinking"):
            self.pieces.add(name, start.get(name))
        self.citations: list[Any] = []

    def whole(self) -> dict[str, Any]:
        """The block as a reply that is not streamed has it."""
        pieces: dict[str, Any] = self.pieces.whole()
        if "input" in pieces:
            pieces["input"] = tool_input(pieces["input"])
        block = {**self.fields, **pieces}
        return {**block, "citations": self.citations} if self.citations else block


class MessageStream(EventStream):
    """Reads one streamed message."""

    def begin(self, request: Request) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def add(self, event: dict[str, Any]) -> str:
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "content_block_start":
            return self._start(event)
        if kind == "message_start":
            self._message = dict(mapping(event.get("message")))
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self.ended = bool(self._message)
        return ""

    def is_complete(self) -> bool:
        # Some servers close the stream behind the reason for its end.
        return self.ended or bool(self._message.get("stop_reason"))

    def is_whole(self, event: Mapping[str, Any]) -> bool:
        return "content" in event and event.get("type") in ("message", None)

    def whole(self) -> dict[str, Any]:
        blocks = [block.whole() for _, block in sorted(self._blocks.items())]
        return {**self._message, "content": blocks}

    def _start(self, event: Mapping[str, Any]) -> str:
        block = _Block(mapping(event.get("content_block")))
        self._blocks[_index(event)] = block
        first = block.fields.get("text") if block.fields.get("type") == "text" else ""
        return text_or_none(first) or ""

    def _delta(self, event: Mapping[str, Any]) -> str:
        block = self._blocks.get(_index(event))
        if block is None:
            raise BadReply("the stream continues a block that it never began", status=200)
        delta = mapping(event.get("delta"))
        kind = delta.get("type")
        if kind == "citations_delta":
            block.citations.append(delta.get("citation"))
        elif kind == "signature_delta":
            block.fields["signature"] = delta.get("signature")
        source, target = _DELTAS.get(str(kind), ("", ""))
        piece = block.pieces.add(target, delta.get(source))
        return piece if target == block.fields.get("type") == "text" else ""

    def _end(self, event: Mapping[str, Any]) -> None:
        """Take over how the message stopped; its counts are totals and replace the first ones."""
        if not self._message:
            raise BadReply("the stream ends a message that it never began", status=200)
        self._message.update(mapping(event.get("delta")))
        counts = {k: v for k, v in mapping(event.get("usage")).items() if v is not None}
        if counts:
            self._message["usage"] = {**mapping(self._message.get("usage")), **counts}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise BadReply("an event of the stream names no block", status=200)
    return index
