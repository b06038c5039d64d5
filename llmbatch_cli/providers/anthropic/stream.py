"""A streamed message put together again, event by event.

Source: platform.claude.com/docs/en/build-with-claude/streaming (read 2026-11-22), and
`accumulate_event` of the Python SDK 2.12.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError
from llmbatch_cli.core.types import Completion
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.replies import excerpt, mapping, tool_input

_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
}
"""A delta's type: where its text stands, and the block's field that it goes on."""


@dataclass(slots=True)
class _Block:
    start: dict[str, Any]
    pieces: list[str] = field(default_factory=list)
    citations: list[Any] = field(default_factory=list)

    def whole(self) -> dict[str, Any]:
        """The block as a reply that is not streamed has it."""
        block = dict(self.start)
        if self.pieces:
            kind = block.get("type")
            name = kind if kind in ("text", "thinking") else "input"
            text = "".join(self.pieces)
            block[name] = text if name != "input" else tool_input(text)
        if self.citations:
            block["citations"] = self.citations
        return block


class MessageStream(Stream):
    """Reads one streamed message.

    `read` makes the completion of a whole message, `error` the error of an error event's data.
    """

    def __init__(
        self,
        read: Callable[[Mapping[str, Any]], Completion],
        error: Callable[[bytes], ProviderError],
    ) -> None:
        self._read = read
        self._error = error
        self._events = ServerSentEvents()
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, _Block] = {}
        self._ended = False

    def feed(self, data: bytes) -> str:
        return "".join([self._take(event) for _, event in self._events.feed(data)])

    def finish(self) -> Completion:
        if not self._ended or self._message is None:
            raise Interrupted("the stream ended before the message did", status=200)
        blocks = [block.whole() for _, block in sorted(self._blocks.items())]
        return self._read({**self._message, "content": blocks})

    def _take(self, data: bytes) -> str:
        """What one event adds to the answer's text."""
        try:
            event = mapping(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise BadReply(f"an event is no JSON: {excerpt(data)}", status=200) from error
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "content_block_start":
            return self._start(event)
        if kind == "error":
            raise self._error(data)
        if kind == "message_start":
            self._message = dict(mapping(event.get("message")))
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self._ended = True
        return ""

    def _start(self, event: Mapping[str, Any]) -> str:
        block = _Block(dict(mapping(event.get("content_block"))))
        self._blocks[_index(event)] = block
        name = block.start.get("type")
        first = block.start.get(name) if name in ("text", "thinking") else None
        if isinstance(first, str) and first:
            block.pieces.append(first)
        return first if name == "text" and isinstance(first, str) else ""

    def _delta(self, event: Mapping[str, Any]) -> str:
        block = self._blocks.get(_index(event))
        if block is None:
            raise BadReply("the stream goes on with a block that it never began", status=200)
        delta = mapping(event.get("delta"))
        kind = delta.get("type")
        if kind == "citations_delta":
            block.citations.append(delta.get("citation"))
        elif kind == "signature_delta":
            block.start["signature"] = delta.get("signature")
        source, target = _DELTAS.get(str(kind), ("", ""))
        piece = delta.get(source)
        if not isinstance(piece, str) or not _fits(block, target):
            return ""
        block.pieces.append(piece)
        return piece if target == "text" else ""

    def _end(self, event: Mapping[str, Any]) -> None:
        """Take over how the message stopped; its counts are totals and replace the first ones."""
        if self._message is None:
            raise BadReply("the stream ends a message that it never began", status=200)
        self._message.update(mapping(event.get("delta")))
        told = {k: v for k, v in mapping(event.get("usage")).items() if v is not None}
        if told:
            self._message["usage"] = {**mapping(self._message.get("usage")), **told}


def _fits(block: _Block, target: str) -> bool:
    kind = block.start.get("type")
    return target == (kind if kind in ("text", "thinking") else "input")


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise BadReply("an event of the stream names no block", status=200)
    return index
