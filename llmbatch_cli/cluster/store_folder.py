"""The output below a prefix of an object store, which knows neither appending nor renaming.

A growing file `_work/00017.e3.jsonl` is a series of objects `_work/00017.e3/00000.jsonl`, ...: the
first one is empty and is created exclusively, which makes the series one process's; each sync puts
a further one. So what was answered since the last sync is lost with a worker and asked for again:
at a kill the provider is paid twice for rate x interval, as for 30 rows of a worker that answers
10 a second, besides what was in flight.
"""

import errno
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from llmbatch_cli.cluster.folder import Seen, as_json
from llmbatch_cli.cluster.layout import MAKING, epoch_of
from llmbatch_cli.storage import Storage, Writer, storage_at
from llmbatch_cli.storage.address import parsed

SYNC_S: Final = 3.0
"""A request for each shard at work so often, and what is answered in it may be lost."""
CHUNK_BYTES: Final = 4 * 2**20
"""What is not yet put is so much at most, and an object not much more."""
_AHEAD: Final = 4
"""Objects of a series that are read at the same time."""
_SMALL_AHEAD: Final = 16
_BLOCK_BYTES: Final = 2**20
_GROWING: Final = ".jsonl"
_Read = TypeVar("_Read")


class StoreFolder:
    """The objects below a prefix, as Folder says."""

    def __init__(self, address: str) -> None:
        """Nothing is asked of the store, nor of the environment. Raises UsageError."""
        self.address = str(parsed(address))
        self.sync_s = SYNC_S

    def __reduce__(self) -> tuple[Any, ...]:
        return StoreFolder, (self.address,)

    @cached_property
    def _storage(self) -> Storage:
        """Made when it is first used: until then a process may adopt credentials."""
        return storage_at(self.address)

    def make(self, name: str = "") -> None:
        """As Folder: a store needs no folders."""

    def is_empty(self) -> bool:
        """As Folder."""
        return not self._storage.children()

    def names(self, under: str = "") -> list[str]:
        """As Folder. Of a series that was deleted just now an object may have come late."""
        found = [one.name for one in self._storage.children(under)]
        grown = [f"{name[:-1]}{_GROWING}" for name in found if name.endswith("/")]
        whole = [name for name in found if not name.endswith("/")]
        return sorted([*whole, *filter(_is_growing, grown)])

    def seen(self, under: str = "") -> Mapping[str, Seen]:
        """As Folder."""
        found = self._storage.children(under)
        return {
            one.name: Seen(one.size, one.modified) for one in found if not one.name.endswith("/")
        }

    def has(self, name: str) -> bool:
        """As Folder."""
        first = _chunk(_series(name), 0) if _is_growing(name) else name
        return self._storage.entry(first) is not None

    def size(self, name: str) -> int | None:
        """As Folder."""
        if not _is_growing(name):
            entry = self._storage.entry(name)
            return None if entry is None else entry.size
        chunks = self._chunks(name)
        return sum(size for _, size in chunks) if _is_whole(name, chunks) else None

    def read(self, name: str) -> bytes | None:
        """As Folder."""
        try:
            return self._storage.read(name)
        except FileNotFoundError:
            return None

    def json(self, name: str) -> Mapping[str, Any] | None:
        """As Folder."""
        return as_json(self.read(name))

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """As Folder."""
        return _ahead(self.read, names, _SMALL_AHEAD)

    def blocks(self, name: str) -> Iterator[bytes]:
        """As Folder."""
        if _is_growing(name):
            chunks = self._chunks(name)
            if not _is_whole(name, chunks):
                raise FileNotFoundError(errno.ENOENT, "no such object", name)
            yield from _ahead(self._storage.read, (chunk for chunk, _ in chunks), _AHEAD)
            return
        with self._storage.open(name) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def lines(self, name: str) -> Iterator[bytes]:
        """As Folder."""
        torn = b""
        for block in self.blocks(name):
            *whole, rest = block.split(b"\n")
            for line in whole:
                yield torn + line + b"\n"
                torn = b""
            torn += rest

    def create(self, name: str) -> "_Series | None":
        """As Folder."""
        series = _Series(self._storage, _series(name))
        return series if series.begin() else None

    def replace(self, name: str, data: bytes) -> None:
        """As Folder."""
        self._storage.put(name, data)

    def add(self, name: str, data: bytes) -> bool:
        """As Folder."""
        return self._storage.create(name, data)

    def writer(self, name: str) -> AbstractContextManager[Writer]:
        """As Folder."""
        return self._storage.writer(name)

    def publish(self, name: str, final: str) -> bool:
        """As Folder; a series becomes one object first, piece by piece."""
        if not _is_growing(name):
            return self._published(name, final)
        whole = f"{_series(name)}{MAKING}"
        with self._storage.writer(whole) as file:
            for block in self.blocks(name):
                file.write(block)
        try:
            return self._published(whole, final)
        finally:
            self._storage.delete(whole)

    def _published(self, name: str, final: str) -> bool:
        """Whether it has the name now: a reply that was lost may have said so before."""
        if self._storage.publish(name, final):
            return True
        return self.size(name) == self.size(final) and self._digest(name) == self._digest(final)

    def _digest(self, name: str) -> bytes:
        digest = sha256()
        for block in self.blocks(name):
            digest.update(block)
        return digest.digest()

    def delete(self, *names: str) -> None:
        """As Folder; of a series first what makes it one, so that nobody reads a part of it."""
        series = [name for name in names if _is_growing(name)]
        later = [chunk for name in series for chunk, _ in self._chunks(name)]
        whole = (name for name in names if not _is_growing(name))
        self._storage.delete(*(_chunk(_series(name), 0) for name in series), *whole)
        self._storage.delete(*later)

    def _chunks(self, name: str) -> list[tuple[str, int]]:
        """The objects of a growing file and their sizes, in the order of its bytes."""
        folder = _series(name)
        found = [
            (int(number), one.size)
            for one in self._storage.children(folder)
            if (number := one.name.removesuffix(_GROWING)).isdigit()
        ]
        return [(_chunk(folder, number), size) for number, size in sorted(found)]

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        """As Folder: a copy, which is gone after the body."""
        with tempfile.TemporaryDirectory(prefix="llmbatch-") as place:
            path = Path(place, Path(name).name)
            with path.open("wb") as file:
                for block in self.blocks(name):
                    file.write(block)
            yield path

    @contextmanager
    def made_here(self, name: str) -> Iterator[Path]:
        """As Folder: it is uploaded after the body."""
        with tempfile.TemporaryDirectory(prefix="llmbatch-") as place:
            path = Path(place, Path(name).name)
            yield path
            with path.open("rb") as file, self._storage.writer(name) as target:
                while block := file.read(_BLOCK_BYTES):
                    target.write(block)


class _Series:
    """A growing file of whole objects, one after the other."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._number = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    def begin(self) -> bool:
        """Whether it is ours: of all that create the first object one has it."""
        return self._storage.create(_chunk(self._folder, 0), b"")

    def write(self, data: bytes) -> None:
        """As Growing."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= CHUNK_BYTES:
            self.sync()

    def sync(self) -> None:
        """As Growing. After an error the same object is put again."""
        if self._held:
            self._storage.put(_chunk(self._folder, self._number + 1), b"".join(self._held))
            self._number += 1
            self._held, self._held_bytes = [], 0

    def close(self) -> None:
        """As Growing."""
        self._held, self._held_bytes = [], 0


def _ahead(read: Callable[[str], _Read], names: Iterable[str], at_once: int) -> Iterator[_Read]:
    """What is read of each of these, in their order; the next ones are on their way."""
    with ThreadPoolExecutor(at_once, "llmbatch-read") as pool:
        waiting: deque[Future[_Read]] = deque()
        try:
            for name in names:
                waiting.append(pool.submit(read, name))
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _is_whole(name: str, chunks: Sequence[tuple[str, int]]) -> bool:
    """Whether none of these was missing when they were listed."""
    return bool(chunks) and chunks[0][0] == _chunk(_series(name), 0)


def _is_growing(name: str) -> bool:
    return epoch_of(name.rpartition("/")[2]) is not None


def _series(name: str) -> str:
    """The folder of a growing file's objects."""
    return name.removesuffix(_GROWING)


def _chunk(folder: str, number: int) -> str:
    return f"{folder}/{number:05}{_GROWING}"
