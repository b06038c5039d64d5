"""A streamed answer of Converse put together again, frame by frame.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html as
modelled in botocore 1.44.5 (read 2026-11-22).
"""

from collections.abc import Mapping
from typing import Any

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.bedrock.aws import Frame, Frames
from llmbatch_cli.providers.wire.provider import EventStream, Pieces
from llmbatch_cli.providers.wire.replies import json_object, mapping
from llmbatch_cli.providers.wire.tools import tool_input


class _Block:
    """One content block, as far as it has come."""

    def __init__(self) -> None:
        self.tool_use: Mapping[str, Any] | None = None
        self._pieces = Pieces()
        self._thought: dict[str, Any] = {}
        self._citations: list[Any] = []

    def add(self, delta: Mapping[str, Any]) -> str:
        """The new text of this part of the block."""
        thought = mapping(delta.get("reasoningContent"))
        for name in ("signature", "redactedContent"):
            if thought.get(name):
                self._thought[name] = thought[name]
        if delta.get("citation"):
            self._citations.append(delta["citation"])
        self._pieces.add("thought", thought.get("text"))
        self._pieces.add("input", mapping(delta.get("toolUse")).get("input"))
        return self._pieces.add("text", delta.get("text"))

    def whole(self) -> dict[str, Any]:
        """The block as a reply that is not streamed has it."""
        texts = self._pieces.whole()
        thought = {"text": texts.get("thought", ""), "signature": self._thought.get("signature")}
        block: dict[str, Any] = {
            "reasoningContent": {**self._thought, "reasoningText": thought},
            "citationsContent": {"citations": self._citations},
            "text": texts.get("text"),
        }
        if self.tool_use is not None:
            block["toolUse"] = {**self.tool_use, "input": tool_input(texts.get("input", ""))}
        return block


class ConverseStream(EventStream):
    """Reads one streamed answer."""

    framing = Frames
    whole_begins = b"{[<"

    @classmethod
    def reads(cls, body: bytes) -> bool:
        return body[:1] == b"\0"

    def begin(self, request: Request) -> None:
        self._body: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def take(self, event: Frame) -> str:
        headers = event.headers
        if headers.get(":message-type") != "event":
            name = headers.get(":exception-type") or headers.get(":error-code", "")
            known = {**self.reply.headers, "x-amzn-errortype": name}
            reply = WireReply(200, known, event.payload)
            raise self.billed(self.provider.error(reply, self.request.model))
        self.reply.body = event.payload
        body = json_object(self.reply)
        return self.add({**body, ":event-type": headers.get(":event-type")})

    def add(self, event: dict[str, Any]) -> str:
        kind = event.pop(":event-type")
        if kind in ("contentBlockStart", "contentBlockDelta"):
            index = event.get("contentBlockIndex")
            if type(index) is not int:
                raise BadReply("an event of the stream names no block", status=200)
            block = self._blocks.setdefault(index, _Block())
            use = mapping(event.get("start")).get("toolUse")
            if isinstance(use, dict):
                block.tool_use = use
            return block.add(mapping(event.get("delta")))
        if kind in ("messageStop", "metadata"):
            self._body.update(event)
            self.ended |= kind == "messageStop"
        return ""

    def whole(self) -> dict[str, Any]:
        blocks = [block.whole() for _, block in sorted(self._blocks.items())]
        return {**self._body, "output": {"message": {"content": blocks}}}
