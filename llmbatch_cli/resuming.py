"""Rows with the files that they name, with their keys, and without what is done already."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from llmbatch_cli.engine.stack import Lane, request_for
from llmbatch_cli.errors import InputError, UsageError
from llmbatch_cli.events import Observer, Skipped
from llmbatch_cli.rows.files import inline, names_files
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import bad_row_key, request_key
from llmbatch_cli.types import BadRow, Message, Prompt, Request, Row

LanesFor = Callable[[Prompt], Awaitable[list[Lane]]]
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


async def with_keys(
    rows: AsyncGenerator[Row, None],
    lanes_for: LanesFor,
    system: Message | None,
    finished: FinishedRows | None,
    observe: Observer,
) -> AsyncGenerator[Row, None]:
    """Every row with its key; those that `finished` holds are claimed there, and left out."""
    async with aclosing(rows):
        async for row in rows:
            row.key = (
                bad_row_key(row) if isinstance(row, BadRow) else await _key(row, lanes_for, system)
            )
            if finished is None:
                yield row
            elif (left := finished.claim(row.key, row)) is not None:
                yield left
            else:
                observe(Skipped(row.index))


async def _key(prompt: Prompt, lanes_for: LanesFor, system: Message | None) -> str:
    try:
        lanes = await lanes_for(prompt)
    except UsageError:  # its outcome will say so
        model = prompt.model or ",".join(prompt.models)
        return request_key("unknown", Request(model, prompt.messages, prompt.params), prompt)
    request = request_for(prompt, lanes[0], system)
    if len(lanes) == 1:
        return request_key(lanes[0].provider, request, prompt)
    names = ",".join(lane.name for lane in lanes)
    return request_key("race", Request(names, request.messages, request.params), prompt)
