"""One input cut into pieces, by one read of it. Blocks."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import orjson

from llmbatch_cli.cluster.cuts import Before, Cut
from llmbatch_cli.cluster.shards import Piece
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Notice
from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.input.groups import Group, groups_of
from llmbatch_cli.rows.input.inputs import (
    TABLES,
    Format,
    can_be_read_twice,
    check_inputs,
    is_row,
    shown_name,
)
from llmbatch_cli.rows.input.ranges import BY_NUMBER, LINES, TEXT_TABLES, LineOffsets
from llmbatch_cli.rows.input.reader import Reader
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.table import Layout
from llmbatch_cli.rows.lines import Line, Unreadable
from llmbatch_cli.storage import is_remote

_READ_ON: Final[frozenset[Format]] = frozenset(("values", "list", "whole"))
"""What has no lines or records, each of which may be a row."""


MOST_PIECES: Final = 2**14
"""Of one file: where there would be more, they are larger."""


def cut_file(name: str, inputs: Inputs, target_rows: int, *, is_first: bool = True) -> Cut:
    """The pieces of one input, each of about so many rows.

    `is_first` is for the first of the inputs only; all others can be cut at the same time, by any
    process. Raises UsageError where one read of all would, or for an input that cannot be cut.
    """
    return cut_behind(name, inputs, target_rows, Before() if is_first else Before.guess())


def cut_behind(name: str, inputs: Inputs, target_rows: int, before: Before) -> Cut:
    """The same, where it is known what was read before."""
    _check(name)
    try:
        return _Cutter(name, inputs, max(1, target_rows), before).cut()
    except Unreadable as error:
        raise UsageError(f"{shown_name(name)} {error.message}") from error


def _check(name: str) -> None:
    reason = "it can be read only once, and only on this machine"
    hint = "write it to a file that all machines see, and name that"
    if name == "-":
        raise UsageError(f"standard input cannot be cut into shards: {reason}", hint=hint)
    check_inputs([name])
    if not can_be_read_twice(name):
        what = f"{shown_name(name)} cannot be cut into shards"
        raise UsageError(f"{what}: it is a pipe or a device, and {reason}", hint=hint)


class _Begun(NamedTuple):
    """A piece whose end is not known yet."""

    begin: int
    line: int
    kept: int
    """Rows before it."""
    head: dict[str, Any]


class _Cutter:
    """Cuts where the reader is at rest, and looks no closer at the rows than it has to."""

    def __init__(self, name: str, inputs: Inputs, target: int, before: Before) -> None:
        self._name, self._inputs, self._target, self._before = name, inputs, target, before
        self._notices: list[str] = []
        self._limit = inputs.most_read
        if self._limit is not None and before.is_guess:
            self._limit += before.index
        self._reader = Reader(inputs.max_line_bytes, self._observe, self._limit, inputs.shape)
        self._reader.index = before.index
        self._shaper = self._reader.shaper
        self._shaper.has_rows = before.has_rows
        self._shaper.decided.last = before.last
        self._is_exact = inputs.shape.where is not None or inputs.choice.repeat > 1
        """Whether each row has to be made."""
        self._offsets = LineOffsets(name, inputs.encoding)
        self._line = 1
        """The number of the next line or record."""
        self._form: Format = "text"
        self._is_whole = False
        """Whether the input has to be read as a whole."""
        self._has_counted = False
        """Whether the rest of the rows are counted by the file's own count of them."""
        self._begun: list[_Begun] = []
        self._kept = 0
        """Rows so far."""
        self._bad: list[int] = []
        """The places of those that cannot be read, where somebody asks."""

    def cut(self) -> Cut:
        """The pieces, and what those who join them have to know."""
        reader, decided = self._reader, self._shaper.decided
        reader.begin(self._name)
        if reader.is_done:
            return Cut(self._name, (), 0, is_guess=self._before.is_guess)
        whole = _Begun(0, 1, 0, self._head())
        for group in groups_of(self._name, self._inputs.reading, passing=self._offsets.passing):
            self._take(group)
            if reader.given_up or self._is_enough or self._has_counted:
                break
        if self._is_whole or not self._begun:
            self._begun, end = [whole], None
        else:
            end = self._line - 1 if self._form in BY_NUMBER else self._offsets.size_bytes
        pieces = [*self._pieces(end)]
        return Cut(
            self._name,
            pieces,
            reader.index - self._before.index,
            is_guess=self._before.is_guess,
            has_rows=self._shaper.has_rows,
            is_valid=not self._before.first.are_invalid,
            unclear=[sorted(names) for names in decided.unclear],
            last=None if decided.last is None else [sorted(decided.last[0]), decided.last[1]],
            notices=self._notices,
            bad=self._bad,
        )

    def _observe(self, event: object) -> None:
        if isinstance(event, Notice):
            self._notices.append(event.message)

    @property
    def _is_enough(self) -> bool:
        """Whether there are as many rows as can be wanted."""
        return self._before.is_enough(self._kept, self._inputs)

    # Pieces

    def _pieces(self, end: int | None) -> Iterator[Piece]:
        """Those that have rows."""
        ends = [(one.begin, one.kept) for one in self._begun[1:]]
        for one, (until, kept) in zip(self._begun, [*ends, (end, self._kept)], strict=True):
            if kept == one.kept:
                continue
            head = {**one.head, "said": self._notices} if self._notices else one.head
            if kept == self._kept and (self._is_enough or self._reader.is_done):
                head["take"] = kept - one.kept
            rows = kept - one.kept
            yield Piece(self._name, self._form, one.begin, until, one.kept, one.line, rows, head)

    def _begin_piece(self, line: int, layout: Layout | None = None) -> None:
        if len(self._begun) == MOST_PIECES:
            del self._begun[1::2]
            self._target *= 2
            if self._room > 0:
                return
        begin = line - 1 if self._form in BY_NUMBER else self._offsets.of(line)
        self._begun.append(_Begun(begin, line, self._kept, self._head(layout)))

    def _head(self, layout: Layout | None = None) -> dict[str, Any]:
        read = self._reader.index - self._before.index
        head: dict[str, Any] = {"read": read} if read else {}
        if layout is not None:
            head["layout"] = [*layout]
        return {**head, **self._shaper.decided.state()}

    @property
    def _room(self) -> int:
        """How many rows the last piece still takes."""
        return self._target - self._kept + self._begun[-1].kept if self._begun else 0

    @property
    def _has_ranges(self) -> bool:
        """Whether a part of the input can be read by itself."""
        if self._form in BY_NUMBER:
            is_near = self._form == "parquet" or not is_remote(self._name)
            return is_near and not self._offsets.is_packed
        has_lines = self._form in LINES or (
            self._form in TEXT_TABLES and self._offsets.has_newlines
        )
        return has_lines and self._offsets.are_known

    # Rows

    def _take(self, group: Group) -> None:
        if group.error is not None or group.form in _READ_ON:
            self._is_whole = True
            self._form = group.form if group.error is None else self._form
            self._read(group)
            return
        self._form = group.form
        if group.guessed or group.notes:
            self._read(group._replace(lines=(), records=(), is_last=False))
        self._take_items(group._replace(guessed=False, notes=(), is_last=False))
        if group.is_last and not self._reader.given_up:
            self._read(group._replace(lines=(), records=(), guessed=False, notes=()))

    def _take_items(self, group: Group) -> None:
        is_table = group.form in TABLES
        items: Sequence[Any] = group.records if is_table else group.lines
        has_ranges = self._has_ranges
        at = 0
        while at < len(items) and not self._reader.given_up and not self._is_enough:
            if has_ranges and self._reader.at_rest and self._room <= 0:
                self._begin_piece(items[at].line if is_table else self._line, group.layout)
            if self._pass_blocks(group.form):
                return
            end = min(len(items), at + max(1, self._room)) if has_ranges else len(items)
            used = self._pass_over(group.form, items[at:end])
            if not used:
                used = end - at if self._is_settled and self._reader.at_rest else 1
                used = used if self._is_exact else 1
                part = items[at : at + used]
                self._read(group._replace(records=part) if is_table else group._replace(lines=part))
            at += used
            self._line = items[at - 1].line + 1 if is_table else self._line + used

    @property
    def _is_settled(self) -> bool:
        """Whether no further row changes how others are read, nor ends the run."""
        has_row = self._reader.index > self._before.index
        return has_row and self._shaper.is_settled and not self._before.first.are_invalid

    def _pass_over(self, form: Format, items: Sequence[Any]) -> int:
        """How many of these are looked at only as far as to know how many rows they are."""
        if self._is_exact or not self._is_settled or not self._reader.at_rest:
            return 0
        if self._limit is not None:
            items = items[: self._limit - self._reader.index]
        used = _whole_rows(items) if form == "jsonl" else len(items)
        rows = sum(map(is_row, items)) if form == "text" else used
        self._reader.pass_over(rows, used)
        self._kept += rows
        return used

    def _pass_blocks(self, form: Format) -> bool:
        """Whether the rows that are left could be counted without a look at them."""
        if self._is_exact or not self._is_settled or not self._has_ranges:
            return False
        if form != "parquet" and form != "arrow":
            return False
        from llmbatch_cli.rows.input.binary_tables import blocks_of

        blocks = blocks_of(form, self._name)
        if blocks is None:
            return False
        ends = [*accumulate(blocks)]
        at = self._line - 1
        last = (
            ends[-1]
            if self._limit is None
            else min(ends[-1], at + self._limit - self._reader.index)
        )
        while at < last:
            until = min(last, at + max(1, self._room))
            fitting = bisect_right(ends, until)
            if fitting and ends[fitting - 1] > at:  # else a block is read by several
                until = ends[fitting - 1]
            self._reader.pass_over(until - at)
            self._kept += until - at
            at, self._line = until, until + 1
            if at < last:
                self._begin_piece(self._line)
        self._has_counted = True
        return True

    def _read(self, group: Group) -> None:
        rows = self._counted(group)
        first = self._before.first
        for _ in first.taken(rows) if first.are_invalid else rows:
            pass

    def _counted(self, group: Group) -> Iterator[Row]:
        for row in self._reader.rows(group):
            if self._inputs.choice.repeat > 1 and isinstance(row, BadRow):
                self._bad.append(self._kept)
            self._kept += 1
            yield row


def _whole_rows(lines: Sequence[Line]) -> int:
    """How many of these lines there are before one that is not a row by itself."""
    rows = 0
    try:
        for line in lines:
            orjson.loads(line)  # type: ignore[arg-type]
            rows += 1
    except orjson.JSONDecodeError:  # also for None
        pass
    return rows
