"""A streamed answer of Converse put together again, frame by frame.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html as
modelled in botocore 1.44.5 (read 2026-11-22).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError
from llmbatch_cli.core.types import Completion
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.bedrock.aws import Frame, Frames
from llmbatch_cli.providers.wire.replies import excerpt, mapping, tool_input

Read = Callable[[Mapping[str, Any], Mapping[str, Any]], Completion]
Raised = Callable[[str, bytes], ProviderError]


@dataclass(slots=True)
class _Block:
    start: Mapping[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    signature: Any = None
    redacted: Any = None
    inputs: list[str] = field(default_factory=list)
    citations: list[Any] = field(default_factory=list)

    def whole(self) -> list[dict[str, Any]]:
        """What a reply that is not streamed has in this block's place."""
        blocks: list[dict[str, Any]] = []
        if self.redacted:
            blocks.append({"reasoningContent": {"redactedContent": self.redacted}})
        if self.thoughts or self.signature:
            said = {"text": "".join(self.thoughts), "signature": self.signature}
            blocks.append({"reasoningContent": {"reasoningText": said}})
        text = "".join(self.texts)
        if self.citations:
            cited = {"content": [{"text": text}], "citations": self.citations}
            blocks.append({"citationsContent": cited})
        elif self.texts:
            blocks.append({"text": text})
        use = self.start.get("toolUse")
        if isinstance(use, dict):
            blocks.append({"toolUse": {**use, "input": tool_input("".join(self.inputs))}})
        return blocks


class ConverseStream(Stream):
    """Reads one streamed answer.

    `read` makes the completion of a reply and its message, `raised` the error of an
    exception's name and payload.
    """

    def __init__(self, read: Read, raised: Raised) -> None:
        self._read = read
        self._raised = raised
        self._frames = Frames()
        self._found: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}
        self._stopped = False

    def feed(self, data: bytes) -> str:
        return "".join([self._take(frame) for frame in self._frames.feed(data)])

    def finish(self) -> Completion:
        if not self._stopped:
            raise Interrupted("the stream ended before the message did", status=200)
        blocks = [block for _, found in sorted(self._blocks.items()) for block in found.whole()]
        return self._read(self._found, {"content": blocks})

    def _take(self, frame: Frame) -> str:
        """What one frame adds to the answer's text."""
        if frame.headers.get(":message-type") != "event":
            raised = frame.headers.get(":exception-type") or frame.headers.get(":error-code", "")
            raise self._raised(raised, frame.payload)
        try:
            event = mapping(orjson.loads(frame.payload))
        except orjson.JSONDecodeError as error:
            raise BadReply(f"an event is no JSON: {excerpt(frame.payload)}", status=200) from error
        kind = frame.headers.get(":event-type")
        if kind == "contentBlockDelta":
            return self._delta(self._block(event), mapping(event.get("delta")))
        if kind == "contentBlockStart":
            self._block(event).start = mapping(event.get("start"))
        elif kind == "messageStop":
            self._stopped = True
            self._found.update(event)
        elif kind == "metadata":
            self._found.update(event)
        return ""

    def _block(self, event: Mapping[str, Any]) -> _Block:
        index = event.get("contentBlockIndex")
        if type(index) is not int:
            raise BadReply("an event of the stream names no block", status=200)
        return self._blocks.setdefault(index, _Block())

    def _delta(self, block: _Block, delta: Mapping[str, Any]) -> str:
        thought = mapping(delta.get("reasoningContent"))
        if isinstance(thought.get("text"), str):
            block.thoughts.append(thought["text"])
        block.signature = thought.get("signature") or block.signature
        block.redacted = thought.get("redactedContent") or block.redacted
        piece = mapping(delta.get("toolUse")).get("input")
        if isinstance(piece, str):
            block.inputs.append(piece)
        if delta.get("citation"):
            block.citations.append(delta["citation"])
        text = delta.get("text")
        if not isinstance(text, str):
            return ""
        block.texts.append(text)
        return text
