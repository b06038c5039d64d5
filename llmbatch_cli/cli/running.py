"""What every command that answers rows shares: the loop, the display, the end, the exit status."""

import asyncio
import os
import stat
import sys
import time
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from llmbatch_cli.cli.ending import Ended as EndedRun
from llmbatch_cli.cli.ending import say_end, say_summary, standings_lines
from llmbatch_cli.cli.in_order import InOrder
from llmbatch_cli.cli.live import Live
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.shaping import shape_of
from llmbatch_cli.cli.signals import Interrupts, interrupts
from llmbatch_cli.cli.summary_file import Ended
from llmbatch_cli.core.errors import (
    ExitStatus,
    ReaderGone,
    UsageError,
)
from llmbatch_cli.core.events import Counted, Event, Notice, Observer, Started, both
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import (
    TABLES,
    WHOLE,
    WITHOUT_IDS,
    DisplayOptions,
    InputOptions,
    OutputFormat,
    OutputOptions,
)
from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.drivers.delivery import Render
from llmbatch_cli.job import Job, JobRun
from llmbatch_cli.loops import loop_factory
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.chunks import checked_encoding
from llmbatch_cli.rows.input.folders import expanded, refuse_among_inputs
from llmbatch_cli.rows.input.inputs import TextFormat
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.rows.output.table_files import check_table_options, format_of_name, journal_of
from llmbatch_cli.storage import address_of
from llmbatch_cli.ui.progress import Streams, open_progress
from llmbatch_cli.ui.standings import Standings
from llmbatch_cli.ui.totals import Totals

SHORT_ROWS: Final = 50
"""A longer input is not only a first trial, so the model should be meant."""


def run_async(main: Coroutine[Any, Any, ExitStatus]) -> ExitStatus:
    """Run to the end, on uvloop where there is one."""
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(main)
    finally:
        main.close()  # an interrupt may come before it has begun


@frozen
class Shown:
    """How a run shows itself."""

    display: DisplayOptions
    label: str
    """What is run, mostly the model."""
    live: Live | None = None
    """Shows answers on the terminal, each followed by its model on standard error."""
    standings: bool = False
    """Whether the models' standings are shown at the end."""
    by_default: str | None = None
    """The model that answers because none was named."""


def stdout_is_terminal(output: Path | None) -> bool:
    """Whether the answers go to a terminal."""
    return output is None and sys.stdout is not None and sys.stdout.isatty()


def with_defaults(
    output: OutputOptions, inputs: Sequence[str] = (), form: OutputFormat = "jsonl"
) -> OutputOptions:
    """The output options with `-` as standard output, a format, and its order.

    Raises UsageError for an output, or its journal, that would be among the inputs.
    """
    path = None if output.output == Path("-") else output.output
    if path is not None:
        refuse_among_inputs(path, inputs)
    named = output.format if path is None else format_of_name(path, output.format)
    form = named or form
    for name, given in (("--include-input", output.include_input), ("--detail", output.detail)):
        if given and form != "jsonl":
            raise UsageError(
                f"{name}, but --format {form} has no place for it", hint="leave one out"
            )
    output = replace(output, output=path, format=form)
    journal = journal_of(output)
    if journal is not None:
        refuse_among_inputs(journal, inputs)
    is_streamed = form in TABLES and journal is None
    check_table_options(output, to_terminal=stdout_is_terminal(path))
    in_order = form in WITHOUT_IDS or (is_streamed and form not in WHOLE)
    return replace(output, ordered=output.ordered or in_order)


async def answer_rows(job: Job, shown: Shown, renderer: Render | None = None) -> ExitStatus:
    """Run the job, show how it goes and how it ended; a signal at any moment ends it in order.

    `renderer` takes the place of the output's own form.
    """
    voice = Voice(as_json=shown.display.progress == "json", quiet=shown.display.quiet)
    ended = Ended(shown.display.summary, shown.label)
    ended.check(job)
    status = await _answered(job, shown, voice, renderer, ended)
    return ended.write(status, voice)


async def _answered(
    job: Job, shown: Shown, voice: Voice, renderer: Render | None, ended: Ended
) -> ExitStatus:
    address = None if job.output.output is None else address_of(job.output.output)
    if address is not None:
        from llmbatch_cli.cli.stored_output import to_store

        def run_here(local: Job) -> Awaitable[ExitStatus]:
            render = renderer or _renderer(local, shown, voice)
            return _answer_rows(local, shown, voice, render, ended)

        return await to_store(job, address, run_here, voice)
    if job.output.format in WHOLE and job.journal is None:
        from llmbatch_cli.cli.spooled import Gone, by_spool, watching

        def run(spooled: Job, gone: Gone) -> Awaitable[ExitStatus]:
            render = watching(_renderer(spooled, shown, voice), gone)
            return _answer_rows(spooled, shown, voice, render, ended)

        return await by_spool(job, run, voice)
    renderer = renderer or _renderer(job, shown, voice)
    return await _answer_rows(job, shown, voice, renderer, ended)


async def _answer_rows(
    job: Job, shown: Shown, voice: Voice, renderer: Render, ended: Ended
) -> ExitStatus:
    totals, standings = Totals(), Standings()
    ended.began_at = time.time()
    with interrupts(voice, totals) as asked:
        to_terminal = stdout_is_terminal(job.output.output)
        display = shown.display
        if job.output.format == "text":  # a failed row has no other place
            display = replace(display, verbose=2)
        piped = job.output.output is None and _stdout_is_pipe()
        async with open_display(display, totals, shown.label, to_terminal, piped) as observe:
            listener = both(observe, standings) if shown.standings else observe
            if shown.by_default is not None:
                listener = both(listener, _UnnamedModel(shown.by_default, observe))
            run = JobRun(job, asked.stop, listener, renderer)
            asked.rows_waiting = lambda: run.rows_waiting
            await _to_its_end(run, asked)
            totals.cut_short = asked.stop.draining or run.error is not None
            if voice.as_json:  # the object of the display's end is the last
                say_end(run, job, voice, asked)
        if not voice.as_json:
            if run.sink is not None and not isinstance(run.error, UsageError):
                say_summary(run, totals, _further(standings, shown, totals), voice)
            say_end(run, job, voice, asked)
        ended.take(run, totals, interrupted=asked.count > 0)
        for notice in (run.unclaimed, getattr(renderer, "notice", None)):
            if notice:
                voice.notice(notice)
        return exit_status(run, totals, interrupted=asked.count > 0)


def open_display(
    options: DisplayOptions,
    totals: Totals,
    label: str,
    to_terminal: bool = False,
    piped: bool = False,
) -> AbstractAsyncContextManager[Observer]:
    """The progress display on standard error; answers go to a terminal, or to a program."""
    streams = Streams(sys.stderr, os.environ, stdout_is_terminal=to_terminal, stdout_is_pipe=piped)
    return open_progress(options, streams, totals, label)


def _stdout_is_pipe() -> bool:
    with suppress(OSError):
        return stat.S_ISFIFO(os.fstat(1).st_mode)
    return False


async def _to_its_end(run: JobRun, asked: Interrupts) -> None:
    try:
        await run.run()
    except asyncio.CancelledError:
        if not asked.count:
            raise


class _UnnamedModel:
    """An observer that says once which model answers a long input when none was named."""

    def __init__(self, model: str, observe: Observer) -> None:
        self._model = model
        self._observe = observe
        self._said = False

    def __call__(self, event: Event) -> None:
        many = isinstance(event, Counted) and event.rows > SHORT_ROWS
        if self._said or not (many or (isinstance(event, Started) and event.index >= SHORT_ROWS)):
            return
        self._said = True
        small = f"no -m is given, so {self._model}, a small embedded model, answers every row"
        self._observe(Notice(f"{small}; name another with -m, as in -m gpt-4o-mini"))


def _further(standings: Standings, shown: Shown, totals: Totals) -> Sequence[str]:
    """What follows the summary."""
    lines: list[str] = []
    if shown.by_default is not None and totals.rows:
        lines.append(f"by {shown.by_default}, the small embedded model; -m names another")
    return lines + standings_lines(standings) if shown.standings else lines


def _renderer(job: Job, shown: Shown, voice: Voice) -> Render:
    """An outcome as the bytes to write."""
    output = job.output
    form, one_line, created = output.format or "jsonl", output.one_line, int(time.time())
    live, to_terminal = shown.live, stdout_is_terminal(output.output)
    if form in TABLES and journal_of(output) is None:
        from llmbatch_cli.rows.output.delimited import Streamed

        return Streamed(output, _clean if to_terminal else None, job.schema)

    def plain(outcome: Outcome) -> bytes:
        return render(outcome, form, one_line=one_line, created=created, detail=output.detail)

    def clean(outcome: Outcome) -> bytes:
        return _clean(plain(outcome))

    def show(outcome: Outcome) -> bytes:
        if live is not None and outcome.completion is not None:
            live.end(outcome.index, plain(outcome).decode())
            seconds = f"{outcome.latency_s or 0:.2f} s"
            voice.notice(f"{outcome.provider}/{outcome.model} in {seconds}")
        return b""

    if live is not None and to_terminal:
        return show
    last = clean if to_terminal else plain
    if form in WITHOUT_IDS:
        return InOrder(last, text=form == "text", one_line=one_line)
    return last


def _clean(line: bytes) -> bytes:
    return clean_for_terminal(line.decode()).encode()


def exit_status(run: EndedRun, totals: Totals, *, interrupted: bool) -> ExitStatus:
    error = run.error
    if isinstance(error, ReaderGone):
        return ExitStatus.OK
    if error is not None:
        return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
    if interrupted:
        return ExitStatus.INTERRUPTED
    failed = totals.failed_rows or run.failures_kept
    return ExitStatus.SOME_FAILED if failed else ExitStatus.OK


def inputs_of(
    options: InputOptions, *, for_text: TextFormat = "lines", system: str | None = None
) -> Inputs:
    """What the input options say to read; `system` is the run's, which may be a template."""
    return Inputs(
        expanded(options.inputs, options.input_format) or ("-",),
        options.input_format,
        options.max_line_bytes,
        options.limit,
        for_text=for_text,
        encoding=checked_encoding(options.encoding),
        shape=shape_of(options, system),
        has_header=not options.no_header,
        choice=Choice(offset=options.offset, sample=options.sample, repeat=options.repeat),
    )
