"""Standard output for what is written only as a whole: made in a temporary folder, then copied."""

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from llmbatch_cli.cli.say import Voice
from llmbatch_cli.core.errors import ExitStatus, OutputError, ReaderGone
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.drivers.delivery import Render
from llmbatch_cli.job import Job
from llmbatch_cli.rows.output.table_files import journal_of
from llmbatch_cli.rows.output.target import Target, cannot_open, check_stdout, reason

PREFIX: Final = "llmbatch-"


Gone = Callable[[], bool]
"""Whether nobody can read any more what is to be copied."""


def watching(render: Render, gone: Gone) -> Render:
    """Renders outcomes as long as somebody waits for them; then raises ReaderGone."""

    def watched(outcome: Outcome) -> bytes:
        if gone():
            raise ReaderGone("the output was closed by its reader")
        return render(outcome)

    return watched


async def by_spool(
    job: Job, run: Callable[[Job, Gone], Awaitable[ExitStatus]], voice: Voice
) -> ExitStatus:
    """Run the job with its table in a temporary folder, and copy that to where it goes.

    A run whose reader has gone ends with the next row. What cannot be copied stays there, and so
    do the rows of a run that has made no table. Blocks while the reader takes its time. Raises
    UsageError before the run where nothing can be written.
    """
    target = job.output.output
    name = "standard output" if target is None else str(target)
    fd = _opened(target, job)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    table = folder / f"answers.{job.output.format}"
    output = replace(job.output, output=table)
    try:
        pipe = Target(fd, fsync=False)
        gone = pipe.reader_gone if pipe.watched else bool
        status = await run(replace(job, output=output, is_kept=False), gone)
        if not table.exists():
            return status
        try:
            _copy(table, fd)
        except OSError as error:
            voice.error(OutputError(f"cannot write {name}: {reason(error)}; {table} has it"))
            return ExitStatus.STOPPED
        _remove(folder)
        return status
    finally:
        with suppress(OSError):
            os.close(fd)
        journal = journal_of(output)
        if journal is None or not journal.exists() or not journal.stat().st_size:
            if not table.exists():
                _remove(folder)
        else:
            voice.notice(f"{journal} has the rows; -o {table} --resume goes on with them")


def _opened(target: Path | None, job: Job) -> int:
    if target is None:
        check_stdout(1, job.inputs.inputs)
        return os.dup(1)
    try:
        return os.open(target, os.O_WRONLY)
    except OSError as error:
        raise cannot_open(str(target), error) from error


def _copy(table: Path, fd: int) -> None:
    with table.open("rb") as source, os.fdopen(os.dup(fd), "wb") as file:
        shutil.copyfileobj(source, file)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
