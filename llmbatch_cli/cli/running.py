"""What every command that answers rows shares: the loop, the display, the end, the exit status."""

import asyncio
import gc
import os
import shlex
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.cli.live import Live
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.signals import Interrupts, interrupts
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
from llmbatch_cli.core.options import DisplayOptions, InputOptions, OutputFormat, OutputOptions
from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.job import Job, JobRun, Render
from llmbatch_cli.rows.input.foreign import by_suffix
from llmbatch_cli.rows.input.inputs import TextFormat, suffix_of
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.ui.progress import Streams, open_progress
from llmbatch_cli.ui.report import format_rows, summary
from llmbatch_cli.ui.standings import Standings, as_lines
from llmbatch_cli.ui.totals import Totals

INDENT: Final = 2
"""Of the lines below the summary."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Rows, requests and replies are freed as they end, so the garbage collector would find nothing;
its usual pace takes a tenth of all CPU time."""


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


@dataclass(frozen=True, slots=True)
class Shown:
    """How a run shows itself."""

    display: DisplayOptions
    label: str
    """What is run, mostly the model."""
    live: Live | None = None
    """Shows answers on the terminal, each followed by its model on standard error."""
    standings: bool = False
    """Whether the models' standings are shown at the end."""


def stdout_is_terminal(output: Path | None) -> bool:
    """Whether the answers go to a terminal."""
    return output is None and sys.stdout is not None and sys.stdout.isatty()


def with_defaults(output: OutputOptions, form: OutputFormat = "jsonl") -> OutputOptions:
    """The output options with `-` as standard output, and a format.

    Raises UsageError for a file whose name promises what is not written.
    """
    path = None if output.output == Path("-") else output.output
    kind = by_suffix(suffix_of(str(path))) if path is not None else None
    if kind is not None:
        raise UsageError(
            f"--output {path}: answers are written as JSONL or text, not as {kind.name}",
            hint="name it .jsonl, or .jsonl.gz to compress it",
        )
    return replace(output, output=path, format=output.format or form)


async def answer_rows(job: Job, shown: Shown) -> ExitStatus:
    """Run the job, show how it goes and how it ended; a signal at any moment ends it in order."""
    voice = Voice(as_json=shown.display.progress == "json", quiet=shown.display.quiet)
    totals, standings = Totals(), Standings()
    with interrupts(voice, totals) as asked:
        to_terminal = stdout_is_terminal(job.output.output)
        display = shown.display
        if job.output.format == "text":  # a failed row has no other place
            display = replace(display, verbose=2)
        async with open_display(display, totals, shown.label, to_terminal) as observe:
            listener = both(observe, standings) if shown.standings else observe
            run = JobRun(job, asked.stop, listener, _renderer(job.output, shown, voice))
            asked.rows_waiting = lambda: run.rows_waiting
            await _to_its_end(run, asked)
            totals.cut_short = asked.stop.draining or run.error is not None
            if voice.as_json:  # the object of the display's end is the last
                _say_end(run, job, voice, asked)
        if not voice.as_json:
            if run.sink is not None and not isinstance(run.error, UsageError):
                voice.notice("\n  ".join(_summary(totals, standings, shown, asked)))
            _say_end(run, job, voice, asked)
            if run.unclaimed:
                voice.notice(run.unclaimed)
        return _status(totals, run.error, interrupted=asked.count > 0)


def open_display(
    options: DisplayOptions, totals: Totals, label: str, to_terminal: bool = False
) -> AbstractAsyncContextManager[Observer]:
    """The progress display on standard error; `to_terminal`: answers go to a terminal."""
    streams = Streams(sys.stderr, os.environ, stdout_is_terminal=to_terminal)
    return open_progress(options, streams, totals, label)


async def _to_its_end(run: JobRun, asked: Interrupts) -> None:
    try:
        await run.run()
    except asyncio.CancelledError:
        if not asked.count:
            raise


def _summary(
    totals: Totals, standings: Standings, shown: Shown, asked: Interrupts
) -> Sequence[str]:
    lines = [summary(totals, cancelled=asked.stop.cancelling)]
    return lines + _standings_lines(standings) if shown.standings else lines


def _say_end(run: JobRun, job: Job, voice: Voice, asked: Interrupts) -> None:
    """The error that ended the run, what is lost, and how to go on."""
    error = run.error
    if lost := run.rows_lost(asked.totals.rows):
        name = job.output.output or "standard output"
        message = f"up to {format_rows(lost)} that finished could not be written to {name}"
        voice.error(OutputError(message))
    if isinstance(error, BadRows):
        for reason in error.reasons:
            voice.error(InputError(reason))
    if error is not None and not isinstance(error, ReaderGone):
        voice.error(error)
    if (asked.count or isinstance(error, RunStopped | OutputError)) and run.can_go_on:
        voice.notice(f"to go on: {go_on_command(sys.argv, job.inputs.inputs)}")


def go_on_command(argv: Sequence[str], inputs: Sequence[str]) -> str:
    """The command that goes on where this run has stopped."""
    arguments = [one for one in argv[1:] if one not in ("--overwrite", "--resume")]
    place = arguments.index("--") if "--" in arguments else len(arguments)
    command = shlex.join(["llmbatch", *arguments[:place], "--resume", *arguments[place:]])
    return f"{command} < THE SAME INPUT" if "-" in inputs else command


def _standings_lines(standings: Standings) -> list[str]:
    """The models' table, and what its cancelled requests may cost."""
    if not standings.models:
        return []
    columns = _columns()
    lines = as_lines(standings, columns and columns - INDENT)
    if count := standings.cut:
        requests = "request" if count == 1 else "requests"
        lines.append(f"up to {count:,} cancelled {requests} may have been billed")
    return lines


def _columns() -> int | None:
    """The width of the terminal that standard error is; None where it is none."""
    try:
        return os.get_terminal_size(2).columns or None
    except OSError:
        return None


def _renderer(output: OutputOptions, shown: Shown, voice: Voice) -> Render:
    """An outcome as the bytes to write."""
    form, one_line, created = output.format or "jsonl", output.one_line, int(time.time())
    live, to_terminal = shown.live, stdout_is_terminal(output.output)

    def plain(outcome: Outcome) -> bytes:
        return render(outcome, form, one_line=one_line, created=created)

    def clean(outcome: Outcome) -> bytes:
        return clean_for_terminal(plain(outcome).decode()).encode()

    def show(outcome: Outcome) -> bytes:
        if live is not None and outcome.completion is not None:
            live.end(outcome.index, plain(outcome).decode())
            seconds = f"{outcome.latency_s or 0:.2f} s"
            voice.notice(f"{outcome.provider}/{outcome.model} in {seconds}")
        return b""

    if to_terminal:
        return show if live is not None else clean
    return plain


def _status(totals: Totals, error: LlmbatchError | None, *, interrupted: bool) -> ExitStatus:
    if isinstance(error, ReaderGone):
        return ExitStatus.OK
    if error is not None:
        return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
    if interrupted:
        return ExitStatus.INTERRUPTED
    return ExitStatus.SOME_FAILED if totals.failed_rows else ExitStatus.OK


def inputs_of(options: InputOptions, *, for_text: TextFormat = "lines") -> Inputs:
    """What the input options say to read."""
    return Inputs(
        options.inputs or ("-",),
        options.input_format,
        options.max_line_bytes,
        options.limit,
        for_text=for_text,
    )
