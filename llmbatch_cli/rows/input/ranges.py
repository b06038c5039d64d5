"""Parts of one input that are read by themselves, each from where a row begins. Blocks."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.rows.input.chunks import codec_of, converted
from llmbatch_cli.rows.input.groups import Group, Reading, table_groups
from llmbatch_cli.rows.input.inputs import Format, chunks_of
from llmbatch_cli.rows.input.table import Layout
from llmbatch_cli.rows.input.unpacking import is_packed
from llmbatch_cli.rows.lines import BOM, Lines, Unreadable

LINES: Final = frozenset[Format](("jsonl", "text"))
TEXT_TABLES: Final = frozenset[Format](("csv", "tsv"))
BY_NUMBER: Final = frozenset[Format](("parquet", "arrow"))
"""Ranges of these are of rows, of all others of bytes."""


@frozen
class Range:
    """A part of an input."""

    form: Format
    begin: int
    """A byte at which a row begins, or the number of a row, from 0."""
    end: int
    line: int
    """The number of its first line, from 1."""
    layout: Layout | None = None
    """That of a table as text."""


def groups_within(name: str, reading: Reading, part: Range) -> Iterator[Group]:
    """The lines of a part, in groups as those of the whole. Never raises."""
    try:
        yield from _groups_within(name, reading, part)
    except Unreadable as error:
        yield Group("text", [], error=error)


def _groups_within(name: str, reading: Reading, part: Range) -> Iterator[Group]:
    form = part.form
    if form == "parquet" or form == "arrow":
        from llmbatch_cli.rows.input.binary_tables import records_between

        for batch in records_between(form, name, part.begin, part.end):
            yield Group(form, [], records=batch)
        return
    chunks = chunks_of(name, begin=part.begin, end=part.end)
    if reading.encoding is not None:
        chunks = converted(chunks, reading.encoding)
    if form == "csv" or form == "tsv":
        yield from table_groups(form, chunks, reading, part.layout, part.line)
        return
    lines = Lines(reading.max_line_bytes)
    yield from (Group(form, lines.feed(chunk)) for chunk in chunks)
    yield Group(form, lines.finish(), is_last=True)


class LineOffsets:
    """Where the lines of an input begin, whose bytes pass by."""

    def __init__(self, name: str, encoding: str | None) -> None:
        self._name, self._encoding = name, encoding
        self._last = b""
        self._chunks: deque[tuple[int, int, int]] = deque()
        """Of each with newlines: its place, the newlines before it, and its size."""
        self._newlines = 0
        self._found = 1, 0
        """The last line that was asked for, and where it begins."""
        self.size_bytes = 0
        """What has passed by."""
        self._begins: int | None = None
        self.is_packed = False
        self.are_known = False
        """Whether the lines are those of the bytes as they are stored."""
        self.has_newlines = False
        """Whether the first bytes have some."""

    def passing(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes."""
        for chunk in chunks:
            if self._begins is None:
                self._look(chunk)
            newlines = chunk.count(b"\n")
            if newlines:
                self._chunks.append((self.size_bytes, self._newlines, len(chunk)))
                self._last = chunk
            self._newlines += newlines
            self.size_bytes += len(chunk)
            yield chunk

    def _look(self, head: bytes) -> None:
        has_mark = self._encoding is None and head.startswith(BOM)
        self._begins = len(BOM) if has_mark else 0
        is_text = (
            codec_of(head) is None if self._encoding is None else _is_a_byte_each(self._encoding)
        )
        self.is_packed = is_packed(head)
        self.are_known = is_text and not self.is_packed
        self.has_newlines = b"\n" in head

    def of(self, line: int) -> int:
        """Where a line begins, from 1; no earlier one than the last that was asked for.

        Raises Unreadable for a file that changes meanwhile.
        """
        if line == 1:
            return self._begins or 0
        while len(self._chunks) > 1 and self._chunks[1][1] < line - 1:
            self._chunks.popleft()
        begin, before, size = self._chunks[0]
        data = self._last
        if len(self._chunks) > 1:
            data = b"".join(chunks_of(self._name, begin=begin, end=begin + size))
        known, at = self._found
        if known <= before + 1:  # in an earlier chunk
            known, at = before + 1, begin
        at -= begin
        try:
            for _ in range(line - known):
                at = data.index(b"\n", at) + 1
        except ValueError as error:
            raise Unreadable("changes while it is read") from error
        self._found = line, begin + at
        return begin + at


def _is_a_byte_each(encoding: str) -> bool:
    """Whether each byte is a character, whatever stands before it, and newlines are newlines."""
    try:
        text = bytes(range(256)).decode(encoding, "replace")
    except (UnicodeError, LookupError):
        return False
    return len(text) == 256 and text.index("\n") == ord("\n") and text.count("\n") == 1
