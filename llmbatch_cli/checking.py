"""Whether every row can be read and sent, found out before any is."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from llmbatch_cli.core.errors import BadRows, ProviderError, UsageError
from llmbatch_cli.core.types import BadRow, Message, Row
from llmbatch_cli.engine.calls import Model, request_for
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.resuming import YIELD_EVERY, ModelsFor

TOLD: Final = 20
"""So many bad rows are told; the others are counted."""


async def refuse_bad_rows(
    rows: AsyncGenerator[Row, None],
    models_for: ModelsFor,
    fallbacks: Sequence[Model],
    system: Message | None,
    stop: Stop,
) -> None:
    """Go through all rows, and send nothing. Raises BadRows if any is bad.

    That is a row that cannot be read, whose model is unknown or lacks its key, or that asks for
    what neither its models nor the fallbacks have words for.
    """
    count = bad = 0
    reasons: list[str] = []
    async with aclosing(rows):
        async for row in rows:
            count += 1
            reason = await _fault(row, models_for, fallbacks, system)
            if reason is not None:
                bad += 1
                if len(reasons) < TOLD:
                    reasons.append(f"{row.place}: {reason}")
            if stop.draining:
                return
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)
    if bad:
        raise BadRows(
            f"{bad:,} of {count:,} rows cannot be read or sent, so nothing was sent",
            hint="mend them, or leave out --strict to answer the others",
            reasons=reasons,
        )


async def _fault(
    row: Row, models_for: ModelsFor, fallbacks: Sequence[Model], system: Message | None
) -> str | None:
    if isinstance(row, BadRow):
        return row.reason
    found: str | None = None
    try:
        for lane in (*await models_for(row), *fallbacks):
            try:
                lane.check(request_for(row, lane, system))
            except ProviderError as error:
                found = found or error.message
            else:
                return None
    except UsageError as error:
        return error.message
    return found
