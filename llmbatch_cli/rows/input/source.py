"""Rows from files and standard input, read as they are needed."""

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Container,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO, Final

from llmbatch_cli.core.events import Counted, Observer, ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.choose import ALL, Choice
from llmbatch_cli.rows.input.first_rows import FirstRows
from llmbatch_cli.rows.input.foreign import Foreign, refused
from llmbatch_cli.rows.input.groups import Reading, groups_of
from llmbatch_cli.rows.input.inputs import (
    TextFormat,
    can_be_read_twice,
    check_inputs,
    count_rows,
    format_of_name,
    shown_name,
    spooled,
)
from llmbatch_cli.rows.input.pump import pumped
from llmbatch_cli.rows.input.reader import Reader
from llmbatch_cli.rows.input.shape import SHAPELESS, Shape, Shaper
from llmbatch_cli.rows.lines import MAX_LINE_BYTES
from llmbatch_cli.storage import is_remote

YIELD_EVERY: Final = 256
MOST_FAR: Final = 8
"""So many objects of stores are looked into before a run."""


@frozen
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
    encoding: str | None = None
    """That of text and tables; None is UTF-8, or UTF-16 where the first bytes show it."""
    has_header: bool = True
    """Whether the first row of a table has the names of its columns."""
    prompt: str | None = None
    """One prompt from the command line, in place of all inputs."""
    shape: Shape = SHAPELESS
    """How the fields of a row become a prompt."""
    choice: Choice = ALL
    """Which of the rows are asked, and how often."""

    def rows(
        self, observe: Observer = ignore, stdin: BinaryIO | None = None
    ) -> AsyncGenerator[Row, None]:
        """Yield the rows of all inputs from their start, each as soon as its line is complete.

        What cannot be read becomes a BadRow: a line, the rest of a damaged file, a file that
        is gone. Holds about 3 MiB, or the longest line, at any size of the inputs. `stdin` takes
        the place of standard input; nothing may have been read from it.
        """
        if self.choice.sample is not None:
            return self._sampled(self.choice.sample, observe, stdin)
        rows = self._rows(observe, stdin)
        return rows if self.goes_straight else self._chosen(rows)

    @property
    def is_whole(self) -> bool:
        """Whether every row of the inputs is asked."""
        return self.goes_straight and self.limit is None

    @property
    def goes_straight(self) -> bool:
        """Whether the rows are asked as they are read, up to the limit."""
        return self.choice == ALL and self.shape.where is None

    @property
    def most_read(self) -> int | None:
        """How many rows are read at most; None is all, as where only some of them count."""
        if self.limit is None or self.shape.where is not None:
            return None
        return self.choice.offset + self.limit

    async def _rows(self, observe: Observer, stdin: BinaryIO | None) -> AsyncGenerator[Row, None]:
        if self.prompt is not None:
            row = Shaper(self.shape, observe).row(self.prompt, index=0, line=None)
            if self.limit != 0 and row is not None:
                yield row
            return
        reader = Reader(self.max_line_bytes, observe, self.most_read, self.shape)
        first = FirstRows()
        for name in self.inputs:
            if reader.is_done:
                break
            reader.begin(name)
            async with aclosing(pumped(groups_of(name, self.reading, stdin))) as groups:
                async for group in groups:
                    rows = reader.rows(group)
                    if first.are_invalid:
                        rows = first.taken(rows, may_hold=can_be_read_twice(name))
                    for row in rows:
                        yield row
                    if reader.given_up:
                        break
        for row in first.release():
            yield row

    async def _chosen(
        self, rows: AsyncGenerator[Row, None], sample: Container[int] | None = None
    ) -> AsyncGenerator[Row, None]:
        from llmbatch_cli.rows.input.chooser import Chooser

        chooser = Chooser(self.choice, self.limit, sample)
        async with aclosing(rows):
            async for row in rows:
                for taken in chooser.taken(row):
                    yield taken
                if chooser.is_done:
                    break

    async def _sampled(
        self, size: int, observe: Observer, stdin: BinaryIO | None
    ) -> AsyncGenerator[Row, None]:
        """Reads twice, so that the rows need not be held: first how many there are."""
        from llmbatch_cli.rows.input.chooser import sampled

        async with spooled(self.inputs if self.prompt is None else (), stdin) as names:
            inputs, count = replace(self, inputs=names), 0
            async with aclosing(inputs._rows(ignore, None)) as rows:
                async for _ in rows:
                    count += 1
                    if count % YIELD_EVERY == 0:
                        await asyncio.sleep(0)
            sample = sampled(self.choice.left_of(count, self.limit), size)
            async with aclosing(inputs._chosen(inputs._rows(observe, None), sample)) as rows:
                async for row in rows:
                    yield row

    def check(self) -> None:
        """Raise UsageError for an input that cannot be opened, is no prompts, or whose first row
        does not show which field is the prompt, before anything starts. Of standard input and
        pipes nothing is read."""
        check_inputs(self.inputs)
        for name in self._looked_into:
            self._first_row(name)

    @property
    def _looked_into(self) -> Iterator[str]:
        """The inputs whose first rows are read before a run: of objects only some, since each
        costs a request or two."""
        far = 0
        for name in filter(can_be_read_twice, self.inputs):
            far += is_remote(name)
            if far <= MOST_FAR or not is_remote(name):
                yield name

    def fields(self) -> Mapping[str, Sequence[str]]:
        """The fields of the first row of each input that has some, by the input's name. Blocks."""
        found = {name: self._first_row(name, look=True) for name in self.inputs}
        return {shown_name(name): fields for name, fields in found.items() if fields}

    def _first_row(self, name: str, *, look: bool = False) -> Sequence[str]:
        """Read as far as the first row, which shows what is wrong with all; returns its fields."""
        reader = Reader(self.max_line_bytes, ignore, 1, self.shape)
        reader.begin(name)
        if look:
            reader.shaper.look()
        for group in groups_of(name, self.reading):
            if isinstance(group.error, Foreign):
                raise refused(group.error, shown_name(name))
            if (group.form == "whole" and self.shape.is_plain) or [*reader.rows(group)]:
                break
            if reader.is_done:  # though the row is not wanted
                break
        return reader.shaper.fields

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
        if self.shape.where is not None:
            return None
        total = 0 if self.prompt is None else 1
        for path in self.inputs:
            if format_of_name(path, self.input_format) == "parquet":
                from llmbatch_cli.rows.input.binary_tables import parquet_rows

                rows = parquet_rows(path) if can_be_read_twice(path) else None
            else:
                rows = count_rows(
                    path, enough, input_format=self.input_format, for_text=self.for_text
                )
                is_text_table = format_of_name(path, self.input_format) in ("csv", "tsv")
                if rows is not None and is_text_table and not self.has_header:
                    rows += 1
            if rows is None:
                return None
            total += rows
        return self.choice.count_of(total, self.limit)

    def rows_and_lines(self) -> Iterator[tuple[Row, bytes | None]]:
        """Every row, with how it stands in its input on one line; None for what could not be
        read. Blocks."""
        for name in self.inputs:
            reader = Reader(self.max_line_bytes, ignore, shape=self.shape)
            reader.begin(name)
            for group in groups_of(name, self.reading):
                for row in reader.rows(group):
                    yield row, reader.line_of_row(group.form)
                if reader.given_up:
                    break

    @property
    def reading(self) -> Reading:
        """How they are read."""
        return Reading(
            self.input_format,
            self.for_text,
            self.max_line_bytes,
            self.encoding,
            self.has_header,
        )
