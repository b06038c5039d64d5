"""The tables from foreign errors to ours are complete."""

import inspect

import aiohttp
import httpx

from llmbatch_cli.transport import aiohttp_send, httpx_send

NOT_OF_REQUESTS = {"WSMessageTypeError", "WebSocketError", "EofStream"}


def test_every_error_of_aiohttp_is_mapped() -> None:
    """No exception class that aiohttp exports can pass through the seam."""
    known = tuple(theirs for theirs, _ in aiohttp_send.ERRORS)
    found = [
        value
        for value in vars(aiohttp).values()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and not issubclass(value, Warning)
        and value.__name__ not in NOT_OF_REQUESTS
    ]
    assert len(found) > 20
    assert [error for error in found if not issubclass(error, known)] == []


def test_every_error_of_httpx_is_mapped() -> None:
    """No exception class that httpx exports can pass through the seam."""
    known = tuple(theirs for theirs, _ in httpx_send.ERRORS)
    found = [
        value
        for value in vars(httpx).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    ]
    assert len(found) > 20
    assert [error for error in found if not issubclass(error, known)] == []
