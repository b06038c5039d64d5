"""The folder of the output, wherever it is: what is written there stays, whoever is killed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

from llmbatch_cli.storage import Writer

NEW: Final = ".new"
"""The end of the name of a file that will replace another."""


class Seen(NamedTuple):
    """A file as it is now."""

    size: int
    """In bytes."""
    modified: float
    """When it was written, in seconds."""


def as_json(data: bytes | None) -> Mapping[str, Any] | None:
    """What a file says; None where there is none, or it is no object of JSON."""
    try:
        said = None if data is None else orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


class Growing(Protocol):
    """A file that grows. Its methods block, and raise OSError."""

    def write(self, data: bytes) -> None:
        """Add whole lines. What is written is lost with its process at most until `sync`."""

    def sync(self) -> None:
        """Have all that was written on the storage."""

    def close(self) -> None:
        """Nothing more comes. What is not synced may be left out."""


class Folder(Protocol):
    """A place that all workers see. Its methods block, and raise OSError.

    Nothing relies on locks, which not every shared disk and no store has: a file is created
    exclusively, published under a free name, or replaced as a whole. It pickles, without anybody's
    credentials.
    """

    @property
    def address(self) -> str:
        """For people, and for `folder_at`; the same for all that name the same folder."""

    @property
    def sync_s(self) -> float:
        """How often a growing file is to be synced: what a lost machine has to answer again."""

    def make(self, name: str = "") -> None:
        """Make the folder, or one in it."""

    def is_empty(self) -> bool:
        """Whether nothing is there but what a killed command had not yet begun a run with.

        Raises NotADirectoryError for a file.
        """

    def names(self, under: str = "") -> list[str]:
        """The names of the files in it, sorted; none where it is not there.

        Growing files are among them, those of other processes too.
        """

    def seen(self, under: str = "") -> Mapping[str, Seen]:
        """The files in it as they are, by their names; those that grow may be left out."""

    def has(self, name: str) -> bool:
        """Whether there is such a file: a list of names may be older."""

    def size(self, name: str) -> int | None:
        """Its bytes; None where there is no such file."""

    def read(self, name: str) -> bytes | None:
        """All of a file; None where there is none."""

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """The same for each of these, of which each is small."""

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file in the order of its bytes, in little memory."""

    def json(self, name: str) -> Mapping[str, Any] | None:
        """A file of JSON; None where there is none, or it is no object."""

    def lines(self, name: str) -> Iterator[bytes]:
        """The whole lines of a file with their newlines; a torn one at its end is left out."""

    def create(self, name: str) -> Growing | None:
        """A new file that grows, of an epoch; None where there is one of this name.

        Of several callers one has it at most.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Write a file as a whole, in place of what it was."""

    def add(self, name: str, data: bytes) -> bool:
        """Write a new file as a whole; False where there is one of this name."""

    def writer(self, name: str) -> AbstractContextManager[Writer]:
        """Write a file of any size, in place of one that may be there.

        It appears whole, at the end of the body.
        """

    def publish(self, name: str, final: str) -> bool:
        """Give a file another name, too; False where another one has that name already."""

    def delete(self, *names: str) -> None:
        """Delete files, as far as they are there."""

    def here(self, name: str) -> AbstractContextManager[Path]:
        """The file on a disk of this machine, to be read within the body."""

    def made_here(self, name: str) -> AbstractContextManager[Path]:
        """Where on a disk of this machine a file may be made, which is this one after the body."""
