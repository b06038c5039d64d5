"""An object of any size, written piece by piece."""

import threading
from collections.abc import Iterator
from queue import Queue
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART_BYTES: Final = 16 * 2**20
"""S3 takes 10,000 parts, so that an object has 156 GiB at most."""
PARTS_AT_ONCE: Final = 3
_PIECE_BYTES: Final = 2**20
_WAITING: Final = 4
"""Pieces that may wait for the thread."""


class _GivenUp(Exception):
    """The body has failed, so there is no object."""


class Upload:
    """What is being uploaded, by a thread that takes pieces as the store takes parts.

    The object appears at the end of the body. After an error in it the parts are taken back.
    """

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._store, self._key = store, key
        self._pieces: Queue[bytes | _GivenUp | None] = Queue(_WAITING)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        """None for what is small so far, and is uploaded by one request."""
        self._ended = False
        """Whether the thread has seen the end."""

    def write(self, data: bytes) -> None:
        """As Writer; raises what the library has raised."""
        self._held.append(bytes(data))
        self._held_bytes += len(data)
        if self._held_bytes >= _PIECE_BYTES:
            self._hand_over()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, frames: object) -> None:
        import obstore

        if self._thread is None:
            if error is None:
                data = b"".join(self._held)
                obstore.put(self._store, self._key, data, use_multipart=False)
            return
        if error is None:
            self._hand_over()
        self._pieces.put(_GivenUp() if error else None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _hand_over(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._put, name="llmbatch-upload", daemon=True)
            self._thread.start()
        if self._error is not None:
            raise self._error
        if self._held:
            self._pieces.put(b"".join(self._held))
            self._held, self._held_bytes = [], 0

    # The rest runs in the thread.

    def _put(self) -> None:
        import obstore

        try:
            options: Any = {"chunk_size": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
            obstore.put(self._store, self._key, self._arriving(), use_multipart=True, **options)
        except BaseException as error:  # noqa: BLE001 - raised where the body can see it
            self._error = error
            while not self._ended and isinstance(self._pieces.get(), bytes):
                pass

    def _arriving(self) -> Iterator[bytes]:
        while isinstance(piece := self._pieces.get(), bytes):
            yield piece
        self._ended = True
        if piece is not None:
            raise piece
