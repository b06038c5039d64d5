"""What every command that runs rows shares: the loop, the display, the sink, the exit status."""

import asyncio
import contextlib
import gc
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
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.signals import Interrupts
from llmbatch_cli.core.errors import (
    BadRows,
    ExitStatus,
    InputError,
    LlmbatchError,
    OutputError,
    ReaderGone,
    RunStopped,
    UsageError,
)
from llmbatch_cli.core.events import Observer, both
from llmbatch_cli.core.options import OutputFormat, RetryFailed
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.rows.output.render import clean_for_terminal, render
from llmbatch_cli.rows.output.sink import Sink, open_sink
from llmbatch_cli.ui.progress import open_progress
from llmbatch_cli.ui.report import format_rows, summary
from llmbatch_cli.ui.standings import Standings, as_lines
from llmbatch_cli.ui.totals import Totals

INDENT: Final = 2
"""Of the lines below the summary."""

Begin = Callable[[Stop, Observer], AsyncGenerator[Outcome, None]]


@dataclass(frozen=True, slots=True)
class Writing:
    """Where answers go and how they look."""

    output: Path | None
    format: OutputFormat
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

    @property
    def voice(self) -> Voice:
        """What is said besides the progress."""
        return Voice(as_json=self.progress is ProgressMode.JSON, quiet=self.quiet)


GC_THRESHOLDS: Final = (50_000, 20, 100)
"""When the garbage collector looks through all that a run holds, which is nothing that it would
find: rows, requests and replies are freed as they end. Its usual pace takes a tenth of all CPU."""


def run_async(main: Coroutine[Any, Any, ExitStatus]) -> ExitStatus:
    """Run to the end, on uvloop where there is one."""
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from uvloop import new_event_loop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return new_event_loop


@dataclass(slots=True)
class _End:
    """How a run has ended."""

    error: LlmbatchError | None = None
    sink: Sink | None = None
    """None where the output could not be opened."""
    cancelled: bool = False
    """Whether finished rows may be lost."""

    @property
    def rows_written(self) -> int:
        return self.sink.rows_written if self.sink is not None else 0

    def rows_lost(self, finished: int) -> int:
        """Of so many finished rows, those that were not written, at most."""
        if not self.cancelled or self.sink is None:
            return 0
        return max(self.sink.rows_waiting, finished - self.sink.rows_written)


async def conduct(
    begin: Begin, writing: Writing, showing: Showing, asked: Interrupts
) -> ExitStatus:
    """Run rows from their beginning to their summary, and tell every error."""
    totals, stop, voice = asked.totals, asked.stop, showing.voice
    standings, end = Standings(), _End()
    to_terminal = writing.output is None and sys.stdout is not None and sys.stdout.isatty()
    async with display(showing, totals, stdout_is_terminal=to_terminal) as observe:
        listener = both(observe, standings) if showing.standings else observe
        line = _line(writing, voice, to_terminal=to_terminal)
        with contextlib.suppress(asyncio.CancelledError):
            await _write_rows(lambda: begin(stop, listener), line, writing, asked, end)
        totals.cut_short = stop.draining or end.error is not None
        if voice.as_json:  # the object of the display's end is the last
            _tell_end(end, writing, voice, asked)
    if voice.as_json:
        return _status(totals, end.error, interrupted=asked.count > 0)
    if not isinstance(end.error, UsageError):
        told = [summary(totals, cancelled=stop.cancelling)]
        told += told_of(standings, _columns()) if showing.standings else []
        voice.notice("\n  ".join(told))
    _tell_end(end, writing, voice, asked)
    return _status(totals, end.error, interrupted=asked.count > 0)


async def _write_rows(
    begin: Callable[[], AsyncGenerator[Outcome, None]],
    line: Callable[[Outcome], bytes],
    writing: Writing,
    asked: Interrupts,
    end: _End,
) -> None:
    """Every outcome to the output; `end` has how it went, after a cancel too."""
    try:
        async with open_sink(
            writing.output,
            overwrite=writing.overwrite,
            inputs=writing.inputs,
            append=writing.resume,
            fsync=writing.fsync,
        ) as sink:
            end.sink, asked.rows_waiting = sink, lambda: sink.rows_waiting
            await deliver(begin(), sink, line, asked.stop)
    except asyncio.CancelledError:
        end.cancelled = True
        raise
    except (RunStopped, OutputError, ReaderGone, UsageError) as error:
        end.error = error


def _tell_end(end: _End, writing: Writing, voice: Voice, asked: Interrupts) -> None:
    """The error that has ended the run, what is lost, and how to go on."""
    if lost := end.rows_lost(asked.totals.rows):
        name = writing.output or "standard output"
        told = f"up to {format_rows(lost)} that finished could not be written to {name}"
        voice.error(OutputError(told))
    if isinstance(end.error, BadRows):
        for reason in end.error.reasons:
            voice.error(InputError(reason))
    if end.error is not None and not isinstance(end.error, ReaderGone):
        voice.error(end.error)
    if asked.count or isinstance(end.error, RunStopped | OutputError):
        output, began = writing.output, writing.resume or end.rows_written > 0
        if output is not None and writing.format == "jsonl" and began and output.is_file():
            voice.notice(f"to go on: {go_on_command(sys.argv, writing)}")


def go_on_command(argv: Sequence[str], writing: Writing) -> str:
    """The command that goes on where this run has stopped."""
    arguments = [one for one in argv[1:] if one not in ("--overwrite", "--resume")]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    command = shlex.join(["llmbatch", *arguments[:place], "--resume", *arguments[place:]])
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


def _line(writing: Writing, voice: Voice, *, to_terminal: bool) -> Callable[[Outcome], bytes]:
    """An outcome as the bytes to write."""
    form, one_line, created = writing.format, writing.one_line, int(time.time())

    def line(outcome: Outcome) -> bytes:
        written = render(outcome, form, one_line=one_line, created=created)
        if not to_terminal:
            return written
        if writing.live is not None:
            if outcome.completion is not None:
                writing.live.end(outcome.index, written.decode())
                seconds = f"{outcome.latency_s or 0:.2f} s"
                voice.notice(f"{outcome.provider}/{outcome.model} in {seconds}")
            return b""
        return clean_for_terminal(written.decode()).encode()

    return line


async def deliver(
    outcomes: AsyncGenerator[Outcome, None],
    sink: Sink,
    line: Callable[[Outcome], bytes],
    stop: Stop,
) -> None:
    """Write every outcome as it comes; a sink that breaks ends the run at once.

    Once a run that is stopped is cancelled, what it has finished goes out without a wait for room.
    """
    watch = asyncio.ensure_future(sink.failed())
    watch.add_done_callback(lambda done: None if done.cancelled() else stop.cancel())
    try:
        async with contextlib.aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    sink.write(line(outcome))
                    await sink.room()
            except asyncio.CancelledError:
                if stop.cancelling:
                    async for outcome in outcomes:
                        sink.write(line(outcome))
                raise
    finally:
        if stop.draining:
            sink.leave()
        watch.cancel()


def _status(totals: Totals, ended: LlmbatchError | None, *, interrupted: bool) -> ExitStatus:
    if isinstance(ended, ReaderGone):
        return ExitStatus.OK
    if ended is not None:
        return ExitStatus.USAGE if isinstance(ended, UsageError) else ExitStatus.STOPPED
    if interrupted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.SOME_FAILED if totals.failed_rows else ExitStatus.OK
