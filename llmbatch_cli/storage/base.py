"""What local folders and object stores have in common."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from io import RawIOBase
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A file or an object as it is now."""

    name: str
    """Relative to the storage, with `/` between its parts."""
    size: int
    """In bytes."""
    version: str
    """Another one after each change: a store's etag, a file's time, size and number."""
    modified: float = 0.0
    """When it was written, in seconds by the clock of the store."""


class StorageError(OSError):
    """A store that did not do what it was asked to; `strerror` says why, without any secret."""

    def __init__(self, number: int, message: str, name: str, hint: str | None = None) -> None:
        super().__init__(number, message, name)
        self.hint = hint
        """What to do about it."""


class Writer(Protocol):
    """What is being written under one name."""

    def write(self, data: bytes) -> object:
        """Add bytes; blocks while too much is on its way. Raises OSError."""


class Storage(Protocol):
    """A folder of files, or the objects of a bucket below a prefix.

    Names are relative to it, with `/` between their parts; folders come and go with their files.
    All methods block, may be called by any thread and by several at once, and raise OSError:
    FileNotFoundError for a name that is not there, StorageError for what a store has said. What
    returns has happened: data is on the disk, or acknowledged by the store.
    """

    @property
    def address(self) -> str:
        """For people, and for `storage_at`."""

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Everything below the folder at any depth, sorted by name; nothing where there is none.

        Files that are being written are left out.
        """

    def children(self, folder: str = "") -> Sequence[Entry]:
        """What is directly in the folder, by its name there, sorted; folders end with a slash."""

    def entry(self, name: str) -> Entry | None:
        """The file as it is now; None where it is not there."""

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """The bytes from `begin` up to `end`, fewer where it is shorter."""

    def open(self, name: str, version: str | None = None) -> RawIOBase:
        """The file to read, as it is now or in this version; it can seek.

        Read from its start to its end it is one stream; a broken one goes on at its last byte.
        Raises OSError, also later on, where it is not of that version any more.
        """

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file, whole or not at all; False where one of the name is there.

        Of several callers at once exactly one has True. After an error it may be there all the
        same: where that matters, the data tells who wrote it.
        """

    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, in place of one that may be there."""

    def publish(self, source: str, name: str) -> bool:
        """Give a whole file another name; False where that is taken, which is never replaced.

        The old name stays: whoever wants it gone deletes it.
        """

    def delete(self, *names: str) -> None:
        """Remove files; nothing where one is gone."""

    def writer(self, name: str) -> AbstractContextManager[Writer]:
        """Write a file of any size in little memory.

        It appears, in place of one that may be there, whole at the end of the body; after an
        error in the body it never does.
        """
