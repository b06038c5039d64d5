"""The rows of one shard: those of earlier epochs, those of this one, and the whole under its name.

A worker writes to the file of its own epoch only, and reads the others. So nothing that a worker
does which was slow, stopped or cut off can harm what another has written.
"""

import asyncio
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final, TypeVar

import orjson

from llmbatch_cli.cluster.chosen import Earlier, Reading, chosen_of, recounted, write
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.layout import (
    WORK,
    done_file,
    done_of,
    epoch_file,
    epoch_of,
    part_file,
    part_of,
    whole_file,
)
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Row

_TRIES: Final = 20
"""So often in turn nobody is passed by others who publish the same shard."""

Result = TypeVar("Result")


class Part:
    """One shard under one epoch. What blocks belongs into a thread, one call at a time."""

    def __init__(
        self, folder: Folder, lease: Lease, *, rows_in: str = "", ordered: bool = False
    ) -> None:
        """`rows_in`: the folder of the published file. `ordered`: its rows are in input order."""
        self.lease = lease
        self.unwritten_bytes = 0
        self._folder, self._rows_in, self._ordered = folder, rows_in, ordered
        self._keys: dict[int, str | None] = {}
        self._has_other_keys = False
        self._file: BinaryIO | None = None
        self._lines: list[bytes] = []
        self._is_dirty = False
        self._error: OSError | None = None
        """Of a write, after which the file lacks rows."""
        self._sources: set[str] = set()
        """Files of the shard that were seen: a folder may be listed late."""

    def begin(self, retry_failed: RetryFailed) -> Earlier | None:
        """Read what earlier epochs have, and create this one's file; None where it is there.

        Blocks. Raises OSError.
        """
        self._file = self._folder.create(self._own)
        if self._file is None:
            return None
        earlier = _again(lambda: self._earlier(retry_failed))
        self._keys = earlier.keys
        return earlier

    def has(self, row: Row) -> bool:
        """Whether an earlier epoch has finished the row."""
        key = self._keys.get(row.index, "")
        if key != row.key and key != "":
            self._has_other_keys = True
        return key == row.key

    def write(self, line: bytes) -> None:
        """Add a line, which `flush` writes."""
        self._lines.append(line)
        self.unwritten_bytes += len(line)

    async def flush(self, *, sync: bool) -> None:
        """Write what is waiting; with `sync` it is on the disk after. Raises OSError."""
        lines, self._lines = self._lines, []
        if lines or (sync and self._is_dirty) or self._error is not None:
            data = b"".join(lines)
            await asyncio.to_thread(self._put, data, sync)
            self.unwritten_bytes -= len(data)

    def _put(self, data: bytes, sync: bool) -> None:
        if self._error is not None:  # what was lost then is not on the disk now
            raise self._error
        try:
            self._put_all(data, sync)
        except OSError as error:
            self._error = error
            raise

    def _put_all(self, data: bytes, sync: bool) -> None:
        file = self._file
        if file is None:
            raise OSError(errno.EBADF, "the part is closed")
        rest = memoryview(data)
        while rest:
            self._is_dirty = True
            rest = rest[file.write(rest) :]
        if sync and self._is_dirty:
            self._folder.sync(file)
            self._is_dirty = False

    def publish(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the whole shard, which was flushed, its final name.

        Where it has one already, as of a run before, it gets a further one with the rows of both,
        and the older goes. `record` says how it went: tally, failed, retryable. Returns what is
        said of the shard as it stands then: another worker may have had a hand in it. Blocks.
        Raises OSError.
        """
        self.close()
        for _ in range(_TRIES):
            try:
                if (said := self._published(record)) is not None:
                    return said
            except FileNotFoundError:
                if not self._folder.has(self._own):
                    # A later epoch has published the shard, with what is here.
                    self._folder.delete(self._made)
                    return record
        raise OSError(errno.EBUSY, f"shard {self.lease.shard} is published by others, too")

    def _published(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        folder, lease = self._folder, self.lease
        epochs, parts = self._epochs(), parts_of(folder, lease.shard, self._rows_in)
        whole = self._whole(parts)
        if whole is not None:
            self._tidy(epochs, parts[:-1])
            folder.delete(self._made)
            return whole
        sources = [*(name for _, name in parts), *(name for _, name in epochs)]
        source = self._own
        if sources != [source] or self._ordered:
            source = self._made
            ours = {name for epoch, name in epochs if epoch >= lease.base}
            chosen = chosen_of(folder, sources)
            write(folder, chosen, source)
            if ours != {self._own} or self._has_other_keys:
                record = recounted(chosen, ours)
        again = 1 + max((again for again, _ in parts), default=0)
        final = self._rows_in + part_file(lease.shard, again)
        said = {"epoch": lease.epoch, "size": folder.size(source), **record}
        folder.replace(done_file(lease.shard, again, lease.epoch), orjson.dumps(said))
        if not folder.publish(source, final) or self._newest() != again:
            return None
        self._tidy(epochs, parts)
        folder.delete(source)
        return said

    def _tidy(self, epochs: Sequence[tuple[int, str]], parts: Sequence[tuple[int, str]]) -> None:
        """Delete what a part was made of, and is in it."""
        for _, name in parts:
            self._folder.delete(name)
        for _, name in epochs:
            self._folder.delete(name)
        for again, _ in parts:
            for epoch in records_of(self._folder).get((self.lease.shard, again), ()):
                self._folder.delete(done_file(self.lease.shard, again, epoch))

    def _earlier(self, retry_failed: RetryFailed) -> Earlier:
        """What earlier epochs have of the shard."""
        folder, lease = self._folder, self.lease
        # In this order: whoever publishes the shard meanwhile deletes epochs after.
        epochs, parts = self._epochs(), parts_of(folder, lease.shard, self._rows_in)
        if (whole := self._whole(parts)) is not None:
            return Earlier(whole=whole)
        old = [name for epoch, name in epochs if epoch < lease.base]
        ours = [name for epoch, name in epochs if lease.base <= epoch < lease.epoch]
        earlier = Reading(retry_failed)
        for name in (*(name for _, name in parts), *old):
            earlier.read(folder, name, is_ours=False)
        for name in ours:
            earlier.read(folder, name, is_ours=True)
        return earlier.result()

    def _whole(self, parts: Sequence[tuple[int, str]]) -> Mapping[str, Any] | None:
        """What is said of the newest part, if this run has made it."""
        if not parts:
            return None
        again, name = parts[-1]
        epochs = records_of(self._folder).get((self.lease.shard, again), ())
        said = record_of(self._folder, self.lease.shard, again, epochs, name)
        is_ours = said is not None and said["epoch"] >= self.lease.base and "tally" in said
        return said if is_ours else None

    def _epochs(self) -> list[tuple[int, str]]:
        """The epochs up to this one, which is among them."""
        folder, lease = self._folder, self.lease
        names = {name for epoch, name in epochs_of(folder, lease.shard) if epoch <= lease.epoch}
        for epoch in range(max(lease.base, lease.epoch - _TRIES), lease.epoch):
            name = epoch_file(lease.shard, epoch)
            if name not in names and folder.has(name):  # the list of a shared disk may be old
                names.add(name)
        names.add(self._own)
        found = [(epoch_of(name.removeprefix(f"{WORK}/")), name) for name in names]
        return sorted((at[1], name) for at, name in found if at is not None)

    def _newest(self) -> int:
        parts = parts_of(self._folder, self.lease.shard, self._rows_in)
        return parts[-1][0] if parts else 0

    def drop(self) -> None:
        """Nothing more is written to it."""
        self._lines, self.unwritten_bytes, self._is_dirty = [], 0, False

    def close(self) -> None:
        """Close the file, while nobody writes to it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _made(self) -> str:
        return whole_file(self.lease.shard, self.lease.epoch)

    @property
    def _own(self) -> str:
        return epoch_file(self.lease.shard, self.lease.epoch)


def _again(read: Callable[[], Result]) -> Result:
    """What is read, when nobody deletes it meanwhile."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            return read()
    return read()


def epochs_of(folder: Folder, shard: int) -> list[tuple[int, str]]:
    """Its epochs and their files, the oldest first."""
    found = [(epoch_of(name), f"{WORK}/{name}") for name in folder.names(WORK)]
    return sorted((at[1], name) for at, name in found if at is not None and at[0] == shard)


def parts_of(folder: Folder, shard: int, rows_in: str = "") -> list[tuple[int, str]]:
    """How often the shard was made, and the file, for each that stands there."""
    names = folder.names(rows_in)
    found = [(part_of(name), f"{rows_in}{name}") for name in names if name.endswith(".jsonl")]
    parts = {at[1]: name for at, name in found if at is not None and at[0] == shard}
    newest = max(parts, default=0)
    while folder.has(name := rows_in + part_file(shard, newest + 1)):  # of an old list
        newest += 1
        parts[newest] = name
    return sorted(parts.items())


def records_of(folder: Folder) -> dict[tuple[int, int], list[int]]:
    """The epochs that have said how a shard went which was made so often."""
    found: dict[tuple[int, int], list[int]] = {}
    for name in folder.names(WORK):
        if (at := done_of(name)) is not None:
            found.setdefault(at[:2], []).append(at[2])
    return found


def record_of(
    folder: Folder, shard: int, again: int, epochs: Iterable[int], part: str
) -> Mapping[str, Any] | None:
    """What is said of a part; what others said, who were lost before they linked it, is not."""
    size = folder.size(part)
    for epoch in sorted(epochs, reverse=True):
        said = folder.json(done_file(shard, again, epoch))
        if said is not None and said.get("epoch") == epoch and said.get("size") == size:
            return said
    return None
