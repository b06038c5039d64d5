"""The bytes of an object at an address of a store. Blocks."""

from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.lines import CHUNK_BYTES, Unreadable
from llmbatch_cli.storage import Entry, StorageError, located

BUFFER_BYTES: Final = 2**20


def entry_at(address: str) -> Entry | None:
    """The object as it is now; None where there is none. Raises OSError."""
    storage, name = located(address)
    return storage.entry(name) if name else None


def check_object(address: str) -> None:
    """Raise UsageError for an object that cannot be opened."""
    try:
        if entry_at(address) is None:
            raise UsageError(f"no such object: {address}", hint="check the name")
    except OSError as error:
        raise refusal(address, error) from error


def object_chunks(
    address: str, version: str | None, begin: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The object's bytes between two places, which go on where a connection broke.

    Raises Unreadable.
    """
    try:
        with _opened(address, version) as file:
            file.seek(begin)
            left = CHUNK_BYTES if end is None else end - begin
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                yield chunk
                left -= 0 if end is None else len(chunk)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise Unreadable(reason, hint=_hint(error)) from error


def object_file(address: str, version: str | None) -> BufferedReader:
    """The object to read piece by piece. Raises OSError."""
    return BufferedReader(_opened(address, version), BUFFER_BYTES)


def refusal(address: str, error: OSError) -> UsageError:
    """Why an address cannot be read."""
    return UsageError(f"cannot read {address}: {error.strerror or error}", hint=_hint(error))


def _opened(address: str, version: str | None) -> RawIOBase:
    storage, name = located(address)
    return storage.open(name, version)


def _hint(error: OSError) -> str | None:
    return error.hint if isinstance(error, StorageError) else None
