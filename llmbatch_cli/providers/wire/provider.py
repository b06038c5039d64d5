"""The skeleton of every wire that uses JSON: parse, errors, and streams of events."""

import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    Overloaded,
    ProviderError,
    UnknownPath,
    Unreadable,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Provider, Stream
from llmbatch_cli.providers.wire.errors import (
    ErrorBody,
    ErrorClass,
    ErrorRules,
    error_class,
    error_in,
    error_of,
    holds_error,
    read_error,
)
from llmbatch_cli.providers.wire.framing import Events, as_lines, is_stream
from llmbatch_cli.providers.wire.limits import rate_info
from llmbatch_cli.providers.wire.replies import clean, json_object
from llmbatch_cli.providers.wire.usage import OPENAI, UsageFields, read_usage

_ACCEPTED: Final = 202
GENERATED: Final = "failed_generation"
"""Where Groq shows the answer that was no JSON or no call of a tool: the work was done."""
_BEFORE: Final = re.compile(rb"(?:[\s\xef\xbb\xbf]+|:[^\n]*\n)*")
"""What may stand before a reply of any form: white space, a BOM, and comments as keep-alives."""


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
    usage_fields: ClassVar[UsageFields] = OPENAI
    """Where its usage object has each count."""

    @abstractmethod
    def read(self, body: dict[str, Any]) -> Completion:
        """The answer in a reply's body, but for its usage.

        Raises BadReply, Refused and Overloaded.
        """

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if not 200 <= reply.status < 300:
            raise self.error(reply, request.model)
        try:
            body = json_object(reply)
        except BadReply as bad:
            reader, events = self.stream_reader, as_lines(reply.body)
            if reader is not None and reader.reads(events):
                return reader(self, request, reply.headers).replay(events)
            _raise_if_accepted(bad, reply)
            raise
        return self.answer(body, reply, request.model)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        if self.stream_reader is None:
            return super().stream(request, headers)
        return self.stream_reader(self, request, headers)

    def answer(self, body: dict[str, Any], reply: WireReply, model: str) -> Completion:
        """The answer in the body of a reply with a status of success. Raises ProviderError only."""
        if self.is_error(body) and not self._is_answered(body):
            failed = self.failed(error_in(body, reply.status), reply, model)
            failed.maybe_billed |= isinstance(failed, Overloaded)  # behind work, or before it
            raise self.billed(failed, body)
        try:
            completion = self.read(body)
        except ProviderError as error:
            self.billed(error, body)
            _raise_if_accepted(error, reply)
            said = error_in(body, reply.status)
            if type(error) is BadReply and said.said:
                failed = self.failed(said, reply, model)
                if not isinstance(failed, Overloaded):  # its words say more than that it is none
                    raise self.billed(failed, body) from None
            raise
        completion.usage = self.usage_in(body)
        headers = reply.headers
        for name in self.request_id_headers:
            completion.request_id = completion.request_id or headers.get(name)
        completion.limits = rate_info(headers)
        return completion

    def _is_answered(self, body: dict[str, Any]) -> bool:
        """Whether a whole answer stands beside what looks like an error, such as a warning."""
        try:
            completion = self.read(body)
        except ProviderError:
            return False
        return bool(completion.text and completion.finish_reason)

    def usage_in(self, body: Mapping[str, Any]) -> Usage | None:
        """The tokens that a body counts, whatever else it holds."""
        return read_usage(body.get("usage"), self.usage_fields)

    def billed(self, error: ProviderError, body: Mapping[str, Any]) -> ProviderError:
        """The error, with the tokens that its reply counts all the same, and may charge for."""
        error.usage = self.usage_in(body)
        if error.usage is not None and any((error.usage.prompt_tokens, error.usage.total_tokens)):
            error.maybe_billed = True
        return error

    def is_error(self, body: Mapping[str, Any]) -> bool:
        """Whether the body of a reply with status 200, or an event of a stream, is an error."""
        return holds_error(body)

    def error(self, reply: WireReply, model: str) -> ProviderError:
        """The error in a reply without an answer."""
        return self.failed(read_error(reply), reply, model)

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        """The exception for this error body."""
        kind = self.error_class(error)
        hint = self.hint(kind, error, model) or (self.url_hint() if kind is UnknownPath else None)
        failed = error_of(kind, error.message, reply, self._api_key, hint)
        failed.maybe_billed |= GENERATED in error.fields
        return failed

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


def _raise_if_accepted(error: ProviderError, reply: WireReply) -> None:
    """Raise Unreadable where a job was begun in place of an answer: it is not begun again."""
    if reply.status == _ACCEPTED and isinstance(error, BadReply):
        message = f"the server has accepted the request (202) and not answered it: {error.message}"
        raise Unreadable(message, status=reply.status) from error


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
    although a stream was requested is read as one, whatever its headers say.
    """

    framing: ClassVar[type[Any]] = Events
    """What cuts the bytes into events."""
    whole_begins: ClassVar[bytes] = b"{[<"
    """How a reply begins that is not a stream."""

    def __init__(
        self, provider: JsonProvider, request: Request, headers: Mapping[str, str]
    ) -> None:
        self.provider = provider
        self.request = request
        self.reply = WireReply(200, headers, b"")
        """What is read of the stream just now, as a reply of its own."""
        self.events = self.framing()
        self.done = False
        """Whether `[DONE]` has come, which is not every wire's end."""
        self.ended = False
        self._before: bytes | None = b""
        """The bytes so far that do not show yet what the reply is; None once that is known."""
        self._whole_reply: bytearray | None = None
        self._answer: dict[str, Any] | None = None
        """An event that is a whole reply by itself."""
        self._words = ""
        """What came as an event and was not JSON."""
        self._has_text = False
        self.begin(request)

    @classmethod
    def reads(cls, body: bytes) -> bool:
        """Whether a body that is not JSON is such a stream."""
        return is_stream(body)

    def begin(self, request: Request) -> None:
        """Set up what the events are gathered in."""

    @abstractmethod
    def add(self, event: dict[str, Any]) -> str:
        """What one event adds to the answer's text."""

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """The body as a reply that is not streamed has it."""

    def is_whole(self, event: Mapping[str, Any]) -> bool:
        """Whether the event is what a reply that is not streamed has for a body."""
        return False

    def feed(self, data: bytes) -> str:
        if self._before is not None:
            data = self._begun(self._before + data)
        if self._whole_reply is not None:
            self._whole_reply += data
            return ""
        return self._take_all(self.events.feed(data))

    def _begun(self, data: bytes) -> bytes:
        """The bytes to read now; none while it is open whether the reply is a stream."""
        found = _BEFORE.match(data)
        data = data[found.end() :] if found else data
        if not data or data[:1] == b":":
            self._before = data
            return b""
        self._before = None
        if data[:1] in self.whole_begins:
            self._whole_reply = bytearray()
        return data

    def _take_all(self, events: Sequence[Any]) -> str:
        text = "".join([self.take(event) for event in events])
        self._has_text = self._has_text or bool(text)
        return text

    def take(self, event: Any) -> str:
        """What one event, as it was framed, adds to the answer's text."""
        data: bytes = event.strip()
        if data.strip(b'[]"').upper() == b"DONE":
            self.done = True
            return ""
        if data[:1] not in (b"{", b"["):
            self._words = self._words or clean(data.decode("utf-8", "replace"), 200)
            return ""
        self.reply.body = data
        body = json_object(self.reply)
        if self.provider.is_error(body):
            error = self.provider.failed(error_in(body, 200), self.reply, self.request.model)
            raise self.billed(error)
        if self.is_whole(body):
            self._answer = body
            return ""
        return self.add(body)

    def billed(self, error: ProviderError) -> ProviderError:
        """The error, with what the stream so far has counted, and may have cost."""
        if error.usage is None:
            self.provider.billed(error, self.whole())
        error.maybe_billed = error.maybe_billed or self._has_text
        return error

    def is_complete(self) -> bool:
        """Whether the stream's own end has come."""
        return self.ended

    def replay(self, body: bytes) -> Completion:
        """The answer in a stream that is here as a whole."""
        self._take_all(self.events.feed(body))
        return self._joined()

    def finish(self) -> Completion:
        if self._whole_reply is None:
            return self._joined()
        whole = WireReply(200, self.reply.headers, bytes(self._whole_reply))
        return self.provider.parse(self.request, whole)

    def _joined(self) -> Completion:
        """The answer that the events give together, or one of them alone."""
        if not self.is_complete():
            # The last event may lack its end, or be cut off.
            try:
                self._take_all(self.events.rest())
            except BadReply:
                self._words = self._words or "its last event is cut off"
        if self._answer is not None:
            return self.provider.answer(self._answer, self.reply, self.request.model)
        if not self.is_complete():
            why = f": {self._words}" if self._words else ""
            message = f"the stream ended before the answer did{why}"
            raise self.billed(Interrupted(message, status=200))
        return self.provider.answer(self.whole(), self.reply, self.request.model)
