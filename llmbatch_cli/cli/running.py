"""What every command that runs rows shares: the loop, the display, the sink, the exit status."""

import asyncio
import contextlib
import os
import shlex
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.cli.live import Live
from llmbatch_cli.cli.options import ProgressMode
from llmbatch_cli.cli.say import say, say_error
from llmbatch_cli.cli.signals import interrupts
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.errors import ExitStatus, LlmbatchError, OutputError, ReaderGone, RunStopped
from llmbatch_cli.events import Observer, both
from llmbatch_cli.rows.duplicates import DuplicateIds
from llmbatch_cli.rows.output import Format, clean_for_terminal, render
from llmbatch_cli.rows.resume import RetryFailed
from llmbatch_cli.rows.sink import Sink, open_sink
from llmbatch_cli.types import Outcome
from llmbatch_cli.ui.progress import open_progress
from llmbatch_cli.ui.report import summary
from llmbatch_cli.ui.standings import Standings, as_lines
from llmbatch_cli.ui.totals import Totals

INDENT: Final = 2
"""Of the lines below the summary."""

Begin = Callable[[Stop, Observer], AsyncGenerator[Outcome, None]]


@dataclass(frozen=True, slots=True)
class Writing:
    """Where answers go and how they look."""

    output: Path | None
    format: Format
    one_line: bool
    overwrite: bool
    inputs: Sequence[str]
    resume: bool = False
    retry_failed: RetryFailed = "retryable"
    fsync: bool = False
    ordered: bool = False
    live: Live | None = None
    """What shows answers on the terminal, each followed by its model on standard error."""


@dataclass(frozen=True, slots=True)
class Showing:
    """What is said on standard error."""

    progress: ProgressMode
    quiet: bool
    verbose: int
    label: str
    log_prompts: bool = False
    standings: bool = False
    """Whether the models' standings are told at the end."""


def run_async(main: Coroutine[Any, Any, ExitStatus]) -> ExitStatus:
    """Run to the end, on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return new_event_loop


async def conduct(begin: Begin, writing: Writing, showing: Showing) -> ExitStatus:
    """Run rows from their beginning to their summary.

    UsageError is left to the caller: nothing was sent.
    """
    totals = Totals(time.monotonic)
    stop = Stop()
    ended: LlmbatchError | None = None
    repeated = DuplicateIds()
    standings = Standings()
    to_terminal = writing.output is None and sys.stdout is not None and sys.stdout.isatty()
    shown = display(showing, totals, stdout_is_terminal=to_terminal)
    with interrupts(stop, totals) as asked, contextlib.suppress(asyncio.CancelledError):
        async with shown as observe:
            listener = both(observe, standings) if showing.standings else observe
            try:
                async with open_sink(
                    writing.output,
                    overwrite=writing.overwrite,
                    inputs=writing.inputs,
                    append=writing.resume,
                    fsync=writing.fsync,
                ) as sink:
                    line = _line(writing, repeated, to_terminal=to_terminal)
                    await deliver(begin(stop, listener), sink, line, stop)
            except (RunStopped, OutputError, ReaderGone) as error:
                ended = error
    if not showing.quiet and showing.progress is not ProgressMode.JSON:
        told = [summary(totals, repeated_ids=repeated.count, cancelled=stop.cancelling)]
        told += told_of(standings, _columns()) if showing.standings else []
        say("\n  ".join(told))
    if ended is not None and not isinstance(ended, ReaderGone):
        say_error(ended)
    if writing.output is not None and (asked.count or isinstance(ended, RunStopped)):
        say(f"to go on: {go_on_command(sys.argv, writing)}")
    return _status(totals, ended, interrupted=asked.count > 0)


def go_on_command(argv: Sequence[str], writing: Writing) -> str:
    """The command that goes on where this run has stopped."""
    arguments = [one for one in argv[1:] if one not in ("--overwrite", "--resume")]
    command = shlex.join(["llmbatch", *arguments, "--resume"])
    return f"{command} < THE SAME INPUT" if "-" in writing.inputs else command


def told_of(standings: Standings, columns: int | None) -> list[str]:
    """The models' table, where there was a race, and what its cancelled requests may cost."""
    if not standings.models:
        return []
    told = as_lines(standings, columns and columns - INDENT)
    if standings.cut:
        requests = "request" if standings.cut == 1 else "requests"
        told.append(f"up to {standings.cut:,} cancelled {requests} may be billed")
    return told


def _columns() -> int | None:
    """The width of the terminal that standard error is; None where it is none."""
    try:
        return os.get_terminal_size(2).columns or None
    except OSError:
        return None


def display(
    showing: Showing, totals: Totals, *, stdout_is_terminal: bool = False
) -> contextlib.AbstractAsyncContextManager[Observer]:
    """The progress display that was asked for, on standard error."""
    return open_progress(
        showing.progress.value,
        stderr=sys.stderr,
        environ=os.environ,
        verbose=showing.verbose,
        log_prompts=showing.log_prompts,
        quiet=showing.quiet,
        label=showing.label,
        totals=totals,
        stdout_is_terminal=stdout_is_terminal,
    )


def _line(
    writing: Writing, repeated: DuplicateIds, *, to_terminal: bool
) -> Callable[[Outcome], bytes]:
    """An outcome as the bytes to write; takes note of its id."""
    form, one_line, created = writing.format, writing.one_line, int(time.time())

    def line(outcome: Outcome) -> bytes:
        if outcome.id != outcome.index:
            repeated.add(outcome.id)
        written = render(outcome, form, one_line=one_line, created=created)
        if not to_terminal:
            return written
        if writing.live is not None:
            if outcome.completion is not None:
                writing.live.end(outcome.index, written.decode())
                say(f"{outcome.provider}/{outcome.model} in {outcome.latency_s or 0:.2f} s")
            return b""
        return clean_for_terminal(written.decode()).encode()

    return line


async def deliver(
    outcomes: AsyncGenerator[Outcome, None],
    sink: Sink,
    line: Callable[[Outcome], bytes],
    stop: Stop,
) -> None:
    """Write every outcome as it comes; a sink that breaks ends the run at once."""
    watch = asyncio.ensure_future(sink.failed())
    watch.add_done_callback(lambda done: None if done.cancelled() else stop.cancel())
    try:
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                sink.write(line(outcome))
                await sink.room()
    finally:
        if stop.draining:
            sink.leave()
        watch.cancel()


def _status(totals: Totals, ended: LlmbatchError | None, *, interrupted: bool) -> ExitStatus:
    if isinstance(ended, ReaderGone):
        return ExitStatus.OK
    if ended is not None:
        return ExitStatus.STOPPED
    if interrupted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.SOME_FAILED if totals.failed_rows else ExitStatus.OK
