"""The innermost call, streamed: the answer's text is passed on as it arrives."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError
from llmbatch_cli.core.ledger import CANCELLED
from llmbatch_cli.core.privacy import without_keys
from llmbatch_cli.core.types import (
    Call,
    Completion,
    OpenStream,
    Request,
    WireReply,
    WireRequest,
    WireStream,
)
from llmbatch_cli.engine.calls import UNFORESEEN, StreamCall, answered, built, read, record


class Reader(Protocol):
    """A provider's reader of one streamed reply."""

    def feed(self, data: bytes) -> str:
        """The new text in these bytes."""

    def finish(self) -> Completion:
        """The whole answer."""

    def billed(self, error: ProviderError) -> ProviderError:
        """The error, with what the stream so far has counted, and may have cost."""


def streaming(
    build: Callable[[Request], WireRequest],
    parse: Callable[[Request, WireReply], Completion],
    reader_for: Callable[[Request, Mapping[str, str]], Reader],
    open_stream: OpenStream,
    clock: Callable[[], float] = time.monotonic,
) -> StreamCall:
    """Build, send, and read the reply as it comes. Each request that is sent is one attempt.

    An error is parsed whole. After an error or a cancellation the ledger's `partial` is the text
    so far.
    """

    async def call(request: Request, on_text: Callable[[str], None]) -> Completion:
        request = replace(request, stream=True)
        wire, ledger = built(build, request), request.ledger
        texts: list[str] = []
        reader: Reader | None = None

        def add_text(text: str) -> None:
            texts.append(text)
            on_text(text)

        ledger.begin(clock())
        try:
            async with open_stream(wire) as reply:
                if 200 <= reply.status < 300:
                    reader = reader_for(request, reply.headers)
                    completion = await _streamed(reply, reader, add_text)
                    if completion.text and not texts:  # it came whole
                        add_text(completion.text)
                else:
                    completion = await _whole(request, wire, reply, parse, add_text)
        except (ProviderError, *UNFORESEEN) as error:
            ledger.partial = "".join(texts) or None
            failed = _as_provider_error(error, wire)
            if reader is not None:
                with suppress(*UNFORESEEN):  # what it has counted may be of any shape
                    reader.billed(failed)
            record(ledger, failed, clock())
            if failed is error:
                raise
            raise failed from error
        except asyncio.CancelledError:
            ledger.partial = "".join(texts) or None
            ledger.end(clock(), CANCELLED)
            raise
        answered(ledger, completion, reply.status, clock())
        return completion

    return call


def _as_provider_error(error: Exception, wire: WireRequest) -> ProviderError:
    """The error, without a key that was sent; what is not ours as a BadReply."""
    if isinstance(error, ProviderError):
        error.message = without_keys(error.message, wire.headers)
        return error
    message = without_keys(f"the stream cannot be read: {error!r}", wire.headers)
    return BadReply(message, status=200)


def around(stream: StreamCall, wrap: Callable[[Call], Call]) -> StreamCall:
    """The streamed call with what stands around a plain one: limits, retries, the cache.

    The text of an answer that was there already comes in one piece.
    """

    async def call(request: Request, on_text: Callable[[str], None]) -> Completion:
        async def once(request: Request) -> Completion:
            return await stream(request, on_text)

        completion = await wrap(once)(request)
        if request.ledger.cached and completion.text:
            on_text(completion.text)
        return completion

    return call


async def _streamed(
    reply: WireStream, reader: Reader, on_text: Callable[[str], None]
) -> Completion:
    try:
        async for chunk in reply.chunks:
            if text := reader.feed(chunk):
                on_text(text)
    except Interrupted:
        with suppress(ProviderError, *UNFORESEEN):
            return reader.finish()  # its end has come, only not the connection's
        raise
    return reader.finish()


async def _whole(
    request: Request,
    wire: WireRequest,
    reply: WireStream,
    parse: Callable[[Request, WireReply], Completion],
    on_text: Callable[[str], None],
) -> Completion:
    body = b"".join([chunk async for chunk in reply.chunks])
    completion = read(parse, request, wire, WireReply(reply.status, reply.headers, body))
    if completion.text:
        on_text(completion.text)
    return completion
