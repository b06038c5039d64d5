"""The rows of one shard: those of earlier epochs, those of this one, and the whole under its name.

A worker writes to the file of its own epoch only, and reads the others. So nothing that a worker
does which was slow, stopped or cut off can harm what another has written.
"""

import asyncio
import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmbatch_cli.cluster.folder import Folder, Growing
from llmbatch_cli.cluster.layout import (
    WORK,
    done_file,
    epoch_file,
    epoch_of,
    part_file,
    part_of,
    whole_file,
)
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Row


@dataclass(slots=True)
class Earlier:
    """What earlier epochs have of a shard."""

    keys: dict[int, str | None] = field(default_factory=dict)
    """Of the rows that are finished, by their index."""
    failed: int = 0
    """Rows of earlier runs that have failed, and are not sent again."""
    retryable: int = 0
    """Those of them that might succeed."""
    of_this_run: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Those of this run's epochs, as they stand there."""


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
        self._file: Growing | None = None
        self._lines: list[bytes] = []
        self._is_dirty = False

    def begin(self, retry_failed: RetryFailed) -> Earlier | None:
        """Read what earlier epochs have, and create this one's file; None where it is there.

        Blocks. Raises OSError.
        """
        self._file = self._folder.create(self._own)
        if self._file is None:
            return None
        earlier = earlier_of(self._folder, self.lease, retry_failed, self._rows_in)
        self._keys = earlier.keys
        return earlier

    def has(self, row: Row) -> bool:
        """Whether an earlier epoch has finished the row."""
        return self._keys.get(row.index, "") == row.key

    def write(self, line: bytes) -> None:
        """Add a line, which `flush` writes."""
        self._lines.append(line)
        self.unwritten_bytes += len(line)

    async def flush(self, *, sync: bool) -> None:
        """Write what is waiting; with `sync` it is on the disk after. Raises OSError."""
        lines, self._lines = self._lines, []
        if lines or (sync and self._is_dirty):
            data = b"".join(lines)
            await asyncio.to_thread(self._put, data, sync)
            self.unwritten_bytes -= len(data)

    def _put(self, data: bytes, sync: bool) -> None:
        file = self._file
        if file is None:
            raise OSError(errno.EBADF, "the part is closed")
        if data:
            self._is_dirty = True
            file.write(data)
        if sync and self._is_dirty:
            file.sync()
            self._is_dirty = False

    def publish(self, record: Mapping[str, Any]) -> None:
        """Give the whole shard, which was flushed, its final name.

        Where it has one already, as of a run before, it gets a further one with the rows of both,
        and the older goes. `record` says how it went: tally, failed, retryable. Blocks. Raises
        OSError.
        """
        self.close()
        folder, lease = self._folder, self.lease
        parts = parts_of(folder, lease.shard, self._rows_in)
        epochs = [name for at, name in epochs_of(folder, lease.shard) if at <= lease.epoch]
        sources = [*(name for _, name in parts), *epochs]
        source = self._own
        if sources != [source] or self._ordered:
            source = whole_file(lease.shard, lease.epoch)
            _merge(folder, sources, source)
        folder.replace(done_file(lease.shard), orjson.dumps({"epoch": lease.epoch, **record}))
        again = 1 + max((again for again, _ in parts), default=0)
        folder.publish(source, self._rows_in + part_file(lease.shard, again))
        folder.delete(*(name for _, name in parts), *epochs, source)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _own(self) -> str:
        return epoch_file(self.lease.shard, self.lease.epoch)


def earlier_of(
    folder: Folder, lease: Lease, retry_failed: RetryFailed, rows_in: str = ""
) -> Earlier:
    """What epochs before the lease's have of the shard. Blocks."""
    earlier = Earlier()
    for _, name in parts_of(folder, lease.shard, rows_in):
        _read(folder, name, earlier, retry_failed)
    for epoch, name in epochs_of(folder, lease.shard):
        if epoch >= lease.epoch:
            continue
        is_ours = epoch >= lease.base
        _read(folder, name, earlier, "none" if is_ours else retry_failed, is_ours=is_ours)
    return earlier


def epochs_of(folder: Folder, shard: int) -> list[tuple[int, str]]:
    """Its epochs and their files, the oldest first."""
    found = [(epoch_of(name), f"{WORK}/{name}") for name in folder.names(WORK)]
    return sorted((at[1], name) for at, name in found if at is not None and at[0] == shard)


def parts_of(folder: Folder, shard: int, rows_in: str = "") -> list[tuple[int, str]]:
    """How often the shard was made, and the file, for each that stands there."""
    found = [(part_of(name), f"{rows_in}{name}") for name in folder.names(rows_in)]
    return sorted((at[1], name) for at, name in found if at is not None and at[0] == shard)


def _read(
    folder: Folder,
    name: str,
    earlier: Earlier,
    retry_failed: RetryFailed,
    *,
    is_ours: bool = False,
) -> None:
    for _, rows in _groups(folder, name):
        index, error = rows[0]["index"], rows[0]["error"]
        if index in earlier.keys:  # a first answer stays
            continue
        if error is not None and (retry_failed == "all" or _comes_again(error, retry_failed)):
            continue
        earlier.keys[index] = rows[0].get("key")
        if is_ours:
            earlier.of_this_run[index] = rows
        elif error is not None:
            earlier.failed += 1
            earlier.retryable += bool(error.get("retryable"))


def _comes_again(error: dict[str, Any], retry_failed: RetryFailed) -> bool:
    return retry_failed == "retryable" and bool(error.get("retryable"))


def _groups(folder: Folder, name: str) -> Iterator[tuple[list[bytes], list[dict[str, Any]]]]:
    """The whole outcomes of each row: its lines, and what they say. Some rows have several."""
    lines: list[bytes] = []
    rows: list[dict[str, Any]] = []
    for line in folder.lines(name):
        try:
            row = orjson.loads(line)
            part, parts = row.get("part") or (1, 1)
            _ = row["index"], row["error"]
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            continue  # of a disk that lost power
        if part == 1:
            lines, rows = [], []
        lines.append(line)
        rows.append(row)
        if part == parts and len(rows) == parts:
            yield lines, rows
            lines, rows = [], []


def _merge(folder: Folder, names: Sequence[str], final: str) -> None:
    """One file of several, in input order: of each row the first answer, or its last failure."""
    chosen: dict[int, tuple[bool, bytes]] = {}
    for name in names:
        for lines, rows in _groups(folder, name):
            index, failed = rows[0]["index"], rows[0]["error"] is not None
            known = chosen.get(index)
            if known is None or known[0]:
                chosen[index] = failed, b"".join(lines)
    with folder.writer(final) as file:
        for index in sorted(chosen):
            file.write(chosen[index][1])
