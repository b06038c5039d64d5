"""Reading prompts for a command: what is read, how many rows there are, whether all are good."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llmbatch_cli.events import Counted, Observer
from llmbatch_cli.rows import source
from llmbatch_cli.types import Row


@dataclass(frozen=True, slots=True)
class Reading:
    """Where prompts come from and how they are read."""

    inputs: Sequence[str]
    input_format: Literal["auto", "jsonl", "text", "whole"]
    max_line_bytes: int
    limit: int | None

    def rows(self, observe: Observer) -> AsyncGenerator[Row, None]:
        """The rows, from the start."""
        return source.read(
            self.inputs,
            input_format=self.input_format,
            max_line_bytes=self.max_line_bytes,
            limit=self.limit,
            observe=observe,
        )


@contextlib.contextmanager
def counting(inputs: Sequence[str], limit: int | None, observe: Observer) -> Iterator[None]:
    """Count the rows of all inputs in a thread, and say so once; stops when the run does."""
    loop = asyncio.get_running_loop()
    enough = threading.Event()

    def count() -> None:
        total = 0
        for path in inputs:
            rows = source.count_rows(path, enough)
            if rows is None or enough.is_set():
                return
            total += rows
        counted = Counted(total if limit is None else min(total, limit))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
            loop.call_soon_threadsafe(observe, counted)

    threading.Thread(target=count, name="count rows", daemon=True).start()
    try:
        yield
    finally:
        enough.set()
