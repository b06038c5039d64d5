"""One request on its connection, and its reply as it comes: read whole, or piece by piece."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from llmbatch_cli.core.errors import Interrupted, ProviderError
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.transport.packing import Unpack, unpacker

AHEAD_BYTES: Final = 2**18
"""What a stream holds of a reply that nobody reads, until the server has to wait."""


class Exchange:
    """A reply that is wanted whole. `done` ends once it is there, or in a ProviderError."""

    __slots__ = ("chunks", "done", "has_head", "headers", "is_bodiless", "size", "status", "unpack")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_bodiless: bool) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        """Whether the final reply's status and headers are there."""
        self.is_bodiless = is_bodiless
        """Whether the reply ends with its head, as one to HEAD."""
        self.chunks: list[bytes] = []
        """The body, unpacked."""
        self.size = 0
        self.unpack: Unpack | None = None

    def begun(self) -> None:
        """The head is there."""
        self.has_head = True
        if "content-encoding" in self.headers:
            self.unpack = unpacker(self.headers, self.status)

    def add(self, data: bytes, transport: asyncio.Transport) -> None:
        """A piece of the body."""
        self.chunks.append(data)

    def ended(self, error: ProviderError | None = None) -> None:
        """The reply is whole, or will not be."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
            return
        if isinstance(error, Interrupted) and self.has_head:
            error.received = self.reply()
        self.done.set_exception(error)

    def reply(self) -> WireReply:
        """What has come."""
        chunks = self.chunks
        return WireReply(
            self.status, self.headers, chunks[0] if len(chunks) == 1 else b"".join(chunks)
        )


class Streamed(Exchange):
    """A reply that is read as it comes. `done` ends with its head."""

    __slots__ = ("_error", "_held", "_is_over", "_paused", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_bodiless: bool) -> None:
        super().__init__(loop, is_bodiless=is_bodiless)
        self._held = 0
        self._paused: asyncio.Transport | None = None
        self._error: ProviderError | None = None
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None

    def begun(self) -> None:
        """The head is there."""
        super().begun()
        super().ended()

    def add(self, data: bytes, transport: asyncio.Transport) -> None:
        """A piece of the body; where too many wait already, no more are read for now."""
        super().add(data, transport)
        self._held += len(data)
        if self._held > AHEAD_BYTES and self._paused is None:
            self._paused = transport
            transport.pause_reading()
        self._wake()

    def ended(self, error: ProviderError | None = None) -> None:
        """The reply is whole, or will not be: what has come until then can be read."""
        self._is_over, self._error = True, error
        self._read_on()
        if not self.has_head:
            super().ended(error)
        self._wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ProviderError behind the last piece."""
        while True:
            pieces, self.chunks, self._held = self.chunks, [], 0
            for piece in pieces:
                yield piece
            if self.chunks:
                continue
            if self._is_over:
                break
            self._read_on()
            self._waiter = self.done.get_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error

    def _read_on(self) -> None:
        if self._paused is not None and not self._paused.is_closing():
            self._paused.resume_reading()
        self._paused = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
