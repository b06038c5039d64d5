"""Reading an output back, so that a run continues where the last one stopped."""

import os
import stat
import sys
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.text import format_count
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import check_key
from llmbatch_cli.rows.output.outfile import OutputLines, is_packed, new_name, replacing

_BEGINNING: Final = b'{"index":'
_REFUSALS: Final = frozenset(
    ("rejected", "unknown_model", "unauthorized", "out_of_quota", "all_failed")
)
"""Failures that may be the row's fault, or that of an option, the server or the account."""
_ALIKE: Final = 20
"""So many other failures at the end of an output are those of a run that was stopped for them."""


def prepare(
    path: Path, retry_failed: RetryFailed = "retryable", *, fsync: bool = False
) -> FinishedRows:
    """Read an output back and prepare it for appending.

    Failed rows that are sent again are removed. An incomplete last line is cut off, after it
    was copied to `OUT.torn-<n>`. Whatever moment this is killed at, the file is the old one or
    the new one. The caller holds the lock on it. With `fsync` the file is on the disk at the
    end; one that is rewritten always is.

    Blocks for some seconds per million rows, so it belongs before the loop or in a thread.
    Raises UsageError, with the file untouched, where it is not a jsonl output of llmbatch or
    cannot be read or written. A missing or empty file has no rows.
    """
    real = Path(os.path.realpath(path))
    try:
        new_name(real).unlink(missing_ok=True)  # of a run that was killed during a rewrite
        found = _survey(real, path, retry_failed)
        if found.torn:
            _keep_copy(real, found.torn)
        if found.dropped or found.cut_short or (is_packed(real) and found.is_ragged):
            _rewrite(real, found)
        elif found.is_ragged:
            _mend_end(real, found, fsync=fsync)
    except OSError as error:
        raise UsageError(f"cannot resume {path}: {error.strerror or error}") from error
    return found.finished


def read_back(path: Path, retry_failed: RetryFailed = "retryable") -> FinishedRows:
    """What `prepare` would return, without changing the file. Raises the same."""
    try:
        return _survey(Path(os.path.realpath(path)), path, retry_failed).finished
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def resuming(
    path: Path, finished: FinishedRows, to_send: int | None, *, has_jobs: bool = False
) -> str:
    """The first message of a resumed run.

    Args:
        path: the output.
        finished: its rows, claimed by all rows of the input where `to_send` is known.
        to_send: how many rows of the input are left; None where it can be read only once.
        has_jobs: whether open jobs may hold some of them.
    """
    if to_send is None:
        failed = finished.failed
        fields = [format_count(finished.rows - failed, "answer")]
    else:
        failed = finished.taken_failed
        rows = finished.taken + to_send
        fields = [f"{finished.taken - failed:,} of {format_count(rows, 'row')} answered"]
        fields.append(f"{to_send:,} {'in open jobs or ' if has_jobs else ''}to send")
    if failed:
        fields.append(f"{failed:,} failed before")
    return f"resuming {path}: {', '.join(fields)}"


def unclaimed(finished: FinishedRows, replaced: int = 0) -> str:
    """How many answers no row of input has asked for; nothing where there are none.

    `replaced`: those of edited rows, which are not in the output any more.
    """
    count = finished.untaken_answers - replaced
    are = "is" if count == 1 else "are"
    text = f"{format_count(count, 'answer')} {are} not of this input with this model and parameters"
    return text if count > 0 else ""


# Reading


@dataclass(slots=True)
class _Group:
    """The outcomes of one row that has several, so far."""

    key: str
    index: int
    again: bool
    """Whether the row is sent again."""
    failed: bool
    lines: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Survey:
    """What an output holds."""

    finished: FinishedRows
    dropped: "array[int]" = field(default_factory=lambda: array("Q"))
    """Numbers of the lines to remove, from 0."""
    lines: int = 0
    """Lines before the torn one."""
    kept_bytes: int = 0
    """Their size, unpacked."""
    torn: bytes = b""
    unended: bool = False
    """Whether the last row is whole but for its newline."""
    cut_short: bool = False
    """Whether gzip data ends too early, so that nothing can be appended to it."""
    again_from: int = sys.maxsize
    """From this line on, refusals are sent again, too."""
    answered: bool = False
    after_answers: int = 0
    """The first line behind the last answer."""
    unexplained: int = 0
    """Refusals since then that are not sent again."""
    group: "_Group | None" = None
    """The row whose outcomes are being read, where it has several."""

    @property
    def is_ragged(self) -> bool:
        return bool(self.torn) or self.unended

    @property
    def ended_hopeless(self) -> bool:
        """Whether its run had no answer at all, or was stopped as all rows were refused alike:
        what was wrong, such as a parameter or the server, may be mended now."""
        return self.unexplained > 0 and (not self.answered or self.unexplained >= _ALIKE)

    def note(self, error: Any) -> None:
        """Take a row that is kept into account."""
        if error is None:
            self.answered, self.after_answers, self.unexplained = True, self.lines + 1, 0
        elif error["type"] in _REFUSALS:
            self.unexplained += 1


def _survey(real: Path, shown: Path, retry_failed: RetryFailed) -> _Survey:
    """Read the whole file; again, where its last rows failed by no fault of theirs."""
    found = _read(real, shown, retry_failed)
    if retry_failed == "retryable" and found.ended_hopeless:
        found = _read(real, shown, retry_failed, found.after_answers)
    return found


def _read(
    real: Path, shown: Path, retry_failed: RetryFailed, again_from: int = sys.maxsize
) -> _Survey:
    found = _Survey(FinishedRows(real.parent), again_from=again_from)
    try:
        status = real.stat()
    except FileNotFoundError:
        return found
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{shown} is not a regular file, so it cannot be resumed")
    lines = OutputLines(real)
    _take_rows(found, lines, _selector(retry_failed), shown)
    found.cut_short = lines.cut_short
    return found


def _take_rows(
    found: _Survey, lines: Iterable[bytes], select: Callable[[Any], bool], shown: Path
) -> None:
    loads = orjson.loads
    line = b"\n"
    for line in lines:
        if found.torn:
            raise _not_an_output(shown, found.lines, "not JSON")
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
                raise _not_an_output(shown, found.lines, "no key") from error
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
    if _is_again(found, error, select):
        check_key(key)
        finished.failed_again += 1
        found.dropped.append(found.lines)
    else:
        finished.add(key, index, failed=error is not None)
        finished.with_input += "input" in row
        finished.with_fields |= "fields" in row
        found.note(error)


def _is_again(found: _Survey, error: Any, select: Callable[[Any], bool]) -> bool:
    """Whether the row of the present line is sent again."""
    if error is None:
        return False
    late = found.lines >= found.again_from and error["type"] in _REFUSALS
    return late or select(error)


def _take_part(found: _Survey, row: Any, select: Callable[[Any], bool]) -> None:
    """Take one of several outcomes of a row. They stand together, and the first, an answer where
    there is one, decides for all. A row without some of them is sent again."""
    number, of = row["part"]
    if number == 1:
        _leave_group(found)
    group = found.group
    if group is None:
        error = row["error"]
        failed = error is not None
        again = _is_again(found, error, select)
        group = found.group = _Group(row["key"], row["index"], again, failed)
        if not again:
            found.note(error)
        found.finished.failed_again += group.again
    if (row["key"], row["index"], number) != (group.key, group.index, len(group.lines) + 1):
        raise ValueError("the outcomes of one row do not stand together")
    group.lines.append(found.lines)
    if number == of:
        if group.again:
            found.dropped.extend(group.lines)
        else:
            found.finished.add(group.key, group.index, failed=group.failed)
            found.finished.with_input += "input" in row
            found.finished.with_fields |= "fields" in row
        found.group = None


def _leave_group(found: _Survey) -> None:
    """Remove the outcomes of a row that are not all there."""
    if found.group is not None:
        found.dropped.extend(found.group.lines)
        found.group = None


def _selector(retry_failed: RetryFailed) -> Callable[[Any], bool]:
    """Which errors are retried."""
    if retry_failed == "retryable":
        return lambda error: error["retryable"] is True
    return lambda error: retry_failed == "all"


def _check_beginning(torn: bytes, shown: Path) -> None:
    """Refuse another program's file of one line, rather than cut it off."""
    begin = torn[: len(_BEGINNING)]
    if not _BEGINNING.startswith(begin) and torn.strip(b"\0\n"):
        raise _not_an_output(shown, 0, "not JSON")


def _not_an_output(shown: Path, line: int, reason: str) -> UsageError:
    return UsageError(
        f"{shown}:{line + 1}: {reason}, so this is not an output that can be resumed",
        hint="--resume continues a file that --format jsonl has written; "
        "--overwrite replaces it, or name another file with --output",
    )


# Changing


def _keep_copy(real: Path, torn: bytes) -> None:
    """Write the torn line beside the file, under the first number that is free."""
    number = 1
    while True:
        try:
            with real.with_name(f"{real.name}.torn-{number}").open("xb") as file:
                file.write(torn)
                file.flush()
                os.fsync(file.fileno())
            return
        except FileExistsError:
            number += 1


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
    """Replace the file by one of the kept lines only."""
    dropped = iter(found.dropped)
    next_dropped = next(dropped, -1)
    with replacing(real) as write:
        for number, line in enumerate(islice(OutputLines(real), found.lines)):
            if number == next_dropped:
                next_dropped = next(dropped, -1)
            else:
                write(line if line.endswith(b"\n") else line + b"\n")
