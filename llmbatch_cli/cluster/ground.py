"""What lies in the folder when a coordinator begins, and who is at work there."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson

from llmbatch_cli.cluster.coordinator import Ground
from llmbatch_cli.cluster.folder import NEW, Folder, as_json
from llmbatch_cli.cluster.layout import (
    BEAT,
    MAKING,
    MONEY,
    RUN,
    WORK,
    done_file,
    epoch_file,
    epoch_of,
    part_of,
)
from llmbatch_cli.cluster.parts import record_among, records_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import RetryFailed

LOOK_S: Final = 0.5


@dataclass(slots=True)
class Stand:
    """The files of each shard."""

    parts: dict[int, list[tuple[int, str]]]
    """How often it was made, and the file, the newest last."""
    epochs: dict[int, int]
    """The highest."""
    done: dict[int, Mapping[str, Any]]
    """What the worker that published the newest part has said of it; none where it was lost."""


def stand_of(folder: Folder, rows_in: str = "", *, tidy: bool = True) -> Stand:
    """The files of all shards. `tidy`: what the newest part of a shard was made of goes. Blocks."""
    epochs, seen = _epochs(folder), folder.seen(rows_in)
    parts, records = _parts(seen, rows_in), records_of(folder)
    said = _said(folder, parts, records)
    done: dict[int, Mapping[str, Any]] = {}
    for shard, made in parts.items():
        newest = seen[made[-1][1].removeprefix(rows_in)]
        record = record_among(said[shard], newest.size)
        if record is not None:
            done[shard] = record
        if tidy:
            over = 0 if record is None else record["epoch"]
            left = [epoch for epoch in epochs.get(shard, ()) if epoch <= over]
            folder.delete(*(epoch_file(shard, epoch) for epoch in left))
            _tidy(folder, shard, made, records)
    for (shard, _), found in records.items():
        epochs.setdefault(shard, []).extend(found)
    return Stand(parts, {shard: max(found) for shard, found in epochs.items()}, done)


def _said(
    folder: Folder,
    parts: Mapping[int, Sequence[tuple[int, str]]],
    records: Mapping[tuple[int, int], Sequence[int]],
) -> dict[int, dict[int, Mapping[str, Any] | None]]:
    """What epochs have said of each shard's newest part."""
    asked = [
        (shard, made[-1][0], epoch)
        for shard, made in parts.items()
        for epoch in records.get((shard, made[-1][0]), ())
    ]
    said: dict[int, dict[int, Mapping[str, Any] | None]] = {shard: {} for shard in parts}
    read = folder.read_all(done_file(*at) for at in asked)
    for (shard, _, epoch), data in zip(asked, read, strict=True):
        said[shard][epoch] = as_json(data)
    return said


def _epochs(folder: Folder) -> dict[int, list[int]]:
    epochs: dict[int, list[int]] = {}
    for name in folder.names(WORK):
        if (at := epoch_of(name)) is not None:
            epochs.setdefault(at[0], []).append(at[1])
    return epochs


def _parts(names: Iterable[str], rows_in: str) -> dict[int, list[tuple[int, str]]]:
    parts: dict[int, list[tuple[int, str]]] = {}
    for name in names:
        if name.endswith(".jsonl") and (at := part_of(name)) is not None:
            parts.setdefault(at[0], []).append((at[1], f"{rows_in}{name}"))
    for made in parts.values():
        made.sort()
    return parts


def _tidy(
    folder: Folder,
    shard: int,
    parts: list[tuple[int, str]],
    records: Mapping[tuple[int, int], Sequence[int]],
) -> None:
    """Leave the newest part, which has the rows of the others."""
    while len(parts) > 1:
        again, name = parts.pop(0)
        said = (done_file(shard, again, epoch) for epoch in records.get((shard, again), ()))
        folder.delete(name, *said)


def begin_run(folder: Folder, rows_in: str = "") -> str:
    """A new run in the folder; returns its name. Blocks. Raises OSError."""
    run = uuid4().hex
    stand = stand_of(folder, rows_in)
    for name in folder.names(WORK):
        if name.endswith((MAKING, NEW)):  # of somebody who was lost
            folder.delete(f"{WORK}/{name}")
    base = {str(shard): epoch + 1 for shard, epoch in stand.epochs.items()}
    folder.delete(MONEY)
    folder.replace(RUN, orjson.dumps({"run": run, "base": base, "began_at": time.time()}))
    return run


def ground_of(
    folder: Folder,
    rows: Sequence[int],
    *,
    rows_in: str = "",
    retry_failed: RetryFailed = "retryable",
    is_fresh: bool = True,
) -> Ground:
    """What a coordinator of the folder's run begins with. Blocks. Raises OSError.

    Args:
        folder: the output's.
        rows: of each shard.
        rows_in: the folder of the parts, within it.
        retry_failed: the failed rows of shards that an earlier run has finished for which these
            are opened again.
        is_fresh: whether no worker of before can be at work.
    """
    said = folder.json(RUN) or {}
    base = {int(shard): epoch for shard, epoch in said.get("base", {}).items()}
    stand = stand_of(folder, rows_in)
    done: dict[int, int] = {}
    tallies: dict[int, Mapping[str, Any]] = {}
    failed = 0
    for shard, record in stand.done.items():  # of a part without one nobody knows how it went
        is_ours = record["epoch"] >= base.get(shard, 1)
        if is_ours and "tally" in record:
            tallies[shard] = record["tally"]
        elif not is_ours and _comes_again(record, retry_failed):
            continue
        else:
            failed += record.get("failed", 0)
        done[shard] = record["epoch"]
    return Ground(rows, done, stand.epochs, base, tallies, is_fresh, failed)


def _comes_again(record: Mapping[str, Any], retry_failed: RetryFailed) -> bool:
    """Whether a whole shard has failed rows that are sent again."""
    if retry_failed == "none":
        return False
    return bool(record.get("failed" if retry_failed == "all" else "retryable"))


class Presence:
    """Says on the storage that a coordinator is there, since no lock holds on every shared disk."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._owner = uuid4().hex
        self._beat = 0
        self._generation = 0
        """Above those of all coordinators before this one."""

    def seen(self) -> bytes | None:
        """What another one has said last; None where none is there, or it has ended."""
        said = self._folder.json(BEAT)
        if said is None or said.get("ended") or said.get("owner") == self._owner:
            return None
        return orjson.dumps(said)

    async def refuse_others(self, lease_s: float) -> None:
        """Raise UsageError where another one still speaks; waits for up to a lease to hear it."""
        seen = await asyncio.to_thread(self.seen)
        until = time.monotonic() + lease_s
        while seen is not None and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
            if (now := await asyncio.to_thread(self.seen)) is None:
                return
            if now != seen:
                address = self._folder.address
                raise UsageError(
                    f"another run is at work in {address}",
                    hint=f"llmbatch cluster status {address} shows it, attach follows it",
                )

    def say(self, *, ended: bool = False) -> bool:
        """Say that this one is there, or has ended; False where another has taken its place, as by
        a restart elsewhere when this one was cut off. Blocks. Raises OSError."""
        other = self._folder.json(BEAT) or {}
        if not self._generation:
            self._generation = 1 + _generation(other)
        elif (_generation(other), str(other.get("owner"))) > (self._generation, self._owner):
            return False
        self._beat += 1
        said = {"owner": self._owner, "beat": self._beat, "ended": ended}
        self._folder.replace(BEAT, orjson.dumps({**said, "generation": self._generation}))
        return True


def _generation(said: Mapping[str, Any]) -> int:
    generation = said.get("generation")
    return generation if isinstance(generation, int) else 0
