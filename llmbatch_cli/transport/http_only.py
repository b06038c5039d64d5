"""Connections of httpx that are closed at once where the other side does not speak HTTP, or says
more than was asked.

Its parser waits for an empty line, which an SSH or a mail server never sends; and what comes with
the end of a reply it would take for the begin of the next one.
"""

import asyncio
import ssl
from typing import Any, Final

import h11
import httpcore
import httpx

_BEGIN: Final = b"HTTP/"


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._is_http = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        if data and not self._is_http:
            begin = data.lstrip(b"\r\n")[: len(_BEGIN)]
            if begin != _BEGIN[: len(begin)]:
                raise httpcore.RemoteProtocolError("illegal status line")
            self._is_http = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except asyncio.CancelledError:  # httpcore would leave the socket open
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._backend.connect_tcp(*args, **options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def speak_http_only(client: httpx.AsyncClient) -> None:
    """Check what each further connection of this client answers first."""
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


class _OneReply(h11.Connection):
    """Must be closed where anything has come behind the reply."""

    @property
    def their_state(self) -> Any:
        state = super().their_state
        return h11.MUST_CLOSE if state is h11.DONE and self.trailing_data[0] else state


def take_one_reply(response: httpx.Response) -> None:
    """Check what comes with the end of this reply, whose body has not been read yet."""
    inner: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    if type(inner) is h11.Connection:
        inner.__class__ = _OneReply
