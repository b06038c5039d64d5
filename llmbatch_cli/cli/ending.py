"""How a run has ended: its summary, its error, how to go on."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.signals import Interrupts
from llmbatch_cli.core.errors import (
    BadRows,
    InputError,
    LlmbatchError,
    OutputError,
    ReaderGone,
    RunStopped,
)
from llmbatch_cli.core.options import OutputOptions
from llmbatch_cli.core.text import format_count
from llmbatch_cli.job import Job
from llmbatch_cli.ui.money import format_rows
from llmbatch_cli.ui.progress import can_draw
from llmbatch_cli.ui.report import notes_of, summary
from llmbatch_cli.ui.standings import Standings, as_lines
from llmbatch_cli.ui.totals import Totals

INDENT: Final = 2
"""Of the lines below the summary."""


class Ended(Protocol):
    """What has to be known of a run that has ended: a JobRun, or one on a cluster."""

    error: LlmbatchError | None
    looked_ahead: bool

    @property
    def failed_before(self) -> int: ...
    @property
    def failures_kept(self) -> int: ...
    @property
    def can_go_on(self) -> bool: ...
    @property
    def aside(self) -> Path | None:
        """Where the old output is that nothing was written in place of."""

    def rows_lost(self, finished: int) -> int: ...


def say_summary(run: Ended, totals: Totals, further: Sequence[str], voice: Voice) -> None:
    """The figures of a run: a table on a terminal, else a line; `further` lines below."""
    if voice.quiet:
        return
    failed_before, told = run.failed_before, run.looked_ahead
    if totals.rows > 1 and can_draw(sys.stderr, os.environ):
        from llmbatch_cli.ui.summary_table import print_table

        lines = [*notes_of(totals, failed_before), *further]
        print_table(sys.stderr, os.environ, totals, lines)
    else:
        line = summary(totals, failed_before=failed_before, told=told)
        voice.notice("\n  ".join([line, *further]))


def say_end(run: Ended, job: Job, voice: Voice, asked: Interrupts) -> None:
    """The error that ended the run, what is lost, and how to go on."""
    error = run.error
    if lost := run.rows_lost(asked.totals.rows):
        name = job.output.output or "standard output"
        message = f"up to {format_rows(lost)} that finished could not be written to {name}"
        voice.error(OutputError(job.named(message)))
    if isinstance(error, BadRows):
        for reason in error.reasons:
            voice.error(InputError(reason))
    if error is not None and not isinstance(error, ReaderGone):
        voice.error(error)
    if run.aside is not None:
        voice.notice(f"nothing was written; {run.aside} holds what {job.output.output} held")
    goes_on = run.can_go_on and (asked.count > 0 or isinstance(error, RunStopped | OutputError))
    if goes_on:
        from llmbatch_cli.cli.go_on import go_on_command

        voice.notice(f"to go on: {go_on_command(sys.argv, job.inputs.inputs)}")
    if job.is_kept and job.is_resumable and (asked.totals.failed_rows or run.failures_kept):
        voice.hint(
            f"llmbatch errors {shlex.quote(job.named(str(job.rows_file)))} lists the failed rows"
        )
        if not goes_on:
            voice.hint(_again(job.output, kept=run.failures_kept > 0))


def _again(output: OutputOptions, *, kept: bool) -> str:
    """How to send the failed rows of an output again."""
    if kept or output.retry_failed == "all":
        return "--resume --retry-failed all sends them all again"
    return "--resume sends again those that may succeed, with --retry-failed all every one"


def standings_lines(standings: Standings) -> list[str]:
    """The models' table, and what its cancelled requests may cost."""
    if not any(model.races for model in standings.models.values()):
        return []
    columns = _columns()
    lines = as_lines(standings, columns and columns - INDENT)
    if count := standings.cut:
        requests = format_count(count, "cancelled request")
        lines.append(f"up to {requests} may have been billed")
    return lines


def _columns() -> int | None:
    """The width of the terminal that standard error is; None where it is none."""
    try:
        return os.get_terminal_size(2).columns or None
    except OSError:
        return None
