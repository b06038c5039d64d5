"""An object read as a file: a stream that goes on where it broke, or pieces of it."""

import io
import time
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from llmbatch_cli.storage.base import Entry
from llmbatch_cli.storage.faults import told

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK_BYTES: Final = 2**18
FIRST_BYTES: Final = 2**20
MOST_BYTES: Final = 2**26
"""Of one request: the first after a seek asks for little, each one after it for twice as much.
So a look at the beginning is cheap, and no connection is held open for hours by a slow run."""
MOST_FAILURES: Final = 4
"""In a row; the library has tried several times before each."""
WAIT_S: Final = 0.2


class ObjectFile(io.RawIOBase):
    """One version of an object, read in its order or piece by piece."""

    def __init__(
        self, store: "ObjectStore", key: str, shown: str, entry: Entry, version: str | None
    ) -> None:
        """`shown`: its address, for messages. `version`: None is that of `entry`."""
        super().__init__()
        self.size = entry.size
        self._store, self._key, self.name = store, key, shown
        self._version = version or entry.version
        self._at = 0
        self._chunks: Iterator[bytes] | None = None
        """The rest of the request that is under way."""
        self._rest = memoryview(b"")
        """What has arrived and is not yet read."""
        self._next_bytes = FIRST_BYTES

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next byte is."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; asks nothing of the store."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        place = max(0, start + offset)
        step = place - self._at
        if 0 <= step <= len(self._rest):
            self._rest = self._rest[step:]
        else:
            self._chunks, self._rest, self._next_bytes = None, memoryview(b""), FIRST_BYTES
        self._at = place
        return place

    def readinto(self, buffer: Any) -> int:
        """At least one byte, except at the end. Raises OSError."""
        if self._at >= self.size or not len(buffer):
            return 0
        if not self._rest:
            self._rest = memoryview(self._arrived())
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        self._at += len(taken)
        return len(taken)

    def _arrived(self) -> bytes:
        """The next bytes; asks again from here on where the connection broke."""
        from obstore.exceptions import BaseError, GenericError

        for failures in count(1):
            try:
                while self._chunks is not None:
                    if chunk := next(self._chunks, b""):
                        return chunk
                    self._chunks = None
                self._chunks = self._asked()
                if chunk := next(self._chunks, b""):
                    return chunk
                error: BaseException = EOFError()
            except (BaseError, FileNotFoundError) as caught:
                error = caught
                if not isinstance(caught, GenericError):
                    raise told(error, self.name) from None
            self._chunks = None
            if failures == MOST_FAILURES:
                raise told(error, self.name) from None
            time.sleep(WAIT_S * 2**failures)
        raise AssertionError

    def _asked(self) -> Iterator[bytes]:
        import obstore

        end = min(self.size, self._at + self._next_bytes)
        self._next_bytes = min(MOST_BYTES, 2 * self._next_bytes)
        options: Any = {"range": (self._at, end), "if_match": self._version}
        return iter(obstore.get(self._store, self._key, options=options).stream(CHUNK_BYTES))
