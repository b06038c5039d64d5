"""From rows to answers, as every command that runs rows does it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from llmbatch_cli.api import Rows
from llmbatch_cli.cli.reading import Reading, counting, refuse_bad_rows, spooled
from llmbatch_cli.cli.running import Showing, Writing, conduct
from llmbatch_cli.cli.say import say
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.errors import ExitStatus, UsageError
from llmbatch_cli.events import Observer
from llmbatch_cli.resuming import without_a_row
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.lock import locked
from llmbatch_cli.rows.reorder import put_in_order
from llmbatch_cli.rows.resume import prepare, resuming
from llmbatch_cli.types import Outcome

Ask = Callable[..., AsyncGenerator[Outcome, None]]
"""run_batch or run_race, with all arguments but the prompts and those that belong to a run."""


async def answer_rows(
    reading: Reading, ask: Ask, writing: Writing, showing: Showing, *, strict: bool
) -> ExitStatus:
    """Read, ask, write, and show how it goes."""
    async with contextlib.AsyncExitStack() as stack:
        if writing.output is not None:
            stack.enter_context(locked(writing.output))
        if strict:
            reading = await stack.enter_async_context(spooled(reading))
            await refuse_bad_rows(reading)
        finished = await _finished(writing, showing)
        ahead = reading.rows_again() if finished is not None else None

        def begin(stop: Stop, observe: Observer) -> AsyncGenerator[Outcome, None]:
            stack.enter_context(counting(reading, observe))
            return ask(
                Rows(reading.rows(observe)),
                stop=stop,
                observe=observe,
                keyed=writing.output is not None and writing.format == "jsonl",
                finished=finished,
                preview=Rows(ahead) if ahead is not None else None,
            )

        status = await conduct(begin, writing, showing)
        if finished is not None and status in (ExitStatus.OK, ExitStatus.SOME_FAILED):
            if ahead is None and not showing.quiet:
                tell_left_over(finished, writing)
            if writing.ordered and writing.output is not None:
                await asyncio.to_thread(put_in_order, writing.output, finished)
        return status


async def _finished(writing: Writing, showing: Showing) -> FinishedRows | None:
    """What an earlier run has left in the output; None where this run is the first."""
    if not writing.resume:
        return None
    if writing.output is None:
        raise UsageError("--resume goes on with a file", hint="name it with -o")
    if writing.format != "jsonl":
        raise UsageError("--resume needs the jsonl format, which has the rows' keys")
    if writing.overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    finished = await asyncio.to_thread(
        prepare, writing.output, writing.retry_failed, fsync=writing.fsync
    )
    if not showing.quiet:
        say(resuming(writing.output, finished))
    return finished


def tell_left_over(finished: FinishedRows, writing: Writing) -> None:
    """What could not be told at the start, where input can be read only once."""
    if finished.untaken:
        say(
            f"{without_a_row(finished.untaken)} in this input with this model and parameters; "
            f"{writing.output} keeps them"
        )
