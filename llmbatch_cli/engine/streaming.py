"""The innermost call, streamed: the answer's text is told as it arrives."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from llmbatch_cli.core.errors import BadReply, ProviderError
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
from llmbatch_cli.engine.calls import UNFORESEEN, CancelledInFlight, StreamCall, built, read


class Reader(Protocol):
    """What a provider reads a streamed reply with."""

    def feed(self, data: bytes) -> str:
        """The new text in these bytes."""

    def finish(self) -> Completion:
        """The whole answer."""


def streaming(
    build: Callable[[Request], WireRequest],
    parse: Callable[[Request, WireReply], Completion],
    reader_for: Callable[[Request, Mapping[str, str]], Reader],
    open_stream: OpenStream,
) -> StreamCall:
    """Build, send, and read the reply as it comes.

    A reply that is no stream (an error, or a server that does not stream) is parsed whole.
    An error after the first text carries what had come in `partial`.
    """

    async def call(request: Request, on_text: Callable[[str], None]) -> Completion:
        request = replace(request, stream=True)
        wire = built(build, request)
        come: list[str] = []

        def tell(text: str) -> None:
            come.append(text)
            on_text(text)

        try:
            async with open_stream(wire) as reply:
                if not _is_stream(reply):
                    return await _whole(request, wire, reply, parse, tell)
                reader = reader_for(request, reply.headers)
                async for chunk in reply.chunks:
                    if text := reader.feed(chunk):
                        tell(text)
                return reader.finish()
        except ProviderError as error:
            error.message = without_keys(error.message, wire.headers)
            error.partial = "".join(come) or None
            error.asked = request.messages
            raise
        except UNFORESEEN as error:
            message = without_keys(f"the stream cannot be read: {error!r}", wire.headers)
            bad = BadReply(message, status=200)
            bad.partial = "".join(come) or None
            bad.asked = request.messages
            raise bad from error
        except asyncio.CancelledError as cancelled:
            raise CancelledInFlight("".join(come) or None) from cancelled

    return call


def around(stream: StreamCall, wrap: Callable[[Call], Call]) -> StreamCall:
    """The streamed call with what stands around a plain one: limits, retries."""

    async def call(request: Request, on_text: Callable[[str], None]) -> Completion:
        async def once(request: Request) -> Completion:
            return await stream(request, on_text)

        return await wrap(once)(request)

    return call


def _is_stream(reply: WireStream) -> bool:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return reply.status == 200 and kind != "application/json"


async def _whole(
    request: Request,
    wire: WireRequest,
    reply: WireStream,
    parse: Callable[[Request, WireReply], Completion],
    tell: Callable[[str], None],
) -> Completion:
    body = b"".join([chunk async for chunk in reply.chunks])
    completion = read(parse, request, wire, WireReply(reply.status, reply.headers, body))
    if completion.text:
        tell(completion.text)
    return completion
