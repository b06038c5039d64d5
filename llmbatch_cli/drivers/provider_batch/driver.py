"""Rows through the jobs of a batch API: filled, submitted, watched and read, several at once."""

import asyncio
import os
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Final

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.events import Finished, Jobs, Notice, Started
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Outcome, Row
from llmbatch_cli.drivers import Driver
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.drivers.provider_batch.asking import Asked, Asking, tried
from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun
from llmbatch_cli.drivers.provider_batch.claims import Claims, check_open, left_out, refuse_lost
from llmbatch_cli.drivers.provider_batch.collecting import Collector, NotOurs
from llmbatch_cli.drivers.provider_batch.feeding import Feeder
from llmbatch_cli.drivers.provider_batch.filling import Filling, Fillings
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal, cannot_write, folder_of
from llmbatch_cli.drivers.provider_batch.known import forget, going_on
from llmbatch_cli.drivers.provider_batch.polling import Poller, Watched, shown
from llmbatch_cli.drivers.provider_batch.spool import Spooled
from llmbatch_cli.drivers.provider_batch.submitting import Submitter
from llmbatch_cli.engine.calls import stopped
from llmbatch_cli.engine.failure_limit import Breaker
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.engine.waits import Postponed
from llmbatch_cli.providers.batch_api import Http, JobStatus

MOST_WAITING: Final = 256
"""Outcomes of rows that went into no job, not yet taken."""
FULL_S: Final = (60.0, 1800.0)
"""A job that was refused because too much waits is submitted again after the first time, which
doubles up to the second."""


@frozen
class _Ended:
    job: Job
    status: JobStatus
    asked: Asked


_Item = Outcome | _Ended | BaseException | None
"""None only wakes the driver."""


def provider_batch(asking: Asking, run: BatchRun, options: RunOptions, live: Driver) -> Driver:
    """The driver that answers rows by jobs of a batch API; `live` is for what is left in the end.

    Jobs that an earlier run has left are gone on with. Stopped, it leaves the jobs as they are.
    """

    async def drive(rows: AsyncGenerator[Row, None], stop: Stop) -> AsyncGenerator[Outcome, None]:
        first_wait_s = asking.home.wire.limits.first_poll_s / 5
        async with aclosing(rows), run.network(first_wait_s) as http:
            with Journal(folder_of(run.output), run.timing.clock) as journal:
                try:
                    driver = _Drive(asking, run, options, live, journal, http)
                    async with aclosing(driver.outcomes(rows, stop)) as outcomes:
                        async for outcome in outcomes:
                            yield outcome
                except OSError as error:
                    raise cannot_write(journal.folder, error) from error
            if not journal.jobs:
                forget(run.output, os.environ)

    return drive


class _Drive:
    """One run."""

    def __init__(
        self,
        asking: Asking,
        run: BatchRun,
        options: RunOptions,
        live: Driver,
        journal: Journal,
        http: Http,
    ) -> None:
        self._asking = asking
        self._live = live
        self._run = run
        self._journal = journal
        self._timing = timing = run.timing
        self._notify = options.observe
        self._breaker = Breaker(options.failure_limit, Stop(), options.observe)
        """Told of all, but asked only between jobs: what a job has is paid for, so it is taken."""
        self._claims = Claims(journal) if journal.jobs else None
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(MOST_WAITING)
        self._begun = frozenset(journal.jobs)
        put = self._queue.put
        self._feeder = Feeder(asking, journal, self._claims, timing, self._is_live, put, self._pump)
        self._submitter = Submitter(journal, http, timing, options.observe)
        self._poller = Poller(journal, http, timing, options.observe)
        self._collector = Collector(journal, http, timing, options.observe, self._claims)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: dict[str, Watched] = {}
        self._held: list[_Ended] = []
        """Jobs that ended before the input was read."""
        self._has_fed = False
        self._stop = Stop()
        self._ends = False
        """Whether all is done that this run was to do."""
        self._left = 0
        """Jobs that are left alone, by --detach."""
        if run.live_after_s is not None:
            made = [job.intent.made_s for job in journal.jobs.values()]
            give_up_s = min(made, default=timing.clock()) + run.live_after_s
            self._poller.give_up_s = self._submitter.give_up_s = give_up_s
            self._feeder.ends_live = True

    # Outcomes

    async def outcomes(
        self, rows: AsyncGenerator[Row, None], stop: Stop
    ) -> AsyncGenerator[Outcome, None]:
        self._stop = stop
        stop.listen(self._wake)
        self._journal.sweep()
        await check_open(self._journal, self._asking, self._run.output)
        await self._feeder.hold_open()
        self._start(self._feed(rows))
        self._pump()
        try:
            async with aclosing(self._of_jobs()) as outcomes:
                async for outcome in outcomes:
                    yield outcome
            if self._feeder.rest.rows and not self._is_stopped():
                async for outcome in self._live(self._feeder.rest.prompts(self._asking), stop):
                    yield outcome
            self._ends = True
            if not all(job.is_submitted for job in self._journal.jobs.values()):
                self._feeder.end_detached(self._asking.home)
        finally:
            self._tell_end()
            async for left in self._feeder.rest.left(self._asking):
                self._notify(left)
            await self._end()
        if (reason := stop.reason or self._feeder.reached) is not None:
            raise reason

    async def _of_jobs(self) -> AsyncGenerator[Outcome, None]:
        """The outcomes of all jobs, and of rows that go into none."""
        while not (self._is_stopped() or self._is_done):
            item = await self._queue.get()
            if isinstance(item, Outcome):
                yield self._finished(item)
            elif isinstance(item, BaseException):
                raise item
            elif item is not None:
                self._held.append(item)
            while self._held and self._knows_claims and not self._is_stopped():
                async with aclosing(self._taken(self._held.pop(0))) as outcomes:
                    async for outcome in outcomes:
                        yield outcome
                        if self._is_stopped():
                            return

    @property
    def _knows_claims(self) -> bool:
        """Whether it is known which rows of open jobs are of the input."""
        return self._claims is None or self._has_fed

    def _is_stopped(self) -> bool:
        return self._stop.draining

    @property
    def _is_done(self) -> bool:
        if not self._has_fed or self._held or not self._queue.empty():
            return False
        if self._run.detach and len(self._watched) <= self._left:
            return True  # there is no room for those that are left
        return len(self._journal.jobs) <= self._left

    def _finished(self, outcome: Outcome) -> Outcome:
        outcome.finished_at = self._timing.clock()
        self._breaker(Started(outcome.index))
        self._breaker(Finished(outcome))
        return outcome

    async def _taken(self, ended: _Ended) -> AsyncGenerator[Outcome, None]:
        """The outcomes of a job, then its end. What is asked again is in further jobs then."""
        if ended.status.full and self._is_deferred(ended):
            return
        further = Fillings(self._journal)
        further.most_tokens = self._feeder.fillings.most_tokens
        full: list[Filling] = []
        try:
            async for outcome in self._collected(ended, further, full):
                yield outcome
            full += further.rest()
            for outcome in self._feeder.given_up(full):
                yield self._finished(outcome)
            await self._settle(ended.job, full)
        except NotOurs:
            self._journal.mistaken(ended.job)
            self._follow(ended.job)
        finally:
            for filling in (*full, *further.rest()):
                filling.abandon()

    async def _collected(
        self, ended: _Ended, further: Fillings, full: list[Filling]
    ) -> AsyncGenerator[Outcome, None]:
        """The outcomes of a job; the rows that are asked again go into `further`."""
        job, status, asked = ended.job, ended.status, ended.asked
        if status.error is not None and status.error.fatal:
            self._journal.refused(job)
            raise stopped(asked.model.name, status.error, (), asked.model.key_hint)
        if job.id is not None:
            self._journal.ended(job, status.word)
        try:
            async with closed(self._collector.rows(job, status, asked)) as rows:
                async for row, end in rows:
                    if isinstance(end, Outcome) and not self._goes_live(end):
                        yield self._finished(end)
                        continue
                    again = end if isinstance(end, Spooled) else tried(row, end)
                    try:
                        failed = self._feeder.place(again, asked, further, full)
                    except Postponed as postponed:
                        self._feeder.postpone(postponed)
                        self._notify(await asked.left(again))
                        continue
                    if failed is not None:
                        yield self._finished(failed)
        except ProviderError as error:
            raise stopped(asked.model.name, error, (), asked.model.key_hint) from error

    async def _settle(self, job: Job, fillings: Sequence[Filling]) -> None:
        """All that was yielded is on the disk, so the job is done with; others follow it."""
        clock = self._timing.clock
        following = [await asyncio.to_thread(one.close, clock()) for one in fillings]
        await self._run.durable()
        self._journal.settled(job, following)
        self._watched.pop(job.intent.id, None)
        if self._breaker.error is not None and (self._journal.jobs or not self._has_fed):
            raise self._breaker.error
        self._pump()

    def _goes_live(self, outcome: Outcome) -> bool:
        return self._is_live() and outcome.error is not None and outcome.error.retryable

    def _is_live(self) -> bool:
        """Whether no further job is made."""
        give_up_s = self._poller.give_up_s
        return give_up_s is not None and self._timing.clock() >= give_up_s

    def _is_deferred(self, ended: _Ended) -> bool:
        """Submit a job again that was refused because too much waits; False once it has waited
        for longer than any job may take."""
        job, limits = ended.job, ended.asked.wire.limits
        now_s = self._timing.clock()
        if self._is_live() or now_s - job.intent.made_s > limits.deadline_s:
            return False
        fits = ended.status.fits_tokens
        if fits is not None:
            self._feeder.fillings.most_tokens[ended.asked.model.name] = fits * 9 // 10
            if job.intent.bytes > 4 * fits and job.intent.rows > 1:
                return False  # its rows go into smaller jobs
        wait_s = min(FULL_S[0] * 2**job.refusals, FULL_S[1]) * min(1, limits.first_poll_s / 5)
        self._journal.refused(job, now_s + wait_s)
        self._notify(Notice(f"too much waits at the provider; a job tries again in {wait_s:.0f} s"))
        self._follow(job)
        return True

    # Jobs

    async def _feed(self, rows: AsyncGenerator[Row, None]) -> None:
        await self._feeder.feed(rows, self._run.output, self._check)
        self._has_fed = True
        self._wake()

    async def _check(self, claims: Claims) -> None:
        lost = await asyncio.to_thread(claims.lost, self._run.has)
        refuse_lost(lost, claims, self._run.output, is_whole=self._run.is_whole())
        if lost:
            self._notify(Notice(left_out(lost)))

    def _pump(self) -> None:
        """Begin with each job that there is room for."""
        most = self._asking.home.wire.limits.jobs_at_once
        self._feeder.room.set()
        for job in list(self._journal.jobs.values()):
            is_new = job.intent.id not in self._watched
            if is_new and (job.is_submitted or len(self._watched) < most):
                self._follow(job)
        self._show()

    def _follow(self, job: Job) -> None:
        self._watched[job.intent.id] = Watched(job)
        self._start(self._followed(job))

    async def _followed(self, job: Job) -> None:
        asked = await self._asking.for_spec(job.reached.spec)
        try:
            status = await self._status(job, asked)
        except ProviderError as error:
            if job.id is None and not (error.fatal or error.hopeless or error.retry):
                status = JobStatus(word="refused", ended=True, error=error)
            else:
                raise stopped(asked.model.name, error, (), asked.model.key_hint) from error
        if status is None:
            self._left += 1
            if self._left >= asked.wire.limits.jobs_at_once and not self._has_fed:
                self._feeder.end_detached(asked)
        await self._queue.put(None if status is None else _Ended(job, status, asked))

    async def _status(self, job: Job, asked: Asked) -> JobStatus | None:
        """How the job has ended; None for one that is left alone."""
        watched = self._watched[job.intent.id]
        if self._is_live() and not job.is_submitted:
            return JobStatus(word="never submitted", ended=True)
        if job.id is None:
            await self._submitter.submit(job, asked.wire)
            self._show()
            if job.id is None:
                return JobStatus(word="never submitted", ended=True)
        if not self._run.detach or self._is_live():
            return await self._poller.until_ended(watched, asked.wire, self._show)
        is_begun = job.intent.id in self._begun
        status = await self._poller.look(watched, asked.wire) if is_begun else None
        return status if status is not None and status.ended else None

    def _show(self) -> None:
        seen = self._watched.get
        self._notify(Jobs([shown(job, seen(id_)) for id_, job in self._journal.jobs.items()]))

    def _tell_end(self) -> None:
        """Say what goes on without this process."""
        there = [job for job in self._journal.jobs.values() if job.is_submitted]
        if not there:
            return
        is_detached = self._ends and not self._is_stopped()
        if is_detached:
            self._stop.drain()
        at = self._asking.home.model.provider
        self._notify(Notice(going_on(there, at, self._run.output, is_detached=is_detached)))

    # Tasks

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except OSError as error:
            await self._queue.put(cannot_write(self._journal.folder, error))
        except Exception as error:  # noqa: BLE001 - the generator raises it
            await self._queue.put(error)

    def _wake(self) -> None:
        if self._queue.empty():
            self._queue.put_nowait(None)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._feeder.close()
        if self._claims is not None:
            self._claims.close()
