"""Keys: which row of output answers which row of input, from one run to the next. No I/O.

A key is 32 hex digits in two parts:

    20  the request: provider, model, messages as sent, parameters
    12  the row of input: its own id, prompt, model, parameters, metadata

The first part shows whether the work is done; a changed model, system message or parameter
changes it. The second distinguishes rows with the same request, and finds the row of input
without the options of the run.
"""

from hashlib import blake2b
from typing import Final

from llmbatch_cli.core.canonical import canonical
from llmbatch_cli.core.types import BadRow, Prompt, Request, Row

REQUEST_DIGITS: Final = 20
KEY_DIGITS: Final = 32
_DIGEST: Final = blake2b(digest_size=16)  # copied, because making one takes longer


def request_key(provider: str, request: Request, prompt: Prompt) -> str:
    """The key of a readable row.

    For a race the provider is `race` and the model all racers' names. Two different
    requests have the same 80 bits with odds of 1 in 10**24.
    """
    parts = (provider, request.model, request.messages, request.params)
    return _hex(_canonical(parts))[:REQUEST_DIGITS] + row_digits(prompt)


def bad_row_key(row: BadRow) -> str:
    """The key of an unreadable row, from the reason: its place may change."""
    reason = row.reason.encode(errors="surrogatepass")
    return _hex(b"unreadable " + reason)[:REQUEST_DIGITS] + row_digits(row)


def row_digits(row: Row) -> str:
    """The key's second part, which does not depend on the row's place.

    A number as id that happens to be the row's index counts as none.
    """
    own_id = None if row.id == row.index else row.id
    metadata = row.metadata if row.repeat is None else {**row.metadata, "repeat": row.repeat}
    if isinstance(row, BadRow):
        parts: tuple[object, ...] = (own_id, row.reason, metadata)
    else:
        parts = (own_id, row.messages, row.model, row.models, row.params, metadata)
    return _hex(_canonical(parts))[REQUEST_DIGITS:]


def check_key(key: object) -> bytes:
    """The key's 16 bytes. Raises TypeError or ValueError for an invalid key."""
    if not isinstance(key, str):
        raise TypeError("a key is a string")
    raw = bytes.fromhex(key)
    if len(key) != KEY_DIGITS or len(raw) != KEY_DIGITS // 2:
        raise ValueError("a key has 32 hex digits")
    return raw


def _hex(data: bytes) -> str:
    digest = _DIGEST.copy()
    digest.update(data)
    return digest.hexdigest()


def _canonical(value: object) -> bytes:
    """The value's bytes; no provider supports a value that has none."""
    return canonical(value) or b"unsayable"
