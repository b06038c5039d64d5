"""From rows to answers, as every command that runs rows does it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from llmbatch_cli.api import Rows
from llmbatch_cli.cli.reading import Reading
from llmbatch_cli.cli.running import Showing, Writing, conduct
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.signals import Interrupts, interrupts
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.resuming import without_a_row
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.lock import locked
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.resume import prepare, resuming

T = TypeVar("T")

Ask = Callable[..., AsyncGenerator[Outcome, None]]
"""run_batch or run_race, with all arguments but the prompts and those that belong to a run."""


async def answer_rows(
    reading: Reading, ask: Ask, writing: Writing, showing: Showing, *, strict: bool
) -> ExitStatus:
    """Read, ask, write, and show how it goes; a signal at any moment ends it in good order."""
    if writing.output == Path("-"):
        writing = replace(writing, output=None)
    with interrupts(showing.voice) as asked:
        try:
            return await _answered(reading, ask, writing, showing, asked, strict=strict)
        except UsageError as error:
            showing.voice.error(error)
            return ExitStatus.USAGE
        except asyncio.CancelledError:
            if not asked.count:
                raise
            return ExitStatus.INTERRUPTED


async def _answered(
    reading: Reading,
    ask: Ask,
    writing: Writing,
    showing: Showing,
    asked: Interrupts,
    *,
    strict: bool,
) -> ExitStatus:
    async with contextlib.AsyncExitStack() as stack:
        if writing.output is not None:
            unlocked = stack.enter_context(locked(writing.output))
            if unlocked is not None:
                showing.voice.notice(unlocked)
        if strict:
            reading = await stack.enter_async_context(reading.spooled())
        checked = reading.rows() if strict else None
        finished = await _finished(writing, showing.voice)
        again = reading.again() if finished is not None else None
        ahead = again.rows() if again is not None else None

        def begin(stop: Stop, observe: Observer) -> AsyncGenerator[Outcome, None]:
            stack.enter_context(reading.counting(observe))
            return ask(
                Rows(reading.rows(observe)),
                stop=stop,
                observe=observe,
                keyed=writing.output is not None and writing.format == "jsonl",
                finished=finished,
                preview=Rows(ahead) if ahead is not None else None,
                strict=Rows(checked) if checked is not None else None,
            )

        status = await conduct(begin, writing, showing, asked)
        if finished is not None and writing.output is not None and status != ExitStatus.USAGE:
            whole = status in (ExitStatus.OK, ExitStatus.SOME_FAILED)
            if whole and ahead is None:
                tell_left_over(finished, writing, showing.voice)
            ordered = whole and writing.ordered
            await _to_its_end(partial(settle, writing.output, finished, ordered=ordered))
        return status


async def _finished(writing: Writing, voice: Voice) -> FinishedRows | None:
    """What an earlier run has left in the output; None where this run is the first."""
    if not writing.resume:
        return None
    if writing.output is None:
        raise UsageError("--resume goes on with a file", hint="name it with -o")
    if writing.format != "jsonl":
        raise UsageError("--resume needs the jsonl format, which has the rows' keys")
    if writing.overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    finished = await _to_its_end(
        partial(prepare, writing.output, writing.retry_failed, fsync=writing.fsync)
    )
    voice.notice(resuming(writing.output, finished))
    return finished


async def _to_its_end(work: Callable[..., T], *arguments: object) -> T:
    """Work in a thread on the output, whose lock is not given up before it ends."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def tell_left_over(finished: FinishedRows, writing: Writing, voice: Voice) -> None:
    """What could not be told at the start, where input can be read only once."""
    if finished.untaken:
        voice.notice(
            f"{without_a_row(finished.untaken)} in this input with this model and parameters; "
            f"{writing.output} keeps them"
        )
