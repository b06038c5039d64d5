"""The network behind one function, `Send`; the registry of what can stand there."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

from llmbatch_cli.types import Send

MEBIBYTE: Final = 2**20

HttpClient = Literal["aiohttp", "httpx"]

SENDS: Final[dict[HttpClient, str]] = {
    "aiohttp": "llmbatch_cli.transport.aiohttp_send:open_send",
    "httpx": "llmbatch_cli.transport.httpx_send:open_send",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """How requests travel."""

    http: HttpClient = "aiohttp"
    connect_timeout_s: float = 10.0
    """The most that connecting and TLS may take together, for one address."""
    max_reply_bytes: int = 64 * MEBIBYTE
    """A longer reply, decompressed, is a BadReply."""


def open_send(connection: Connection) -> AbstractAsyncContextManager[Send]:
    """The Send of this connection, for the time of an `async with`."""
    module, _, attribute = SENDS[connection.http].partition(":")
    opener: Callable[[Connection], Any] = getattr(import_module(module), attribute)
    opened: AbstractAsyncContextManager[Send] = opener(connection)
    return opened
