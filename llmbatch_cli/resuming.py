"""Rows with the files that they name, with their keys, and without what is done already."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.events import Notice, Observer, Skipped, ignore
from llmbatch_cli.core.types import BadRow, Message, Prompt, Request, Row
from llmbatch_cli.engine.calls import Model, request_for
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.input.attachments import inline, names_files
from llmbatch_cli.rows.keys import bad_row_key, request_key

YIELD_EVERY: Final = 256
"""So many rows are passed over until others in the loop have their turn."""

ModelsFor = Callable[[Prompt], Awaitable[Sequence[Model]]]
"""The lanes that a row may be asked of, in their order. Raises UsageError."""


async def with_files(
    rows: AsyncGenerator[Row, None], root: Path | None
) -> AsyncGenerator[Row, None]:
    """Every row with the files that its messages name; where one may not be read, a BadRow."""
    async with aclosing(rows):
        async for row in rows:
            if isinstance(row, Prompt) and names_files(row.messages):
                yield await _filled(row, root)
            else:
                yield row


async def _filled(row: Prompt, root: Path | None) -> Row:
    try:
        messages = await asyncio.to_thread(inline, row.messages, root)
    except InputError as error:
        return BadRow(row.index, error.message, row.id, row.file, row.line, row.metadata)
    return replace(row, messages=messages)


@dataclass(frozen=True, slots=True)
class Against:
    """What a row's key is made with, and which keys are done."""

    models_for: ModelsFor
    system: Message | None
    finished: FinishedRows | None


async def with_keys(
    rows: AsyncGenerator[Row, None], against: Against, observe: Observer
) -> AsyncGenerator[Row, None]:
    """Every row with its key; those that `finished` holds are claimed there, and left out."""
    finished, skipped = against.finished, 0
    async with aclosing(rows):
        async for row in rows:
            row.key = bad_row_key(row) if isinstance(row, BadRow) else await _key(row, against)
            if finished is None or not finished.claim(row):
                yield row
            else:
                observe(Skipped(row.index))
                skipped += 1
                if skipped % YIELD_EVERY == 0:
                    await asyncio.sleep(0)


async def tell_done(
    rows: AsyncGenerator[Row, None], against: Against, stop: Stop, observe: Observer
) -> None:
    """Tell how many of these rows are done, and how many are to be sent; claims none for good.

    Takes some 11 s a million rows, and the time to read the files that they name.
    """
    finished, to_send = against.finished, 0
    if finished is None or not finished.rows:
        return
    async with aclosing(with_keys(rows, against, ignore)) as left:
        async for _ in left:
            to_send += 1
            if stop.draining:
                break
            if to_send % YIELD_EVERY == 0:
                await asyncio.sleep(0)
    done, others = finished.taken, finished.untaken
    finished.release()
    told = f"of the input's {done + to_send:,} rows {done:,} are done, and {to_send:,} to be sent"
    if others:
        told += f"; {without_a_row(others)} in it with this model and parameters"
    observe(Notice(told))


def without_a_row(count: int) -> str:
    """Done rows that no row of input has asked for."""
    return f"{count:,} done {'row has' if count == 1 else 'rows have'} no row"


async def _key(prompt: Prompt, against: Against) -> str:
    try:
        lanes = await against.models_for(prompt)
    except UsageError:  # its outcome will say so
        model = prompt.model or ",".join(prompt.models)
        return request_key("unknown", Request(model, prompt.messages, prompt.params), prompt)
    request = request_for(prompt, lanes[0], against.system)
    if len(lanes) == 1:
        return request_key(lanes[0].provider, request, prompt)
    names = ",".join(lane.name for lane in lanes)
    return request_key("race", Request(names, request.messages, request.params), prompt)
