"""Rows from files and standard input, read as they are needed."""

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

import orjson

from llmbatch_cli.core.events import Counted, Notice, Observer, ignore
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.input.chunks import TO_UTF_8, plain
from llmbatch_cli.rows.input.inputs import (
    STDIN,
    Format,
    TextFormat,
    can_be_read_twice,
    chunks_of,
    count_rows,
    format_of_name,
    shown_name,
    spooled,
    suffix_of,
)
from llmbatch_cli.rows.input.parse import ONE_A_LINE, parse_row
from llmbatch_cli.rows.input.pump import pumped
from llmbatch_cli.rows.lines import CHUNK_BYTES, MAX_LINE_BYTES, Line, Lines, Unreadable

_JSON_BEGINS: Final = (b"{", b"[", b'"')
_TEXT: Final[Mapping[TextFormat, Format]] = {"lines": "text", "whole": "whole"}
_NUL: Final = f"a NUL byte in plain text: if it is UTF-16, {TO_UTF_8}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read, and how."""

    inputs: Sequence[str]
    """Files, read one after the other; `-` is standard input."""
    input_format: InputFormat = "auto"
    """`auto` goes by the name; without a known one by the first character, and reports to the
    observer when that makes it text."""
    max_line_bytes: int = MAX_LINE_BYTES
    """A longer line is skipped, and is a BadRow."""
    limit: int | None = None
    """Maximum number of rows, bad ones too; None is all."""
    for_text: TextFormat = "lines"
    """What `auto` makes of plain text: a prompt a line, or the whole as one."""
    prompt: str | None = None
    """One prompt from the command line, in place of all inputs."""

    async def rows(
        self, observe: Observer = ignore, stdin: BinaryIO | None = None
    ) -> AsyncGenerator[Row, None]:
        """Yield the rows of all inputs from their start, each as soon as its line is complete.

        What cannot be read becomes a BadRow: a line, the rest of a damaged file, a file that
        is gone. Holds about 3 MiB, or the longest line, at any size of the inputs. `stdin` takes
        the place of standard input; nothing may have been read from it.
        """
        if self.limit == 0:
            return
        if self.prompt is not None:
            yield parse_row(self.prompt, index=0)
            return
        reader = _Reader(self.max_line_bytes, observe)
        for name in self.inputs:
            if reader.index == self.limit:
                return
            reader.begin(name)
            try:
                async with aclosing(pumped(self._groups(name, stdin))) as groups:
                    async for group in groups:
                        for row in reader.rows(group):
                            reader.index += 1
                            yield row
                            if reader.index == self.limit:
                                return
                        if reader.given_up:
                            break
            except Unreadable as error:
                yield reader.unreadable(error)

    def again(self) -> "Inputs | None":
        """The same, to be read once more; None where reading uses an input up."""
        return self if all(map(can_be_read_twice, self.inputs)) else None

    @asynccontextmanager
    async def spooled(self) -> AsyncIterator["Inputs"]:
        """The same, with copies of pipes and standard input, so that all can be read again.

        Raises UsageError where one cannot be read or copied.
        """
        async with spooled(self.inputs) as inputs:
            yield replace(self, inputs=inputs)

    @contextmanager
    def counting(self, observe: Observer) -> Iterator[None]:
        """Count all rows in a thread, and observe Counted; stops with the body."""
        loop = asyncio.get_running_loop()
        enough = threading.Event()

        def count() -> None:
            total = self._count(enough)
            if total is not None and not enough.is_set():
                with suppress(RuntimeError):  # the loop is closed: nobody is waiting
                    loop.call_soon_threadsafe(observe, Counted(total))

        threading.Thread(target=count, name="count rows", daemon=True).start()
        try:
            yield
        finally:
            enough.set()

    def _count(self, enough: threading.Event) -> int | None:
        total = 0 if self.prompt is None else 1
        for path in self.inputs:
            rows = count_rows(path, enough, input_format=self.input_format, for_text=self.for_text)
            if rows is None:
                return None
            total += rows
        return total if self.limit is None else min(total, self.limit)

    def _groups(self, name: str, stdin: BinaryIO | None) -> Iterator["_Group"]:
        """The lines of one input, a group for each piece that arrives. Blocks."""
        chunks = plain(chunks_of(name, stdin))
        form = format_of_name(name, self.input_format)
        if form is None:
            head, begin = _head(chunks)
            chunks = chain(head, chunks)
            form = "jsonl" if begin in _JSON_BEGINS else _TEXT[self.for_text]
            if begin and form != "jsonl":
                yield _Group(form, [], guessed=True)
        if form == "whole":
            yield _Group(form, _whole(chunks, self.max_line_bytes))
            return
        lines = Lines(self.max_line_bytes)
        for chunk in chunks:
            yield _Group(form, lines.feed(chunk))
        yield _Group(form, lines.finish())


class _Group(NamedTuple):
    """Lines that have arrived together, and how they are read."""

    form: Format
    lines: Sequence[Line]
    guessed: bool = False
    """Whether the content decided the form, which is reported."""


def _head(chunks: Iterator[bytes]) -> tuple[list[bytes], bytes]:
    """The first chunks, up to about CHUNK_BYTES of white space, and the first byte after it."""
    head, size_bytes = [], 0
    for chunk in chunks:
        head.append(chunk)
        size_bytes += len(chunk)
        begin = chunk.lstrip()[:1]
        if begin or size_bytes > CHUNK_BYTES:
            return head, begin
    return head, b""


def _whole(chunks: Iterator[bytes], max_bytes: int) -> Sequence[Line]:
    """One line of all bytes; None where they are too long, none where they are blank."""
    pieces, size_bytes = [], 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            return [None]
        pieces.append(chunk)
    return [b"".join(pieces).rstrip(b"\r\n")]


class _Reader:
    """Makes rows of lines, and counts both."""

    def __init__(self, max_line_bytes: int, observe: Observer) -> None:
        self._max_line_bytes = max_line_bytes
        self._observe = observe
        self.index = 0
        """The next row's place in all inputs."""
        self._line = 0
        self._name = ""
        self._file = ""
        self._begin = 0
        """The first row of this input."""
        self.given_up = False
        """Whether the rest of this input is skipped: one JSON value over many lines, or UTF-16."""

    def begin(self, name: str) -> None:
        """Go on with the next input."""
        self._name, self._file, self._line = name, shown_name(name), 0
        self._begin, self.given_up = self.index, False

    def rows(self, group: _Group) -> Iterator[Row]:
        """The rows of the lines. The caller adds 1 to `index` for each before it takes the next."""
        if group.guessed:
            self._report_guess(group.form)
        parse = self._json_row if group.form == "jsonl" else self._text_row
        for line in group.lines:
            self._line += 1
            if line is None:
                yield self._bad(
                    f"the {'text' if group.form == 'whole' else 'line'} is longer than "
                    f"{self._max_line_bytes:,} bytes (--max-line-bytes)"
                )
            elif (row := parse(line)) is not None:
                yield row
                if self.given_up:
                    return

    def unreadable(self, error: Unreadable) -> BadRow:
        """The row that stands for the rest of an input."""
        self._line += 1
        row = self._bad(error.message)
        self.index += 1
        return row

    def _report_guess(self, form: Format) -> None:
        subject = "standard input" if self._file == STDIN else self._file
        how = "one prompt per line" if form == "text" else "the whole as one prompt"
        self._observe(
            Notice(
                f"{subject} does not begin with JSON: read as plain text, {how} "
                "(--input-format jsonl to force)"
            )
        )

    def _json_row(self, line: bytes) -> Row | None:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return self._bad_json(line, error) if line.strip() else None
        row = parse_row(value, index=self.index, file=self._file, line=self._line)
        if row.metadata:
            row.metadata = with_big_ints(row.metadata, line)
        return row

    def _bad_json(self, line: bytes, error: orjson.JSONDecodeError) -> BadRow:
        reason = _json_reason(line, error)
        stripped = line.strip()
        if stripped == b"{" or (stripped[:1] == b"[" and "end of data" in error.msg):
            hint = ONE_A_LINE if stripped[:1] == b"[" else ONE_A_LINE.replace("'.[]'", ".")
            reason = f"{reason} ({hint})"
            # Every other line would be an error, too.
            self.given_up = suffix_of(self._name) == ".json" and self.index == self._begin
        return self._bad(reason)

    def _text_row(self, line: bytes) -> Row | None:
        if not line.strip():
            return None
        if b"\0" in line:
            # Every other line would be an error, too.
            self.given_up = self.index == self._begin
            return self._bad(_NUL)
        line = line.removesuffix(b"\r")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return self._bad(_not_utf8(line, error))
        return parse_row(text, index=self.index, file=self._file, line=self._line)

    def _bad(self, reason: str) -> BadRow:
        return BadRow(self.index, reason, self.index, self._file, self._line)


def _json_reason(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return _not_utf8(line, wrong)
    return f"bad JSON: {error.msg} at column {error.colno}"


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> str:
    column = len(data[: error.start].decode()) + 1
    hint = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    return f"not UTF-8: byte 0x{data[error.start]:02x} at column {column}{hint}"
