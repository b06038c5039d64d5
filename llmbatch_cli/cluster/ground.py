"""What lies in the folder when a coordinator begins, and who is at work there."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson

from llmbatch_cli.cluster.coordinator import Ground
from llmbatch_cli.cluster.folder import NEW, Folder
from llmbatch_cli.cluster.layout import (
    BEAT,
    MAKING,
    MONEY,
    RUN,
    WORK,
    done_file,
    done_of,
    epoch_file,
    epoch_of,
    part_of,
)
from llmbatch_cli.cluster.parts import record_of
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
    epochs: dict[int, list[int]] = {}
    highest: dict[int, int] = {}
    for name in folder.names(WORK):
        if (at := epoch_of(name)) is not None:
            epochs.setdefault(at[0], []).append(at[1])
        elif (at := done_of(name)) is not None:
            said = read_json(folder, done_file(*at)) or {}
            highest[at[0]] = max(_epoch(said), highest.get(at[0], 0))
    for shard, found in epochs.items():
        highest[shard] = max(*found, highest.get(shard, 0))
    parts: dict[int, list[tuple[int, str]]] = {}
    for name in folder.names(rows_in):
        if name.endswith(".jsonl") and (at := part_of(name)) is not None:
            parts.setdefault(at[0], []).append((at[1], f"{rows_in}{name}"))
    done: dict[int, Mapping[str, Any]] = {}
    for shard, made in parts.items():
        made.sort()
        if (record := record_of(folder, shard, *made[-1])) is not None:
            done[shard] = record
        if tidy:
            over = _epoch(record or {})
            _tidy(folder, shard, made, [one for one in epochs.get(shard, ()) if one <= over])
    return Stand(parts, highest, done)


def _tidy(folder: Folder, shard: int, parts: list[tuple[int, str]], epochs: Sequence[int]) -> None:
    """Leave the newest part, which has all rows of the others and of these epochs."""
    for epoch in epochs:
        folder.delete(epoch_file(shard, epoch))
    while len(parts) > 1:
        again, name = parts.pop(0)
        folder.delete(name)
        folder.delete(done_file(shard, again))


def _epoch(said: Mapping[str, Any]) -> int:
    epoch = said.get("epoch")
    return epoch if isinstance(epoch, int) else 0


def read_json(folder: Folder, name: str) -> Mapping[str, Any] | None:
    """A file of JSON; None where there is none, or it is no object."""
    data = folder.read(name)
    try:
        said = None if data is None else orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


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
    said = read_json(folder, RUN) or {}
    base = {int(shard): epoch for shard, epoch in said.get("base", {}).items()}
    stand = stand_of(folder, rows_in)
    done: dict[int, int] = {}
    tallies: dict[int, Mapping[str, Any]] = {}
    for shard, record in stand.done.items():  # of a part without one nobody knows how it went
        is_ours = record["epoch"] >= base.get(shard, 1)
        if is_ours and "tally" in record:
            tallies[shard] = record["tally"]
        elif not is_ours and _comes_again(record, retry_failed):
            continue
        done[shard] = record["epoch"]
    return Ground(rows, done, stand.epochs, base, tallies, is_fresh)


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

    def seen(self) -> bytes | None:
        """What another one has said last; None where none is there, or it has ended."""
        said = read_json(self._folder, BEAT)
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
                raise UsageError(
                    f"another run is at work in {self._folder.path}",
                    hint=f"llmbatch cluster status {self._folder.path} shows it, attach follows it",
                )

    def say(self, *, ended: bool = False) -> None:
        """Say that this one is there, or has ended. Blocks. Raises OSError."""
        self._beat += 1
        said = {"owner": self._owner, "beat": self._beat, "ended": ended}
        self._folder.replace(BEAT, orjson.dumps(said))
