"""Rows for an output that has one answer per row."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.plans import Plan

ONE_ANSWER: Final = "--format text writes one answer per row"


async def with_one_answer(rows: AsyncGenerator[Row, None], plan: Plan) -> AsyncGenerator[Row, None]:
    """The rows; one that wants several answers is invalid, as text has one per row."""
    async with aclosing(rows):
        async for row in rows:
            count = 1 if isinstance(row, BadRow) else await plan.answers_to(row)
            if count > 1:
                reason = f"n is {count}, but {ONE_ANSWER}"
                row = BadRow(row.index, reason, row.id, row.file, row.line, row.metadata)
            yield row
