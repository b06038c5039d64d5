"""Reading prompts for a command: what is read, how many rows there are, whether all are good."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmbatch_cli.core.events import Counted, Observer, ignore
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.duplicates import DuplicateIds
from llmbatch_cli.rows.input.inputs import can_be_read_twice, count_rows, spooled
from llmbatch_cli.rows.input.source import from_values, read


@dataclass(frozen=True, slots=True)
class Reading:
    """Where prompts come from and how they are read."""

    inputs: Sequence[str]
    input_format: Literal["auto", "jsonl", "text", "whole"]
    max_line_bytes: int
    limit: int | None
    for_text: Literal["lines", "whole"] = "lines"
    """What plain text of no known name is: a prompt a line, or one prompt."""
    prompt: str | None = None
    """One prompt from the command line, in place of all inputs."""

    def rows(self, observe: Observer, ids: DuplicateIds | None = None) -> AsyncGenerator[Row, None]:
        """The rows, from the start; `ids` takes note of theirs."""
        if self.prompt is not None:
            return from_values([self.prompt])
        return read(
            self.inputs,
            input_format=self.input_format,
            for_text=self.for_text,
            max_line_bytes=self.max_line_bytes,
            limit=self.limit,
            observe=observe,
            ids=ids,
        )

    def rows_again(self) -> AsyncGenerator[Row, None] | None:
        """The rows to look at ahead; None where reading them would use them up."""
        if not all(map(can_be_read_twice, self.inputs)):
            return None
        return self.rows(ignore)


@contextlib.contextmanager
def counting(reading: Reading, observe: Observer) -> Iterator[None]:
    """Count the rows of all inputs in a thread, and say so once; stops when the run does."""
    loop = asyncio.get_running_loop()
    enough = threading.Event()

    def count() -> None:
        total = 0 if reading.prompt is None else 1
        for path in reading.inputs:
            rows = count_rows(
                path, enough, input_format=reading.input_format, for_text=reading.for_text
            )
            if rows is None or enough.is_set():
                return
            total += rows
        counted = Counted(total if reading.limit is None else min(total, reading.limit))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
            loop.call_soon_threadsafe(observe, counted)

    threading.Thread(target=count, name="count rows", daemon=True).start()
    try:
        yield
    finally:
        enough.set()


@contextlib.asynccontextmanager
async def read_twice(reading: Reading) -> AsyncIterator[Reading]:
    """The same rows, but so that they can be read twice: what is no plain file is copied."""
    async with spooled(reading.inputs) as inputs:
        yield replace(reading, inputs=inputs)
