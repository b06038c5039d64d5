"""The skeleton of every wire that uses JSON: parse, errors, and streams of events."""

import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError, UnknownPath
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Provider, Stream
from llmbatch_cli.providers.wire.errors import (
    ErrorBody,
    ErrorClass,
    ErrorRules,
    error_class,
    error_in,
    error_of,
    read_error,
)
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.limits import rate_info
from llmbatch_cli.providers.wire.replies import json_object


class JsonProvider(Provider):
    """A provider whose replies are JSON objects. A wire gives `read`, and tables for the rest."""

    rules: ErrorRules = ErrorRules()
    """What its errors mean."""
    request_id_headers: ClassVar[Sequence[str]] = ("x-request-id",)
    """The headers that may name the request for the provider's support; the first wins."""
    version: ClassVar[str] = ""
    """What a base URL usually ends in, where it must be written out."""
    stream_reader: "ClassVar[type[EventStream] | None]" = None
    """None where the wire has no streaming form."""

    @abstractmethod
    def read(self, body: dict[str, Any]) -> Completion:
        """The answer in a reply's body. Raises BadReply, Refused and Overloaded."""

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(reply, request.model)
        return self.answer(json_object(reply), reply, request.model)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        if self.stream_reader is None:
            return super().stream(request, headers)
        return self.stream_reader(self, request, headers)

    def answer(self, body: dict[str, Any], reply: WireReply, model: str) -> Completion:
        """The answer in the body of a reply with status 200. Raises ProviderError only."""
        if self.is_error(body):
            raise self.failed(error_in(body, reply.status), reply, model)
        completion = self.read(body)
        headers = reply.headers
        for name in self.request_id_headers:
            completion.request_id = completion.request_id or headers.get(name)
        completion.limits = rate_info(headers)
        return completion

    def is_error(self, body: Mapping[str, Any]) -> bool:
        """Whether the body of a reply with status 200, or an event of a stream, is an error."""
        return bool(body.get("error"))

    def error(self, reply: WireReply, model: str) -> ProviderError:
        """The error in a reply without an answer."""
        return self.failed(read_error(reply), reply, model)

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        """The exception for this error body."""
        kind = self.error_class(error)
        hint = self.hint(kind, error, model) or (self.url_hint() if kind is UnknownPath else None)
        return error_of(kind, error.message, reply, self._api_key, hint)

    def error_class(self, error: ErrorBody) -> ErrorClass:
        """The class of an error, by `rules` and what a wire adds to them."""
        return error_class(error, self.rules)

    def hint(self, kind: ErrorClass, error: ErrorBody, model: str) -> str | None:
        """What the user can do about the error; None where the message is enough."""
        return self.rules.hints.get(kind)

    def url_hint(self) -> str:
        """What to check where the server has nothing at the path."""
        if self.version and not re.search(r"/v\d\w*(/|$)", self.base_url):
            return f"does the base URL end in {self.version}? Try {self.base_url}{self.version}"
        return f"is this the base URL of its API: {self.base_url}?"


class Pieces:
    """Texts that come in pieces, by name."""

    def __init__(self) -> None:
        self._pieces: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, value: object) -> str:
        """The value if it is a text, which is then added; else nothing."""
        if not isinstance(value, str):
            return ""
        self._pieces[name].append(value)
        return value

    def whole(self) -> dict[str, str]:
        """Each text as far as it has come."""
        return {name: "".join(pieces) for name, pieces in self._pieces.items()}


class EventStream(Stream):
    """Reads one streamed reply: bytes to events, events to the body of a whole reply, to an answer.

    A wire gives `add` and `whole`, and sets `ended` at its own end mark. A reply that came whole
    although a stream was requested is read as one.
    """

    framing: ClassVar[type[Any]] = ServerSentEvents
    """What cuts the bytes into events."""

    def __init__(
        self, provider: JsonProvider, request: Request, headers: Mapping[str, str]
    ) -> None:
        self.provider = provider
        self.model = request.model
        self.reply = WireReply(200, headers, b"")
        """What is read of the stream just now, as a reply of its own."""
        self.events = self.framing()
        self.done = False
        """Whether `[DONE]` has come, which is not every wire's end."""
        self.ended = False
        is_json = headers.get("content-type", "").startswith("application/json")
        self._whole_reply = bytearray() if is_json else None
        self.begin(request)

    def begin(self, request: Request) -> None:
        """Set up what the events are gathered in."""

    @abstractmethod
    def add(self, event: dict[str, Any]) -> str:
        """What one event adds to the answer's text."""

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """The body as a reply that is not streamed has it."""

    def feed(self, data: bytes) -> str:
        if self._whole_reply is not None:
            return self._gather(self._whole_reply, data)
        return "".join([self.take(event) for event in self.events.feed(data)])

    def take(self, event: Any) -> str:
        """What one event, as it was framed, adds to the answer's text."""
        data: bytes = event.strip()
        if not data:
            return ""
        if data == b"[DONE]":
            self.done = True
            return ""
        self.reply.body = data
        body = json_object(self.reply)
        if self.provider.is_error(body):
            raise self.provider.failed(error_in(body, 200), self.reply, self.model)
        return self.add(body)

    def is_complete(self) -> bool:
        """Whether the stream's own end has come."""
        return self.ended

    def finish(self) -> Completion:
        if self._whole_reply is not None:
            return self._read_whole(self._whole_reply)
        if not self.is_complete():
            raise Interrupted("the stream ended before the answer did", status=200)
        return self.provider.answer(self.whole(), self.reply, self.model)

    def _gather(self, whole: bytearray, data: bytes) -> str:
        """The text of a reply that is not a stream, once it is complete."""
        whole += data
        # Parsing costs as much as the whole so far, so it is tried only where JSON may end.
        if not data.rstrip().endswith(b"}"):
            return ""
        try:
            return self._read_whole(whole).text or ""
        except BadReply:
            return ""

    def _read_whole(self, data: bytearray) -> Completion:
        self.reply.body = bytes(data)
        return self.provider.answer(json_object(self.reply), self.reply, self.model)
