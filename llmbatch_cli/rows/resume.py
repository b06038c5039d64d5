"""An output is read back, so that a run goes on where the last one stopped."""

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import check_key
from llmbatch_cli.rows.output.outfile import OutputLines, is_packed, new_name, replacing

_BEGINNING: Final = b'{"index":'
_ELSEWHERE: Final = "--overwrite begins afresh; or name another file with --output"


def prepare(
    path: Path, retry_failed: RetryFailed = "retryable", *, fsync: bool = False
) -> FinishedRows:
    """Read an output back and make it fit to be appended to.

    Rows that are to be tried again are taken out. A last line that is not whole is cut off,
    after a copy was made of it in `OUT.torn-<n>`. Whatever moment this is killed at, the
    file is the old one or the new one. The caller holds the lock on it. With `fsync` the
    file is on the disk at the end; one that is rewritten always is.

    Blocks for some seconds a million rows, so it belongs before the loop or in a thread.
    Raises UsageError, with the file untouched, where it is no jsonl output of llmbatch or
    cannot be read or written. No file, or an empty one, is one without rows.
    """
    real = Path(os.path.realpath(path))
    try:
        new_name(real).unlink(missing_ok=True)  # of a run that was killed amid a rewrite
        found = _survey(real, path, retry_failed)
        if found.torn:
            _keep_copy(real, found.torn)
        if found.dropped or found.cut_short or (is_packed(real) and found.is_ragged):
            _rewrite(real, found)
        elif found.is_ragged:
            _mend_end(real, found, fsync=fsync)
    except OSError as error:
        raise UsageError(f"cannot go on with {path}: {error.strerror or error}") from error
    return found.finished


def read_back(path: Path, retry_failed: RetryFailed = "retryable") -> FinishedRows:
    """What `prepare` would return, with nothing changed. Raises the same."""
    try:
        return _survey(Path(os.path.realpath(path)), path, retry_failed).finished
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def resuming(path: Path, finished: FinishedRows) -> str:
    """What a resumed run says at its start, for people."""
    told = f"resuming {path}: {_rows(finished.rows)} done"
    if finished.failed:
        told += f" ({finished.failed:,} of them failed, and stay so)"
    return told + f", {finished.failed_again:,} to retry"


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


# Reading


@dataclass(slots=True)
class _Group:
    """The outcomes of one row that has several, so far."""

    key: str
    index: int
    again: bool
    """Whether the row is to be tried again."""
    lines: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Survey:
    """What stands in an output."""

    finished: FinishedRows
    dropped: "array[int]" = field(default_factory=lambda: array("Q"))
    """Numbers of the lines, from 0, that must not stay."""
    lines: int = 0
    """Those before the torn one."""
    kept_bytes: int = 0
    """Their size, unpacked."""
    torn: bytes = b""
    unended: bool = False
    """Whether the last row is whole but for its newline."""
    cut_short: bool = False
    """Whether gzip data ended too early, so that nothing can be added to it."""
    group: "_Group | None" = None
    """The row whose outcomes are being read, where it has several."""

    @property
    def is_ragged(self) -> bool:
        return bool(self.torn) or self.unended


def _survey(real: Path, shown: Path, retry_failed: RetryFailed) -> _Survey:
    """Read the whole file."""
    found = _Survey(FinishedRows(real.parent))
    try:
        status = real.stat()
    except FileNotFoundError:
        return found
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{shown} is no file, so there is nothing in it to go on with")
    lines = OutputLines(real)
    _take_rows(found, lines, _selector(retry_failed), shown)
    found.cut_short = lines.cut_short
    return found


def _take_rows(
    found: _Survey, lines: Iterable[bytes], select: Callable[[Any], bool], shown: Path
) -> None:
    """Fill the survey."""
    loads = orjson.loads
    line = b"\n"
    for line in lines:
        if found.torn:
            raise _no_output(shown, found.lines, "it is not JSON")
        try:
            row = loads(line)
        except orjson.JSONDecodeError:
            if not line.isspace():
                found.torn = line
                continue
            _leave_group(found)
            found.dropped.append(found.lines)
        else:
            try:
                _take_row(found, row, select)
            except (TypeError, KeyError, ValueError) as error:
                raise _no_output(shown, found.lines, "it has no key") from error
        found.lines += 1
        found.kept_bytes += len(line)
    _leave_group(found)
    found.unended = not found.torn and not line.endswith(b"\n")
    if found.torn and not found.lines:
        _check_beginning(found.torn, shown)


def _take_row(found: _Survey, row: Any, select: Callable[[Any], bool]) -> None:
    error, key, index = row["error"], row["key"], row["index"]
    finished = found.finished
    if "part" in row:
        _take_part(found, row, select)
        return
    _leave_group(found)
    if error is not None and select(error):
        check_key(key)
        finished.failed_again += 1
        found.dropped.append(found.lines)
    else:
        finished.add(key, index)
        finished.failed += error is not None


def _take_part(found: _Survey, row: Any, select: Callable[[Any], bool]) -> None:
    """One of several outcomes of a row. They stand together, and the first decides for all: it
    is an answer where there is one. A row that lacks some is begun again."""
    number, of = row["part"]
    if number == 1:
        _leave_group(found)
    group = found.group
    if group is None:
        error = row["error"]
        group = found.group = _Group(row["key"], row["index"], error is not None and select(error))
        found.finished.failed_again += group.again
    if (row["key"], row["index"], number) != (group.key, group.index, len(group.lines) + 1):
        raise ValueError("outcomes of one row that do not stand together")
    group.lines.append(found.lines)
    if number == of:
        if group.again:
            found.dropped.extend(group.lines)
        else:
            found.finished.add(group.key, group.index)
        found.group = None


def _leave_group(found: _Survey) -> None:
    """Drop the outcomes of a row that are not all there."""
    if found.group is not None:
        found.dropped.extend(found.group.lines)
        found.group = None


def _selector(retry_failed: RetryFailed) -> Callable[[Any], bool]:
    """Which errors are tried again."""
    if retry_failed == "retryable":
        return lambda error: error["retryable"] is True
    return lambda error: retry_failed == "all"


def _check_beginning(torn: bytes, shown: Path) -> None:
    """Refuse a file of one line that is none of ours, rather than cut it off."""
    begin = torn[: len(_BEGINNING)]
    if not _BEGINNING.startswith(begin) and torn.strip(b"\0\n"):
        raise _no_output(shown, 0, "it is not JSON")


def _no_output(shown: Path, line: int, reason: str) -> UsageError:
    return UsageError(
        f"{shown}:{line + 1}: {reason}, so this is no output to go on with",
        hint=f"--resume goes on with what --format jsonl has written. {_ELSEWHERE}",
    )


# Changing


def _keep_copy(real: Path, torn: bytes) -> None:
    """Write the torn line beside the file, under the first number that is free."""
    number = 1
    while True:
        copy = real.with_name(f"{real.name}.torn-{number}")
        try:
            with copy.open("xb") as file:
                file.write(torn)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            number += 1
            continue
        return


def _mend_end(real: Path, found: _Survey, *, fsync: bool) -> None:
    """Cut the torn line off, or end the last one."""
    with real.open("r+b", buffering=0) as file:
        file.truncate(found.kept_bytes)
        if found.unended:
            file.seek(found.kept_bytes)
            file.write(b"\n")
        if fsync:
            os.fsync(file.fileno())


def _rewrite(real: Path, found: _Survey) -> None:
    """Put a file in its place that has the kept lines only, and is whole."""
    with replacing(real) as write:
        for line in _kept(OutputLines(real), found):
            write(line if line.endswith(b"\n") else line + b"\n")


def _kept(lines: OutputLines, found: _Survey) -> Iterator[bytes]:
    dropped = iter(found.dropped)
    next_dropped = next(dropped, -1)
    for number, line in enumerate(lines):
        if number == found.lines:
            return
        if number == next_dropped:
            next_dropped = next(dropped, -1)
        else:
            yield line
