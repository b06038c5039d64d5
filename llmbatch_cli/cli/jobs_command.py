"""`llmbatch jobs`: the jobs that runs with --batch-api have left at providers."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
import typer

from llmbatch_cli.cli.options import Only
from llmbatch_cli.cli.running import run_async
from llmbatch_cli.cli.say import printing, say, say_error
from llmbatch_cli.core.errors import ExitStatus, ProviderError, UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.options import Network, Sending
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.drivers.provider_batch.http import open_batch_http
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal, folder_of
from llmbatch_cli.drivers.provider_batch.known import forget, known
from llmbatch_cli.engine.calls import built
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.providers.addresses import with_headers, with_query
from llmbatch_cli.providers.batch_api import BatchWire, Http, JobStatus
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.registry import Setup, resolve
from llmbatch_cli.rows.lock import locked
from llmbatch_cli.ui.report import format_about, format_duration

EXAMPLES = """\b
Examples:
  llmbatch jobs
  llmbatch jobs show answers.jsonl
  llmbatch jobs wait answers.jsonl && llmbatch batch ... --batch-api --resume
  llmbatch jobs cancel answers.jsonl
"""

HEADS: Final = ("job", "model", "state", "rows", "age", "expires")

Action = Annotated[
    Literal["list", "show", "wait", "cancel"],
    typer.Argument(
        metavar="[list|show|wait|cancel]",
        help="List the outputs with open jobs (asks nobody); show each job as its provider has "
        "it now; wait until all have ended; or cancel them.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Argument(
        metavar="[OUT]",
        help="The output file of the run. Without it, all outputs of yours with open jobs; cancel "
        "needs it.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per job.")]


def jobs(
    action: Action = "list",
    output: Output = None,
    json: AsJson = False,
    *,
    network: Annotated[Network, Only("no_key", "insecure")],
    setup: Setup,
) -> int:
    """List, show, await or cancel the jobs of runs with --batch-api.

    Rows are collected by the run itself: the same command again, with --resume.
    """
    outputs, status = _readable(known(os.environ)) if output is None else ([output], 0)
    if output is not None and not folder_of(output).is_dir():
        raise UsageError(f"{output} has no open jobs", hint="llmbatch jobs lists what has")
    if action == "cancel" and output is None:
        raise UsageError("cancel needs the output's name", hint="as in llmbatch jobs cancel OUT")
    if not outputs:
        if not status:
            say("no output has open jobs")
        return status
    if action == "list":
        with printing():
            for one in outputs:
                _print_listed(one, json=json)
        return status
    options = CallOptions.of(Sending(network=network), setup=setup)
    work = {"show": _show, "wait": _wait, "cancel": _cancel}[action]

    async def worked() -> ExitStatus:
        async with AsyncExitStack() as stack:
            return await work(outputs, _Asker(options, setup, stack), json)

    return run_async(worked()) or status


def _readable(outputs: Sequence[Path]) -> tuple[list[Path], int]:
    """Those with open jobs, and a status; a journal that is broken is said, and hides no other."""
    found, status = [], ExitStatus.OK
    for one in outputs:
        try:
            if Journal(folder_of(one)).jobs:
                found.append(one)
        except UsageError as error:
            say_error(error)
            status = ExitStatus.SOME_FAILED
    return found, status


def _print_listed(output: Path, *, json: bool) -> None:
    """What the journal says, without asking anybody."""
    jobs = list(Journal(folder_of(output)).jobs.values())
    if json:
        for job in jobs:
            sys.stdout.buffer.write(orjson.dumps(_as_json(output, job, None)) + b"\n")
        return
    rows = format_count(sum(job.intent.rows for job in jobs), "row")
    models = ", ".join(sorted({f"{job.reached.provider}/{job.intent.model}" for job in jobs}))
    oldest = min((job.intent.made_s for job in jobs), default=time.time())
    age = format_duration(time.time() - oldest, whole=True)
    line = f"{output}  {format_count(len(jobs), 'job')}  {rows}  {models}  {age} old"
    sys.stdout.write(clean_for_terminal(line) + "\n")


@dataclass(slots=True)
class _Seen:
    """A job, with what its provider has said of it."""

    job: Job
    status: JobStatus | None
    trouble: ProviderError | UsageError | None = None


class _Asker:
    """Asks providers for jobs, with this user's keys."""

    def __init__(self, options: CallOptions, setup: Setup, stack: AsyncExitStack) -> None:
        """`stack`: in which credentials are held."""
        self._access = options.access
        self._setup = setup
        self._stack = stack
        self._wires: dict[tuple[str, str], BatchWire] = {}

    async def wire(self, job: Job) -> BatchWire:
        """The wire of a job. Raises UsageError where this is not the account that made it:
        nothing is sent then, wherever the journal says that it was made."""
        reached = job.reached
        key = (reached.spec, reached.account)
        if key in self._wires:
            return self._wires[key]
        for access in (self._access, replace(self._access, base_url=reached.base_url)):
            target = resolve(reached.spec, access)
            provider = target.provider
            await self._stack.enter_async_context(provider.serving(ignore))
            build = with_headers(with_query(provider.build, provider.query), provider.headers)
            wire = batch_wire(provider, partial(built, build), self._setup)
            if wire.account == reached.account:
                self._wires[key] = wire
                return wire
        raise UsageError(
            f"the job was made with another key or address, at {reached.base_url}",
            hint="set the key that the run had",
        )

    async def seen(self, http: Http, job: Job) -> _Seen:
        """The job as its provider has it."""
        try:
            wire = await self.wire(job)
            if job.id is None:
                return _Seen(job, None)
            return _Seen(job, await wire.poll(http, job.id))
        except (ProviderError, UsageError) as error:
            return _Seen(job, None, error)


async def _show(outputs: Sequence[Path], asker: _Asker, json: bool) -> ExitStatus:
    status = ExitStatus.OK
    async with open_batch_http() as http:
        for output in outputs:
            jobs = list(Journal(folder_of(output)).jobs.values())
            seen = await asyncio.gather(*(asker.seen(http, job) for job in jobs))
            if any(one.trouble is not None for one in seen):
                status = ExitStatus.SOME_FAILED
            with printing():
                _print(output, seen, json=json)
    return status


async def _wait(outputs: Sequence[Path], asker: _Asker, json: bool) -> ExitStatus:
    """Poll until all have ended. A job that was not submitted is nobody's to wait for."""
    async with open_batch_http() as http:
        for output in outputs:
            jobs = [job for job in Journal(folder_of(output)).jobs.values() if job.id is not None]
            wait_s = 0.0
            while jobs:
                await asyncio.sleep(wait_s)
                seen = [await asker.seen(http, job) for job in jobs]
                for one in seen:
                    if one.trouble is not None and not getattr(one.trouble, "retry", False):
                        raise one.trouble
                left = [one.job for one in seen if one.status is None or not one.status.ended]
                if len(left) < len(jobs) or not wait_s:
                    _tell_progress(output, seen)
                limits = (await asker.wire(jobs[0])).limits
                wait_s = min(max(limits.first_poll_s, 1.5 * wait_s), limits.longest_poll_s)
                jobs = left
            say(f"all jobs of {output} have ended; the run's command with --resume collects them")
    return ExitStatus.OK


def _tell_progress(output: Path, seen: Sequence[_Seen]) -> None:
    ended = sum(one.status is not None and one.status.ended for one in seen)
    say(f"{output}: {ended} of {format_count(len(seen), 'job')} ended")


async def _cancel(outputs: Sequence[Path], asker: _Asker, json: bool) -> ExitStatus:
    status = ExitStatus.OK
    for output in outputs:
        cancelled = 0
        with locked(output), Journal(folder_of(output)) as journal:
            async with open_batch_http() as http:
                for job in list(journal.jobs.values()):
                    try:
                        await _cancel_one(journal, job, asker, http)
                        cancelled += job.id is not None
                    except (ProviderError, UsageError) as error:
                        say_error(error)
                        status = ExitStatus.SOME_FAILED
            left = len(journal.jobs)
        name = shlex.quote(str(output))
        if cancelled:
            say(
                f"{format_count(cancelled, 'job')} of {name} will end; what they have done by then "
                "is paid for, and the run's command with --resume collects it"
            )
        if not left:
            forget(output, os.environ)
            say(f"{name} has no open jobs any more")
    return status


async def _cancel_one(journal: Journal, job: Job, asker: _Asker, http: Http) -> None:
    """Cancel a job, or drop one that no provider has."""
    wire = await asker.wire(job)
    if job.state == "creating":
        found = await _found(journal, job, wire, http)
        if found is not None:
            _check_ours(job, wire, found, is_sure=False)
            journal.created(job, found)
    if job.id is None:
        journal.settled(job)
        return
    _check_ours(job, wire, job.id, is_sure=job.is_sure)
    await wire.cancel(http, job.id)
    journal.cancelling(job)


async def _found(journal: Journal, job: Job, wire: BatchWire, http: Http) -> str | None:
    """The id of a job whose create was begun; None once it could not appear any more."""
    limits, began_s = wire.limits, time.monotonic()
    made_s = job.creating_s + limits.appears_s - time.time()
    while True:
        found = await wire.find(http, job.intent, job.upload, journal.not_of(job))
        left_s = began_s + min(made_s, limits.appears_s) - time.monotonic()
        if found is not None or left_s <= 0:
            return found
        await asyncio.sleep(min(left_s, limits.first_poll_s))


def _check_ours(job: Job, wire: BatchWire, id_: str, *, is_sure: bool) -> None:
    """Raise UsageError for a job that may be another run's."""
    if is_sure or wire.finds:
        return
    raise UsageError(
        f"a job of {format_count(job.intent.rows, 'row')} may be this run's or another's, "
        f"which only its results show: {id_}",
        hint="cancel it at the provider if it is yours, or go on with --resume",
    )


def _print(output: Path, seen: Sequence[_Seen], *, json: bool) -> None:
    if json:
        for one in seen:
            sys.stdout.buffer.write(orjson.dumps(_as_json(output, one.job, one)) + b"\n")
        return
    sys.stdout.write(clean_for_terminal(str(output)) + "\n")
    rows = [HEADS, *(_cells(one) for one in seen)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  " + clean_for_terminal("  ".join(cells)).rstrip() + "\n")
    for one in seen:
        if one.trouble is not None:
            say(f"{_name(one.job)}: {one.trouble.message}")


def _name(job: Job) -> str:
    return job.id or f"({job.intent.mark})"


def _state(one: _Seen) -> str:
    if one.status is not None:
        return one.status.word
    return "unknown" if one.job.is_submitted else "not submitted"


def _cells(one: _Seen) -> tuple[str, ...]:
    job, status = one.job, one.status
    rows, expires = format_count(job.intent.rows), "-"
    if status is not None and status.done is not None:
        rows = f"{format_count(status.done + (status.failed or 0))}/{rows}"
    if status is not None and status.expires_s is not None and not status.ended:
        expires = f"in {format_about(status.expires_s - time.time())}"
    age = format_duration(time.time() - job.intent.made_s, whole=True)
    model = f"{job.reached.provider}/{job.intent.model}"
    return _name(job), model, _state(one), rows, age, expires


def _as_json(output: Path, job: Job, one: _Seen | None) -> dict[str, Any]:
    status = None if one is None else one.status
    return {
        "output": str(output),
        "job": job.id,
        "provider": job.reached.provider,
        "model": job.intent.model,
        "state": job.state if one is None else _state(one),
        "ended": job.state == "ended" if status is None else status.ended,
        "rows": job.intent.rows,
        "done": None if status is None else status.done,
        "failed": None if status is None else status.failed,
        "made_at": job.intent.made_s,
        "expires_at": None if status is None else status.expires_s,
        "error": None if one is None or one.trouble is None else one.trouble.message,
    }
