"""The network of a batch API: what batch_api.Http says, over httpx."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError, Unreachable
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.providers.batch_api import NoDownload
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.transport import MEBIBYTE, Connection, Network
from llmbatch_cli.transport.httpx_send import Upload, open_network

REPLY_S: Final = 60.0
"""How long a small reply may take."""
STALL_S: Final = 300.0
"""How long an upload or a download may stand still; a provider also checks a file for so long
before it answers."""
PIECE_BYTES: Final = 2**18
MOST_LINE_BYTES: Final = 64 * MEBIBYTE
MOST_DOWNLOAD_BYTES: Final = 2**40
MOST_TRIES: Final = 6
LONGEST_WAIT_S: Final = 60.0
PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 524, 529))
"""Statuses of a reply after which the same request may succeed."""
_BEGIN: Final = re.compile(r"bytes (\d+)-")

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Taken:
    """How far a download has come."""

    size: int = 0
    """Bytes, unpacked."""
    is_packed: bool = False
    """Whether the server has packed it, so that no range of it can be asked for."""
    moved: bool = False
    """Whether the last try has brought anything."""


class BatchHttp:
    """An Http, see batch_api.py."""

    def __init__(
        self,
        network: Network,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        base_s: float = 1.0,
    ) -> None:
        """`base_s`: the first wait before a request is sent again; it doubles with each."""
        self._network = network
        self._sleep = sleep
        self._chance = chance
        self._base_s = base_s

    async def get(self, request: WireRequest) -> WireReply:
        for tries in range(1, MOST_TRIES + 1):
            try:
                reply = await self.once(request)
                asked_s = retry_after_s(reply.headers)
                if reply.status not in PASSING or tries == MOST_TRIES:
                    return reply
            except (Unreachable, Interrupted) as error:
                if tries == MOST_TRIES or not error.retry:
                    raise
                asked_s = None
            await self._pause(tries, asked_s)
        raise AssertionError  # the last try returns or raises

    async def once(self, request: WireRequest) -> WireReply:
        try:
            async with asyncio.timeout(REPLY_S):
                return await self._network.send(request)
        except TimeoutError as error:
            raise Interrupted(f"no answer within {REPLY_S:g} s") from error

    async def upload(
        self,
        request: WireRequest,
        file: Path,
        before: bytes = b"",
        after: bytes = b"",
        start: int = 0,
    ) -> WireReply:
        size = await asyncio.to_thread(lambda: file.stat().st_size)
        length = len(before) + size - start + len(after)
        headers = {**request.headers, "content-length": str(length)}
        moved = asyncio.timeout(STALL_S)

        async def pieces() -> AsyncIterator[bytes]:
            if before:
                yield before
            with file.open("rb") as body:
                body.seek(start)
                while piece := body.read(PIECE_BYTES):
                    yield piece
                    moved.reschedule(asyncio.get_running_loop().time() + STALL_S)
            if after:
                yield after

        try:
            async with moved:
                sent = Upload(request.method, request.url, headers, pieces=pieces)
                return await self._network.send(sent)
        except TimeoutError as error:
            raise Interrupted(f"the upload stood still for {STALL_S:g} s") from error

    async def lines(self, request: WireRequest) -> AsyncIterator[bytes]:
        rest: list[bytes] = []
        size = 0
        async with closed(self._whole(request)) as pieces:
            async for piece in pieces:
                first, *more = piece.split(b"\n")
                size += len(first)
                if size > MOST_LINE_BYTES:  # no answer is; the other rows are to be had
                    rest, first = [], b""
                rest.append(first)
                if not more:
                    continue
                *whole, last = more
                for line in (b"".join(rest), *whole):
                    if bare := line.strip():
                        yield bare
                rest, size = [last], len(last)
        if bare := b"".join(rest).strip():
            yield bare

    async def _whole(self, request: WireRequest) -> AsyncIterator[bytes]:
        """The body, also where its connection breaks: what has come is skipped, or not asked for
        again. Ends after several breaks in a row without progress."""
        taken, tries = _Taken(), 0
        while True:
            try:
                async with closed(self._some(request, taken)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except (Unreachable, Interrupted, BadReply) as error:
                tries = 1 if taken.moved else tries + 1
                if tries >= MOST_TRIES or not error.retry:
                    raise
                asked_s = error.retry_after_s
            await self._pause(tries, asked_s)

    async def _some(self, request: WireRequest, taken: _Taken) -> AsyncIterator[bytes]:
        """One try to read from where the last one has ended."""
        headers = {**request.headers, "accept-encoding": "identity"}
        if taken.size and not taken.is_packed:
            headers["range"] = f"bytes={taken.size}-"
        taken.moved = False
        stalled = asyncio.timeout(STALL_S)
        try:
            async with (
                stalled,
                self._network.stream(
                    WireRequest(request.method, request.url, headers, request.body)
                ) as reply,
            ):
                if reply.status == 416 and taken.size:  # it had ended where the connection broke
                    return
                skip = _to_skip(reply.status, reply.headers, taken.size)
                if skip is None:
                    body = b"".join([piece async for piece in reply.chunks])
                    whole = WireReply(reply.status, reply.headers, body)
                    raise _trouble(whole)
                taken.is_packed = "content-encoding" in reply.headers
                async for piece in reply.chunks:
                    stalled.reschedule(asyncio.get_running_loop().time() + STALL_S)
                    new, skip = piece[skip:], max(0, skip - len(piece))
                    if new:
                        taken.size, taken.moved = taken.size + len(new), True
                        yield new
        except TimeoutError as error:
            raise Interrupted(f"the download stood still for {STALL_S:g} s") from error

    async def _pause(self, tries: int, asked_s: float | None) -> None:
        """Full jitter, or what the server asks for and up to a tenth more."""
        if asked_s is not None:
            await self._sleep(min(asked_s, LONGEST_WAIT_S) * (1 + 0.1 * self._chance()))
            return
        longest_s = min(LONGEST_WAIT_S, self._base_s * 2 ** (tries - 1))
        await self._sleep(longest_s * (0.5 + 0.5 * self._chance()))


def _to_skip(status: int, headers: Mapping[str, str], taken: int) -> int | None:
    """How much of this reply has come before; None for no part of the download."""
    if status == 200:
        return taken
    if status == 206 and taken:
        found = _BEGIN.match(headers.get("content-range", ""))
        begins = int(found[1]) if found else taken
        return taken - begins if begins <= taken else None
    return None


def _trouble(reply: WireReply) -> Exception:
    """What a reply means that is not the download."""
    if reply.status in PASSING:
        error: ProviderError = Interrupted(
            f"the results cannot be downloaded just now: HTTP {reply.status}", status=reply.status
        )
        error.retry_after_s = retry_after_s(reply.headers)
        return error
    return NoDownload(reply)


@asynccontextmanager
async def open_batch_http(
    base_s: float = 1.0, sleep: Sleep = asyncio.sleep, connect_timeout_s: float = 10.0
) -> AsyncIterator[BatchHttp]:
    """An Http for the time of an `async with`."""
    connection = Connection(
        http="httpx", connect_timeout_s=connect_timeout_s, max_reply_bytes=MOST_DOWNLOAD_BYTES
    )
    async with open_network(connection) as network:
        yield BatchHttp(network, sleep, base_s=base_s)
