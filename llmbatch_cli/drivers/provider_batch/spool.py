"""The rows of jobs on the disk: what the process that reads the results must know of each."""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.ledger import Attempt, Usage
from llmbatch_cli.core.types import Prompt
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.output.render import dump


@dataclass(slots=True)
class Spooled:
    """One row of a job."""

    prompt: Prompt
    attempts: list[Attempt] = field(default_factory=list)
    """In jobs before this one."""
    started_s: float | None = None
    """When the first of them was made, in seconds since the epoch."""
    unfit: tuple[str, str] | None = None
    """The last answer, if it did not have the form that was asked for, and why not."""
    refits: int = 0
    """How often it has been asked again for that."""
    held: int | None = None
    """What is reserved for it of --max-cost, in billionths of a dollar."""


def as_line(row: Spooled) -> bytes:
    """The row as a line of JSON."""
    prompt = row.prompt
    said: dict[str, Any] = {"index": prompt.index, "id": prompt.id, "messages": prompt.messages}
    for name in ("file", "line", "model", "key", "repeat"):
        if (value := getattr(prompt, name)) is not None:
            said[name] = value
    for name in ("params", "metadata"):
        if value := getattr(prompt, name):
            said[name] = value
    if row.attempts:
        said["attempts"] = [_said(one) for one in row.attempts]
        said["started_s"] = row.started_s
    if row.unfit is not None:
        said["unfit"], said["refits"] = row.unfit, row.refits
    if row.held is not None:
        said["held"] = row.held
    return dump(said)


def from_line(line: bytes) -> Spooled:
    """The row in a line. Raises ValueError, LookupError or TypeError for what is none."""
    said = with_big_ints(orjson.loads(line), line)
    prompt = Prompt(
        said["index"],
        said["messages"],
        said["id"],
        said.get("file"),
        said.get("line"),
        said.get("model"),
        params=said.get("params", {}),
        metadata=said.get("metadata", {}),
        key=said.get("key"),
        repeat=said.get("repeat"),
    )
    attempts = [_attempt(one) for one in said.get("attempts", ())]
    unfit = said.get("unfit")
    return Spooled(
        prompt,
        attempts,
        said.get("started_s"),
        None if unfit is None else (unfit[0], unfit[1]),
        said.get("refits", 0),
        said.get("held"),
    )


def _said(attempt: Attempt) -> dict[str, Any]:
    usage = None if attempt.usage is None else asdict(attempt.usage)
    return {
        "kind": attempt.kind,
        "status": attempt.status,
        "latency_s": attempt.latency_s,
        "maybe_billed": attempt.maybe_billed,
        "usage": usage,
        "served": attempt.served,
        "reported_usd": attempt.reported_usd,
    }


def _attempt(said: Mapping[str, Any]) -> Attempt:
    usage = said["usage"]
    return Attempt(**{**said, "usage": None if usage is None else Usage(**usage)})


class RowsFile:
    """The rows of one job, read in any order."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where the file is not there, and OSError."""
        self._path = path
        self._file: BinaryIO = _opened(path)
        self._places = array("Q")
        place = 0
        for line in self._file:
            self._places.append(place)
            place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Spooled:
        self._file.seek(self._places[number])
        return _read(self._path, self._file.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def rows_in(path: Path) -> Iterator[Spooled]:
    """The rows of a file, in order. Raises UsageError where it was changed, and OSError."""
    with _opened(path) as file:
        for line in file:
            yield _read(path, line)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise _changed(path, "it is gone") from error


def _read(path: Path, line: bytes) -> Spooled:
    try:
        return from_line(line)
    except (ValueError, LookupError, TypeError) as error:
        raise _changed(path, str(error)) from error


def _changed(path: Path, how: str) -> UsageError:
    return UsageError(
        f"the rows of a job cannot be read: {path}: {how}",
        hint="it was changed by something else: put it back, or remove its folder, which gives "
        "the jobs in it up",
    )
