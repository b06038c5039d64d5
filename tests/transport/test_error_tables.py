"""The table from foreign errors to ours is complete."""

import inspect

import httpx

from llmbatch_cli.transport import httpx_send


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
