"""One connection, which carries one exchange at a time; llhttp reads the replies."""

import asyncio
from collections.abc import Callable
from typing import Final

import httptools

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError
from llmbatch_cli.transport import words_alone
from llmbatch_cli.transport.http1.connecting import Connected
from llmbatch_cli.transport.http1.exchange import Exchange
from llmbatch_cli.transport.http1.heads import begins_http, with_one_length
from llmbatch_cli.transport.packing import too_long
from llmbatch_cli.transport.troubles import tls_trouble, unparsed

MAX_HEAD_BYTES: Final = 2**20
"""All headers of a reply together, with those of its 1xx replies, and what came with the last."""
_SWITCHING: Final = 101


class Wire(Connected):
    """One connection, with the callbacks of asyncio and of llhttp.

    `keep` is called with it when it may carry the next exchange, `lost` when it is closed.
    """

    idle_since = 0.0
    """When its last exchange ended, by the loop's clock; 0 until then."""
    is_proven = False
    """Whether its server has kept it open from one exchange to the next."""

    def __init__(
        self,
        place: str,
        max_reply_bytes: int,
        keep: "Callable[[Wire], None]",
        lost: "Callable[[Wire], None]",
    ) -> None:
        self._place = place
        self._max_reply_bytes = max_reply_bytes
        self._keep = keep
        self._lost = lost
        self._exchange: Exchange | None = None
        self._head = b""
        """What has come of the head, as long as that is not whole."""
        self._early = b""
        """What the server has said before it was asked anything."""
        self._refusal: httptools.HttpParserError | None = None
        self._parser = _parser_for(self)

    @property
    def has_early(self) -> bool:
        """Whether the server has said something before it was asked."""
        return bool(self._early)

    def begin(self, data: bytes, exchange: Exchange) -> None:
        """Write the request. The connection must be idle."""
        self._exchange = exchange
        early, self._early = self._early, b""
        is_open = not self.transport.is_closing()
        if is_open:
            self.transport.write(data)
        if early:
            self.data_received(early)
        if not is_open and self._exchange is exchange:
            self.connection_lost(None)

    def leave(self, exchange: Exchange) -> None:
        """Close the socket at once, unless the exchange has ended."""
        if self._exchange is exchange:
            self.abandon()
        elif exchange.done.done() and not exchange.done.cancelled():
            exchange.done.exception()  # it is no news where nobody asks

    def close(self) -> None:
        """Close the socket at once; whoever waits for a reply is told."""
        self._fail(Interrupted(f"{self._place}: the connection was closed on this side"))

    def abandon(self) -> None:
        """Close the socket at once; whatever comes is of no interest any more."""
        self._exchange = None
        self.transport.abort()

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way is open."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)  # uvloop else writes at the turn's end

    def data_received(self, data: bytes) -> None:
        """Some bytes of a reply."""
        exchange = self._exchange
        if exchange is None:
            self._unasked(data)
            return
        if not exchange.has_head:
            self._head = self._head + data if self._head else data
            if len(self._head) > MAX_HEAD_BYTES:
                self._fail(self._unparsed("its headers are too long"), "over the limit")
                return
        if self._refusal is None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:  # 101, which is refused, and the like
                self.transport.abort()
            except httptools.HttpParserError as error:
                self._refuse(error)
        else:
            self._refuse(self._refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: the end of some replies, and too early for others."""
        self._lost(self)
        exchange = self._exchange
        if exchange is None:
            return
        if exc is None and exchange.has_head and _ends_with_connection(exchange):
            self._exchange = None
            exchange.ended()
            return
        what = "in the middle of its reply" if exchange.has_head else "without a reply"
        told = f": {exc}" if exc is not None else ""
        error = Interrupted(f"{self._place}: the connection was closed {what}{told}")
        blocked = tls_trouble(exc, self._place) if exc is not None else None
        self._fail(blocked or error, exc or "closed by the server")

    # llhttp's calls

    def on_message_begin(self) -> None:
        """A reply begins, which nobody has asked for where there is no exchange."""
        if self._exchange is None:
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The first of several counts, but all packings of a body do. Trailers are left out."""
        exchange = self._exchange
        if exchange is None or exchange.has_head:
            return
        lower = name.decode("latin-1").lower()
        text = value.decode("latin-1").rstrip(" \t")
        headers = exchange.headers
        if lower not in headers:
            headers[lower] = text
        elif lower == "content-encoding":
            headers[lower] += f", {text}"

    def on_headers_complete(self) -> None:
        """The head is whole: that of the reply, or of a 1xx before it."""
        exchange = self._exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if status == _SWITCHING:
            self._fail(BadReply(f"{self._place}: the server changes the protocol", status=status))
            return
        if status < 200:
            exchange.headers = {}
            return
        exchange.status = status
        self._head = b""
        exchange.begun()
        if exchange.is_bodiless:
            self._exchange = None
            self.transport.abort()  # llhttp would wait for a body
            exchange.ended()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.unpack is None:
            self._add(exchange, data)
            return
        try:
            for piece in exchange.unpack(data):
                self._add(exchange, piece)
                if self._exchange is None:
                    return
        except BadReply as error:
            self._fail(error, error.__cause__ or "")

    def _add(self, exchange: Exchange, data: bytes) -> None:
        exchange.size += len(data)
        if exchange.size > self._max_reply_bytes:
            self._fail(too_long(exchange.status, self._max_reply_bytes), "over the limit")
        else:
            exchange.add(data, self.transport)

    def on_message_complete(self) -> None:
        """The reply is whole, unless it was a 1xx."""
        exchange = self._exchange
        if exchange is None or not exchange.has_head:
            return
        self._exchange = None
        if self._parser.should_keep_alive() and not self.transport.get_write_buffer_size():
            self._keep(self)
        else:
            self.transport.abort()
        exchange.ended()

    # what goes wrong

    def _fail(self, error: ProviderError, cause: BaseException | str = "") -> None:
        """The exchange ends without a whole reply, and the connection with it."""
        exchange = self._exchange
        self.abandon()
        if exchange is not None:
            if cause:
                error.__cause__ = ConnectionError(cause) if isinstance(cause, str) else cause
            exchange.ended(error)

    def _unasked(self, data: bytes) -> None:
        """Keep what comes before the first request: some servers refuse by it."""
        if self.idle_since or len(self._early) > MAX_HEAD_BYTES:
            self.transport.abort()
        else:
            self._early += data

    def _refuse(self, error: httptools.HttpParserError) -> None:
        """Fail, but go on with a head that only has its length twice."""
        exchange = self._exchange
        if exchange is None:  # it has its reply, or its error
            self.transport.abort()
            return
        if not exchange.has_head and "Content-Length" in str(error):
            self._refusal = error
            if (mended := with_one_length(self._head)) is None:
                return  # until the head is whole
            if mended != self._head:
                self._refusal = None
                self._head = b""
                self._parser = _parser_for(self)
                exchange.headers = {}
                self.data_received(mended)
                return
        self._fail(self._unparsed(words_alone(str(error))), error)

    def _unparsed(self, words: str) -> BadReply:
        exchange = self._exchange
        has_head = exchange is not None and exchange.has_head
        is_http = has_head or begins_http(self._head)
        error = unparsed(self._place, words, other="httpx", is_http=is_http)
        if exchange is not None and has_head:
            error.status = exchange.status
        return error


def _parser_for(wire: Wire) -> httptools.HttpResponseParser:
    """As lenient as browsers and curl are: a reply that can be read was paid for."""
    parser = httptools.HttpResponseParser(wire)
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_chunked_length=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


def _ends_with_connection(exchange: Exchange) -> bool:
    """Whether nothing but the connection's end ends the body: RFC 9112, section 6.3."""
    coding = exchange.headers.get("transfer-encoding")
    if coding is not None:
        return not coding.rstrip().lower().endswith("chunked")
    return "content-length" not in exchange.headers
