"""A streamed chat completion put together again, chunk by chunk.

Source: platform.openai.com/docs/api-reference/chat-streaming (read 2026-11-22). Hosts differ:
some never say [DONE], some repeat the usage on every chunk, some answer whole all the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import BadReply, Interrupted
from llmbatch_cli.core.types import Completion, WireReply
from llmbatch_cli.providers.base import Stream
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.replies import count, excerpt, mapping

MOST_CHOICES: Final = 1024
"""A choice or tool call with a higher index is none."""

Text = Callable[[object], str | None]


class ChatStream(Stream):
    """Reads one streamed chat completion, or one that came whole although a stream was asked for.

    Args:
        parse: reads a whole reply; it also gives the error that an error event means.
        headers: the reply's.
        text: what a content's new part holds of the answer's text.
        choices: how many answers were asked for.
    """

    def __init__(
        self,
        parse: Callable[[WireReply], Completion],
        headers: Mapping[str, str],
        text: Text,
        choices: int = 1,
    ) -> None:
        self._parse = parse
        self._headers = headers
        self._text = text
        self._wanted = choices
        self._events = ServerSentEvents()
        self._body: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._done = False
        self._whole = bytearray() if _is_json(headers) else None

    def feed(self, data: bytes) -> str:
        if self._whole is not None:
            return self._gather(self._whole, data)
        return "".join([self._take(event) for _, event in self._events.feed(data)])

    def finish(self) -> Completion:
        if self._whole is not None:
            return self._parse(WireReply(200, self._headers, bytes(self._whole)))
        if not self._done and not self._all_ended():
            raise Interrupted("the stream ended before the answer did", status=200)
        choices = [choice.whole(place) for place, choice in sorted(self._choices.items())]
        return self._reply({**self._body, "choices": choices})

    def _gather(self, whole: bytearray, data: bytes) -> str:
        """The text of a reply that is no stream, once it is complete."""
        whole += data
        if not data.rstrip().endswith(b"}"):
            return ""
        try:
            return self._parse(WireReply(200, self._headers, bytes(whole))).text or ""
        except BadReply:
            return ""

    def _all_ended(self) -> bool:
        ended = sum(choice.ended for choice in self._choices.values())
        return ended >= max(self._wanted, len(self._choices))

    def _reply(self, body: Mapping[str, Any]) -> Completion:
        try:
            return self._parse(WireReply(200, self._headers, orjson.dumps(body)))
        except TypeError as error:
            raise BadReply(f"the stream cannot be put together: {error}", status=200) from error

    def _take(self, data: bytes) -> str:
        """What one event adds to the first answer's text."""
        if data == b"[DONE]":
            self._done = True
            return ""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadReply(f"an event is no JSON: {excerpt(data)}", status=200) from error
        if not isinstance(chunk, dict):
            raise BadReply(f"an event is no object: {excerpt(data)}", status=200)
        if chunk.get("error") or chunk.get("object") == "error":
            self._reply(chunk)
        return self._add(chunk)

    def _add(self, chunk: dict[str, Any]) -> str:
        choices = chunk.pop("choices", None)
        self._body.update((name, value) for name, value in chunk.items() if value is not None)
        text = ""
        for given in choices if isinstance(choices, list) else ():
            choice = mapping(given)
            place = count(choice.get("index")) or 0
            if place >= MOST_CHOICES:
                raise BadReply("the stream holds more choices than were asked for", status=200)
            added = self._choices.setdefault(place, _Choice(self._text)).add(choice)
            text += added if place == 0 else ""
        return text


class _Choice:
    """One answer, as far as it has come."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._pieces: dict[str, list[str]] = {}
        self._parts: list[Any] = []
        self._calls: dict[int, _Call] = {}
        self._message: dict[str, Any] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._finish: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        return bool(self._finish.get("finish_reason"))

    def add(self, choice: Mapping[str, Any]) -> str:
        """The new text of this part of the choice."""
        for name, value in choice.items():
            if name not in ("index", "delta", "logprobs") and value is not None:
                self._finish[name] = value
        for name, tokens in mapping(choice.get("logprobs")).items():
            if isinstance(tokens, list):
                self._logprobs.setdefault(name, []).extend(tokens)
        text = ""
        for name, value in mapping(choice.get("delta")).items():
            if name == "content":
                text += self._content(value)
            elif value is not None:
                text += self._field(name, value)
        return text

    def _content(self, value: object) -> str:
        if isinstance(value, list):
            self._parts.extend(value)
        elif isinstance(value, str):
            self._piece("content", value)
        return self._text(value) or ""

    def _piece(self, name: str, value: str) -> None:
        if name == "content" and self._parts:
            self._parts.append({"type": "text", "text": value})
        else:
            self._pieces.setdefault(name, []).append(value)

    def _field(self, name: str, value: object) -> str:
        """Take over another field than the content; what of it is text: audio's transcript."""
        if name == "tool_calls":
            for given in value if isinstance(value, list) else ():
                self._call(mapping(given))
        elif name == "function_call":
            self._call({"function": value})
        elif isinstance(value, str) and name not in ("role", "id"):
            self._piece(name, value)
        elif isinstance(value, list) and isinstance(self._message.get(name), list):
            self._message[name].extend(value)
        elif isinstance(value, dict):
            self._message[name] = _joined(mapping(self._message.get(name)), value)
            return _transcript(value) if name == "audio" else ""
        else:
            self._message[name] = value
        return ""

    def _call(self, given: Mapping[str, Any]) -> None:
        """A part of a tool call; without an index it goes on the last one, unless it is new."""
        place = count(given.get("index"))
        if place is None:
            last = max(len(self._calls) - 1, 0)
            place = len(self._calls) if given.get("id") else last
        if place >= MOST_CHOICES:
            raise BadReply("the stream holds too many tool calls", status=200)
        self._calls.setdefault(place, _Call()).add(given)

    def whole(self, place: int) -> dict[str, Any]:
        """The choice as a reply that is not streamed has it."""
        message = {"role": "assistant", "content": None, **self._message}
        message.update((name, "".join(pieces)) for name, pieces in self._pieces.items())
        if self._parts:
            first = message["content"]
            message["content"] = [{"type": "text", "text": first}] if first else []
            message["content"] += self._parts
        if self._calls:
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        choice = {**self._finish, "index": place, "message": message}
        return {**choice, "logprobs": self._logprobs} if self._logprobs else choice


class _Call:
    """One tool call, as far as it has come."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._name: list[str] = []
        self._arguments: list[str] = []
        self._input: Any = None

    def add(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in ("index", "function") and value:
                self._fields[name] = value
        function = mapping(given.get("function"))
        word, arguments = function.get("name"), function.get("arguments")
        if isinstance(word, str) and [word] != self._name:
            self._name.append(word)
        if isinstance(arguments, str):
            self._arguments.append(arguments)
        elif arguments is not None:
            self._input = arguments

    def whole(self) -> dict[str, Any]:
        arguments = "".join(self._arguments) if self._input is None else self._input
        function = {"name": "".join(self._name), "arguments": arguments}
        return {"type": "function", **self._fields, "function": function}


def _transcript(audio: Mapping[str, Any]) -> str:
    found = audio.get("transcript")
    return found if isinstance(found, str) else ""


def _joined(before: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """An object that comes in pieces, as audio does: its data and transcript go on."""
    joined = {**before, **added}
    for name in ("data", "transcript"):
        old, new = before.get(name), added.get(name)
        if isinstance(old, str) and isinstance(new, str):
            joined[name] = old + new
    return joined


def _is_json(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("application/json")
