"""A streamed chat completion put together again, chunk by chunk.

Source: platform.openai.com/docs/api-reference/chat-streaming (read 2026-11-22). Hosts differ:
some never send [DONE], some repeat the usage on every chunk, some answer whole all the same.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import BadReply
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.wire.provider import EventStream, Pieces
from llmbatch_cli.providers.wire.replies import content_text, count, listed, mapping, mappings
from llmbatch_cli.providers.wire.tools import ToolCallPieces

MOST_CHOICES: Final = 1024
"""A choice with a higher index is none."""


class ChatStream(EventStream):
    """Reads one streamed chat completion, chunk by chunk."""

    def begin(self, request: Request) -> None:
        self._requested = count(request.params.get("n")) or 1
        self._body: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, event: dict[str, Any]) -> str:
        choices = listed(event.pop("choices", None))
        self._body.update([item for item in event.items() if item[1] is not None])
        text = ""
        for choice in map(mapping, choices):
            place = count(choice.get("index")) or 0
            if place >= MOST_CHOICES:
                raise BadReply("the stream has more choices than were requested", status=200)
            added = self._choices.setdefault(place, _Choice()).add(choice)
            text += added if place == 0 else ""
        return text

    def is_whole(self, event: Mapping[str, Any]) -> bool:
        choices = mappings(event.get("choices"))
        return any(choice.get("message") and not choice.get("delta") for choice in choices)

    def is_complete(self) -> bool:
        ended = sum(choice.ended for choice in self._choices.values())
        return self.done or ended >= max(self._requested, len(self._choices))

    def whole(self) -> dict[str, Any]:
        choices = [choice.whole(place) for place, choice in sorted(self._choices.items())]
        return {**self._body, "choices": choices}


class _Choice:
    """One answer, as far as it has come."""

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._parts: list[Any] = []
        self._calls = ToolCallPieces()
        self._message: dict[str, Any] = {}
        self._logprobs: defaultdict[str, list[Any]] = defaultdict(list)
        self._choice: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        return bool(self._choice.get("finish_reason"))

    def add(self, choice: Mapping[str, Any]) -> str:
        """The new text of this part of the choice."""
        for name, value in choice.items():
            if name not in ("index", "delta", "logprobs") and value is not None:
                self._choice[name] = value
        for name, tokens in mapping(choice.get("logprobs")).items():
            if isinstance(tokens, list):
                self._logprobs[name].extend(tokens)
        text = ""
        delta = mapping(choice.get("delta") or {"content": choice.get("text")})
        for name, value in delta.items():
            text += self._field(name, value)
        return text

    def _field(self, name: str, value: object) -> str:
        """Add a field of the delta; the part of it that is text: content, or audio's transcript."""
        if name == "content":
            return self._content(value)
        before = self._message.get(name)
        if name == "tool_calls":
            for call in mappings(value):
                self._calls.add(call)
        elif name == "function_call" and value is not None:
            self._calls.add({"function": value})
        # Servers repeat the role with every chunk; any other text is a piece.
        elif isinstance(value, str) and name not in ("role", "id"):
            self._pieces.add(name, value)
        elif isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        elif isinstance(value, dict):
            self._message[name] = _joined(mapping(before), value)
            return content_text(value.get("transcript")) or "" if name == "audio" else ""
        elif value is not None:
            self._message[name] = value
        return ""

    def _content(self, value: object) -> str:
        if isinstance(value, str):
            if self._parts:
                self._parts.append({"type": "text", "text": value})
            else:
                self._pieces.add("content", value)
            return value
        self._parts.extend(value if isinstance(value, list) else [] if value is None else [value])
        return content_text(value) or ""

    def whole(self, place: int) -> dict[str, Any]:
        """The choice as a reply that is not streamed has it."""
        message = {"role": "assistant", "content": None, **self._message, **self._pieces.whole()}
        if self._parts:
            first = message["content"]
            before = [{"type": "text", "text": first}] if first else []
            message["content"] = before + self._parts
        if calls := self._calls.whole():
            message["tool_calls"] = calls
        choice = {**self._choice, "index": place, "message": message}
        return {**choice, "logprobs": dict(self._logprobs)} if self._logprobs else choice


def _joined(before: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """An object that comes in pieces, as audio does: its data and transcript are continued."""
    joined = {**before, **added}
    for name in ("data", "transcript"):
        old, new = before.get(name), added.get(name)
        if isinstance(old, str) and isinstance(new, str):
            joined[name] = old + new
    return joined
