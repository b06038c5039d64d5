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
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.input.chunks import TO_UTF_8, plain, pumped
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
from llmbatch_cli.rows.lines import CHUNK_BYTES, MAX_LINE_BYTES, Line, Lines, Unreadable

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
        if self.prompt is not None:
            yield parse_row(self.prompt, index=0)
        if self.prompt is not None or (self.limit is not None and self.limit <= 0):
            return
        reader = _Reader(self, observe, stdin)
        for name in self.inputs:
            async with aclosing(reader.arrivals(name)) as arrivals:
                async for rows in arrivals:
                    for row in rows:
                        yield row
                        if reader.index == self.limit:
                            return

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


class _Reader:
    """Reads one input after the other; knows how far it is."""

    def __init__(self, inputs: Inputs, observe: Observer, stdin: BinaryIO | None) -> None:
        self._inputs = inputs
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
        chunks_read = plain(chunks_of(name, self._stdin))
        async with aclosing(pumped(chunks_read)) as chunks:
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

    async def _form(
        self, name: str, head: list[bytes], chunks: AsyncGenerator[bytes, None]
    ) -> Format:
        """How to read the input; `head` gets the chunks that it took to tell."""
        form = format_of_name(name, self._inputs.input_format)
        if form is not None:
            return form
        begin = await _first_character(head, chunks)
        if begin and begin in b'{["':
            return "jsonl"
        lines = self._inputs.for_text == "lines"
        if begin is not None:
            subject = "standard input" if self._file == STDIN else self._file
            how = "one prompt per line" if lines else "the whole as one prompt"
            self._observe(
                Notice(
                    f"{subject} does not begin with JSON: read as plain text, {how} "
                    "(--input-format jsonl to force)"
                )
            )
        return "text" if lines else "whole"

    async def _lines(
        self, form: Format, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[Iterator[Row], None]:
        parse = self._json_rows if form == "jsonl" else self._text_rows
        lines = Lines(self._inputs.max_line_bytes)
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
            if size > self._inputs.max_line_bytes:
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
            f"the {what} is longer than {self._inputs.max_line_bytes:,} bytes (--max-line-bytes)"
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
