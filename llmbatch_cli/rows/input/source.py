"""Rows from files, standard input and Python values, read as they are needed."""

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import orjson

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Counted, Notice, Observer, ignore
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.big_ints import with_big_ints
from llmbatch_cli.rows.input.duplicates import DuplicateIds
from llmbatch_cli.rows.input.inputs import (
    STDIN,
    Format,
    InputFormat,
    TextFormat,
    can_be_read_twice,
    check_inputs,
    count_rows,
    format_of_name,
    shown_name,
    spooled,
    stdin_chunks,
    suffix_of,
)
from llmbatch_cli.rows.input.lines import (
    CHUNK_BYTES,
    TO_UTF_8,
    Line,
    Lines,
    Unreadable,
    file_chunks,
    plain,
    pumped,
)
from llmbatch_cli.rows.input.parse import ONE_A_LINE, names_itself, parse_row

__all__ = [
    "InputFormat",
    "TextFormat",
    "check_inputs",
    "count_rows",
    "from_values",
    "read",
    "spooled",
]

MAX_LINE_BYTES: Final = 64 * 2**20
_NUL: Final = f"a NUL byte in plain text: if it is UTF-16, {TO_UTF_8}"


async def read(
    inputs: Sequence[str],
    *,
    input_format: InputFormat = "auto",
    for_text: TextFormat = "lines",
    max_line_bytes: int = MAX_LINE_BYTES,
    limit: int | None = None,
    observe: Observer = ignore,
    ids: DuplicateIds | None = None,
    stdin: BinaryIO | None = None,
) -> AsyncGenerator[Row, None]:
    """Yield the rows of all inputs, each as soon as its line is complete.

    What cannot be read becomes a BadRow: a line, the rest of a damaged file, a file that
    is gone. Holds about 3 MiB, or the longest line, at any size of the inputs.

    Args:
        inputs: files, read one after the other; `-` is standard input.
        input_format: `auto` goes by the name, and without a known one by the first
            character, and tells the observer when that makes it text.
        for_text: what `auto` makes of such a text: a prompt a line, or the whole as one.
        max_line_bytes: a longer line is skipped, and is a BadRow.
        limit: how many rows to yield at most, bad ones too; None is all.
        observe: is told what was guessed.
        ids: takes note of every id that a row gives itself.
        stdin: takes the place of standard input; nothing may have been read from it.
    """
    if limit is not None and limit <= 0:
        return
    reader = _Reader(input_format, for_text, max_line_bytes, observe, ids, stdin)
    for name in inputs:
        async with aclosing(reader.arrivals(name)) as arrivals:
            async for rows in arrivals:
                for row in rows:
                    yield row
                    if reader.index == limit:
                        return


class _Reader:
    """Reads one input after the other; knows how far it is."""

    def __init__(
        self,
        input_format: InputFormat,
        for_text: TextFormat,
        max_line_bytes: int,
        observe: Observer,
        ids: DuplicateIds | None,
        stdin: BinaryIO | None,
    ) -> None:
        self._ids = ids
        self._format = input_format
        self._for_text = for_text
        self._max_line_bytes = max_line_bytes
        self._observe = observe
        self._stdin = stdin
        self.index = 0
        """The next row's place in all inputs."""
        self._line = 0
        self._file = ""
        self._begin = 0
        """The first row of this input."""
        self._of_json_file = False
        self._given_up = False
        """Whether the rest of this input is left out: one JSON value over many lines, UTF-16."""

    async def arrivals(self, name: str) -> AsyncGenerator[Iterator[Row], None]:
        """The rows of one input, a group for each piece that arrives.

        Each group must be used up before the next one is asked for.
        """
        self._file, self._line = shown_name(name), 0
        self._begin, self._given_up = self.index, False
        self._of_json_file = suffix_of(name) == ".json"
        async with aclosing(pumped(plain(self._chunks(name)))) as chunks:
            head: list[bytes] = []
            try:
                form = await self._form(name, head, chunks)
                groups = self._whole if form == "whole" else self._lines
                async with aclosing(groups(form, _after(head, chunks))) as rows:
                    async for group in rows:
                        yield group
            except Unreadable as error:
                self._line += 1
                yield iter((self._bad(error.message),))

    def _chunks(self, name: str) -> Iterator[bytes]:
        if name != "-":
            return file_chunks(name)
        return stdin_chunks(self._stdin)

    async def _form(
        self, name: str, head: list[bytes], chunks: AsyncGenerator[bytes, None]
    ) -> Format:
        """How to read the input; `head` gets the chunks that it took to tell."""
        if self._format != "auto":
            return self._format
        form = format_of_name(name)
        if form is not None:
            return form
        begin = await _first_character(head, chunks)
        if begin and begin in b'{["':
            return "jsonl"
        if begin is not None:
            self._tell_guess()
        return "text" if self._for_text == "lines" else "whole"

    def _tell_guess(self) -> None:
        subject = "standard input" if self._file == STDIN else self._file
        how = "a prompt a line" if self._for_text == "lines" else "the whole as one prompt"
        self._observe(
            Notice(
                f"{subject} does not begin with JSON: read as plain text, {how} "
                "(--input-format jsonl to force)"
            )
        )

    async def _lines(
        self, form: Format, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[Iterator[Row], None]:
        parse = self._json_rows if form == "jsonl" else self._text_rows
        lines = Lines(self._max_line_bytes)
        async for chunk in chunks:
            yield parse(lines.feed(chunk))
            if self._given_up:
                return
        yield parse(lines.finish())

    def _json_rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        loads = orjson.loads
        for line in lines:
            self._line += 1
            if line is None:
                yield self._too_long("line")
                continue
            try:
                value = loads(line)
            except orjson.JSONDecodeError as error:
                if stripped := line.strip():
                    yield self._bad_json(stripped, line, error)
                    if self._given_up:
                        return
                continue
            index = self.index
            self.index = index + 1
            row = parse_row(value, index=index, file=self._file, line=self._line)
            if row.metadata:
                row.metadata = with_big_ints(row.metadata, line)
            if self._ids is not None and (row.id != index or names_itself(value)):
                self._ids.add(row.id)
            yield row

    def _text_rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        for line in lines:
            self._line += 1
            if line is None:
                yield self._too_long("line")
            elif line.strip():
                # Every other line would be an error, too.
                self._given_up = b"\0" in line and self.index == self._begin
                yield self._text_row(line.removesuffix(b"\r"))
                if self._given_up:
                    return

    async def _whole(
        self, form: Format, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[Iterator[Row], None]:
        pieces: list[bytes] = []
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self._max_line_bytes:
                self._line = 1
                yield iter((self._too_long("text"),))
                return
            pieces.append(chunk)
        text = b"".join(pieces)
        if text.strip():
            self._line = 1
            yield iter((self._text_row(text.rstrip(b"\r\n")),))

    def _text_row(self, data: bytes) -> Row:
        if b"\0" in data:
            return self._bad(_NUL)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            return self._bad(_not_utf8(data, error))
        index = self.index
        self.index += 1
        return parse_row(text, index=index, file=self._file, line=self._line)

    def _bad_json(self, stripped: bytes, line: bytes, error: orjson.JSONDecodeError) -> BadRow:
        reason = _json_reason(line, error)
        begun = stripped == b"{" or (stripped[:1] == b"[" and "end of data" in error.msg)
        if begun:
            hint = ONE_A_LINE if stripped[:1] == b"[" else ONE_A_LINE.replace("'.[]'", ".")
            reason = f"{reason} ({hint})"
            # Every other line would be an error, too.
            self._given_up = self._of_json_file and self.index == self._begin
        return self._bad(reason)

    def _too_long(self, what: str) -> BadRow:
        return self._bad(
            f"the {what} is longer than {self._max_line_bytes:,} bytes (--max-line-bytes)"
        )

    def _bad(self, reason: str) -> BadRow:
        index = self.index
        self.index += 1
        return BadRow(index, reason, index, self._file, self._line)


async def _after(
    head: Iterable[bytes], chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    for chunk in head:
        yield chunk
    async for chunk in chunks:
        yield chunk


async def _first_character(head: list[bytes], chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    """The first byte that is no white space; None where there is none.

    Empty where more than CHUNK_BYTES of white space stand before it. `head` gets the
    chunks that it took.
    """
    size_bytes = 0
    async for chunk in chunks:
        head.append(chunk)
        size_bytes += len(chunk)
        begin = chunk.lstrip()[:1]
        if begin or size_bytes > CHUNK_BYTES:
            return begin
    return None


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


# What a run reads


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where prompts come from and how they are read; opened as often as needed."""

    names: Sequence[str]
    """Files, read one after the other; `-` is standard input."""
    input_format: InputFormat = "auto"
    max_line_bytes: int = MAX_LINE_BYTES
    limit: int | None = None
    for_text: TextFormat = "lines"
    """What plain text of no known name is: a prompt per line, or one prompt."""
    prompt: str | None = None
    """One prompt in place of all inputs."""

    def check(self) -> None:
        """Raise UsageError for an input that cannot be opened."""
        check_inputs(self.names)

    def rows(self, observe: Observer) -> AsyncGenerator[Row, None]:
        """The rows, from the start."""
        if self.prompt is not None:
            return from_values([self.prompt])
        return read(
            self.names,
            input_format=self.input_format,
            for_text=self.for_text,
            max_line_bytes=self.max_line_bytes,
            limit=self.limit,
            observe=observe,
        )

    @property
    def can_be_read_again(self) -> bool:
        """Whether reading the rows does not use them up."""
        return all(map(can_be_read_twice, self.names))

    @asynccontextmanager
    async def spooled(self) -> AsyncIterator["Inputs"]:
        """The same rows so that they can be read again: what is not a plain file is copied."""
        async with spooled(self.names) as names:
            yield replace(self, names=names)

    def count(self, enough: threading.Event) -> int | None:
        """How many rows there are; None where that cannot be known ahead. Blocks."""
        total = 0 if self.prompt is None else 1
        for name in self.names:
            rows = count_rows(name, enough, input_format=self.input_format, for_text=self.for_text)
            if rows is None or enough.is_set():
                return None
            total += rows
        return total if self.limit is None else min(total, self.limit)

    @contextmanager
    def counting(self, observe: Observer) -> Iterator[None]:
        """Count the rows in a thread, and report it once; stops when the body ends."""
        loop = asyncio.get_running_loop()
        enough = threading.Event()

        def count() -> None:
            rows = self.count(enough)
            if rows is not None:
                with suppress(RuntimeError):  # the loop is closed: nobody is waiting
                    loop.call_soon_threadsafe(observe, Counted(rows))

        threading.Thread(target=count, name="count rows", daemon=True).start()
        try:
            yield
        finally:
            enough.set()


# Values from Python


def from_values(values: Iterable[object] | AsyncIterable[object]) -> AsyncGenerator[Row, None]:
    """Yield a row for each text, list of messages, mapping or Prompt, pulled as needed.

    A Prompt keeps everything but its index. Raises UsageError for a single prompt in the
    place of many.
    """
    if isinstance(values, str | bytes | Mapping | Prompt):
        raise UsageError("prompts is one prompt, and must be several", hint="put it in a list")
    return _from_values(values)


async def _from_values(
    values: Iterable[object] | AsyncIterable[object],
) -> AsyncGenerator[Row, None]:
    index = 0
    if isinstance(values, AsyncGenerator):
        async with aclosing(values) as closing:
            async for value in closing:
                yield _row_of(value, index)
                index += 1
    elif isinstance(values, AsyncIterable):
        async for value in values:
            yield _row_of(value, index)
            index += 1
    else:
        for index, value in enumerate(values):
            yield _row_of(value, index)


def _row_of(value: object, index: int) -> Row:
    if isinstance(value, Prompt):
        return replace(value, index=index)
    return parse_row(value, index=index)
