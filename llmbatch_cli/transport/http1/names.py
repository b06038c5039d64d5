"""A host's addresses, from the system's resolver."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

Addresses = list[Any]


def addresses_of(
    host: str, port: int, loop: asyncio.AbstractEventLoop
) -> asyncio.Future[Addresses]:
    """Asked for in a thread of its own, which nobody waits for. It ends in OSError or UnicodeError.

    A loop that closes waits for its own threads, and a resolver that does not answer takes half a
    minute: as long would a second Ctrl-C be without effect.
    """
    found: asyncio.Future[Addresses] = loop.create_future()
    found.add_done_callback(_take_note)

    def tell(addresses: Addresses, error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def ask() -> None:
        addresses, error = _asked(host, port)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, addresses, error)

    try:  # what is an address already takes no thread
        flags = socket.AI_NUMERICHOST
        found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
    except (OSError, UnicodeError):
        threading.Thread(target=ask, name="llmbatch-names", daemon=True).start()
    return found


def _asked(host: str, port: int) -> tuple[Addresses, Exception | None]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), None
    except (OSError, UnicodeError) as error:
        return [], error


def _take_note(found: asyncio.Future[Addresses]) -> None:
    """An error is no news where nobody waits for it any more."""
    if not found.cancelled():
        found.exception()
