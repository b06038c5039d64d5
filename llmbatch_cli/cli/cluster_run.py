"""`--engine ray`: the same command, its rows answered by workers on a Ray cluster."""

import asyncio
import os
import shlex
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from llmbatch_cli.cli.batch_job import Options, asked_by, job_of
from llmbatch_cli.cli.ending import say_end, say_summary
from llmbatch_cli.cli.running import Shown, exit_status, open_display
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.cli.signals import Interrupts, interrupts, keep_handlers
from llmbatch_cli.cli.summary_file import Ended
from llmbatch_cli.cluster.ended import RemoteRun
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.folders import folder_at
from llmbatch_cli.cluster.ground import Presence
from llmbatch_cli.cluster.merge import merge
from llmbatch_cli.cluster.run import (
    Asked,
    Coordinating,
    Following,
    RemoteTotals,
    error_of,
    plan_of,
    rows_in,
)
from llmbatch_cli.cluster.service import ServiceOptions
from llmbatch_cli.cluster.session import WorkerOptions
from llmbatch_cli.cluster.shares import LEASE_S, UNITS
from llmbatch_cli.cluster.tables import write_missing
from llmbatch_cli.core.at_file import text_of
from llmbatch_cli.core.errors import (
    ExitStatus,
    LlmbatchError,
    MissingKey,
    OutputError,
    ProviderError,
    UsageError,
)
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.options import TABLES
from llmbatch_cli.core.options import Cluster as ClusterOptions
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.budget import in_billionths
from llmbatch_cli.engine.calls import merged
from llmbatch_cli.job import Job
from llmbatch_cli.models import checked
from llmbatch_cli.models.spending import PROBE
from llmbatch_cli.plans import Batch
from llmbatch_cli.providers.registry import resolve
from llmbatch_cli.storage import StorageError, address_of

if TYPE_CHECKING:
    from llmbatch_cli.cluster.site import Secret, Site


async def answer_on_cluster(job: Job, ask: Batch, options: Options, shown: Shown) -> ExitStatus:
    """Run the job on a cluster, show how it goes and how it ended."""
    display = shown.display
    voice = Voice(as_json=display.progress == "json", quiet=display.quiet)
    ended = Ended(display.summary, shown.label)
    ended.check(job)
    ended.began_at = time.time()
    totals, run = RemoteTotals(), RemoteRun()
    with interrupts(voice, totals) as asked:
        async with open_display(display, totals, shown.label) as observe:
            try:
                async with _begun(job, ask, options, observe, run) as coordinator:
                    if coordinator is None:
                        return ExitStatus.OK
                    following = Following(coordinator, totals, observe)
                    await _followed(following, asked)
                    if (status := following.status) is not None:
                        told_here = asked.count and status.why is None
                        run.error = None if told_here else error_of(status)
                        is_whole = status.shards_done == status.shards
                        await _finish(job, options, voice, is_whole=is_whole)
            except asyncio.CancelledError:
                if not asked.count:
                    raise
            except LlmbatchError as error:
                run.error = error
            except OSError as error:
                kind = OutputError if run.has_begun else UsageError
                run.error = unusable(folder_of(job), error, kind)
            totals.cut_short = asked.stop.draining or run.error is not None
        run.failed_before = run.failures_kept = totals.failed_before
        if run.has_begun and not isinstance(run.error, UsageError):
            say_summary(run, totals, (), voice)
        say_end(run, job, voice, asked)
        ended.take(run, totals, interrupted=asked.count > 0)
        status_ = exit_status(run, totals, interrupted=asked.count > 0)
    return ended.write(status_, voice)


async def _followed(following: Following, asked: Interrupts) -> None:
    stop = asked.stop
    stop.listen(lambda: following.stop("cancel" if stop.cancelling else "drain"))
    await following.to_the_end()


@asynccontextmanager
async def _begun(
    job: Job, ask: Batch, options: Options, observe: Observer, run: RemoteRun
) -> "AsyncIterator[Coordinating | None]":
    """The run, begun or gone on with; None where it is left to itself."""
    from llmbatch_cli.cluster.ray_engine import Cluster, cores

    cluster_options = options.sending.cluster
    workers = cluster_options.workers or cores()
    cluster = Cluster(cluster_options.address, workers)
    _check_models(job, ask, has_keys=cluster_options.key_file is None)
    await asyncio.to_thread(cluster.check)  # before --overwrite deletes anything
    folder, presence = folder_of(job), Presence(folder_of(job))
    if await asyncio.to_thread(presence.seen) is not None:
        wait = f"waiting up to {LEASE_S:g} s, until none of its workers can be at work"
        observe(Notice(f"the last run here did not end in order, or is at work: {wait}"))
    if job.output.overwrite:
        await presence.refuse_others(LEASE_S)
    plan = await asyncio.to_thread(plan_of, job, _asked(options, ask), folder, workers, observe)
    run.has_begun = True
    rows, shards = format_count(plan.rows, "row"), format_count(len(plan.shards), "shard")
    observe(Notice(f"{rows} in {shards} for {format_count(workers, 'worker')}"))
    await asyncio.to_thread(cluster.connect)
    keep_handlers()
    try:
        site = _site(job, options, folder, workers)
        coordinator = await cluster.begin(site, _secret(options, cluster_options))
        if options.sending.batch_api.detach:
            follow = f"llmbatch cluster attach {shlex.quote(folder.address)}"
            observe(Notice(f"the run goes on by itself; {follow} follows it"))
            yield None
            return
        try:
            yield coordinator
        finally:
            await asyncio.to_thread(cluster.kill, site.name)
    finally:
        await asyncio.to_thread(cluster.close)


def _check_models(job: Job, ask: Batch, *, has_keys: bool) -> None:
    """Raise UsageError for a model that cannot be called, before anything is started.

    `has_keys`: whether keys are this machine's; else each machine reads its own.
    """
    calls = job.calls
    for name in (ask.model, *ask.fallback):
        try:
            target = resolve(name, calls.access)
            params = merged(checked(ask.params), checked(target.params))
            target.provider.build(Request(target.model, PROBE, params))
        except MissingKey:
            if has_keys:
                raise
        except ProviderError as error:
            raise UsageError(f"{name}: {error.message}", hint=error.hint) from error


def folder_of(job: Job) -> Folder:
    """The output's, by its real name."""
    return folder_at(job.output.output or Path())


def unusable(
    folder: Folder, error: OSError, kind: type[LlmbatchError] = UsageError
) -> LlmbatchError:
    """An error of the folder's storage."""
    hint = error.hint if isinstance(error, StorageError) else None
    return kind(f"cannot use {folder.address}: {error.strerror or error}", hint=hint)


def _site(job: Job, options: Options, folder: Folder, workers: int) -> "Site":
    from llmbatch_cli.cluster.site import VERSIONS, Site

    budget, concurrency = job.calls.budget, options.sending.limits.concurrency
    units = concurrency or UNITS  # with -c each share has whole slots
    service = ServiceOptions(
        folder,
        workers,
        max_errors=job.failure_limit,
        max_cost=None if budget is None else in_billionths(budget.cap_usd),
        detached=options.sending.batch_api.detach,
        lease_s=LEASE_S,
        rows_in=rows_in(job.output),
        retry_failed=job.output.retry_failed,
        units=units,
    )
    worker = WorkerOptions(folder, service.lease_s, service.rows_in)
    return Site(service, worker, str(Path.cwd()), VERSIONS, uuid4().hex)


def _secret(options: Options, cluster: ClusterOptions) -> "Secret":
    """What workers need: the options, and the keys of this machine, if they are to be sent."""
    from llmbatch_cli.cluster.site import Secret

    environ: Mapping[str, str] = {}
    if cluster.key_file is None:
        environ = dict(os.environ if options.setup.environ is None else options.setup.environ)
    plain = replace(options, setup=replace(options.setup, environ=None))
    return Secret.of(partial(worker_job, plain), environ)


def worker_job(options: Options, environ: Mapping[str, str]) -> Job:
    """The job, made by a worker."""
    keys = dict(environ)
    if (key_file := options.sending.cluster.key_file) is not None:
        from llmbatch_cli.settings.env_file import load

        load(key_file, keys, option="--key-file")
    own = replace(options, setup=replace(options.setup, environ=keys))
    return job_of(own, asked_by(own))


def _asked(options: Options, ask: Batch) -> Asked:
    """What has to be the same for all runs in the folder."""
    input_ = asdict(replace(options.input, inputs=()))
    template = options.input.template
    values = (
        ask.model,
        ask.fallback,
        dict(ask.params),
        options.sampling.system_text(),
        None if template is None else text_of(template, "--template"),
        asdict(options.answers),
        input_,
    )
    return Asked(ask.model.partition("?")[0], values)


async def _finish(job: Job, options: Options, voice: Voice, *, is_whole: bool) -> None:
    """Put the parts together, where all of them are there."""
    folder = folder_of(job)
    if job.output.format in TABLES:
        await asyncio.to_thread(write_missing, folder, job.output, job.schema)
    target = options.sending.cluster.merge
    if target is None:
        return
    name = address_of(target) or target
    if not is_whole:
        voice.notice(f"{name} is not written, as parts are missing")
        return
    await asyncio.to_thread(merge, folder, rows_in(job.output), job.output, target)
    voice.notice(f"all parts are in {name}, too")
