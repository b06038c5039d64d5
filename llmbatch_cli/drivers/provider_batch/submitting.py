"""From an intent to the provider's job, once: whatever is lost on the way."""

import asyncio
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import ProviderError, RateLimited, Rejected, Unreachable
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.providers.batch_api import BatchWire, Http

MOST_UPLOADS: Final = 4
UPLOADS_AT_ONCE: Final = 2
MOST_STRAY: Final = 3
"""How often a create may be told that the file, just uploaded, is not there."""
NOWHERE: Final = (404, 405, 501)
NOWHERE_HINT: Final = "the server may have no batch API; without --batch-api the rows are sent live"
LONGEST_WAIT_S: Final = 1800.0


class Submitter:
    """Makes jobs. Each step is on the disk before the next one is taken."""

    def __init__(self, journal: Journal, http: Http, timing: Timing, observe: Observer) -> None:
        self._journal = journal
        self._http = http
        self._timing = timing
        self._observe = observe
        self._uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._begun = set(journal.jobs)
        """Those of an earlier run, whose upload may be there."""
        self.give_up_s: float | None = None
        """When no job is made any more."""

    async def submit(self, job: Job, wire: BatchWire) -> None:
        """Return once the provider has the job, or none is made any more. Raises the ProviderError
        for which it never will."""
        body = self._journal.body_of(job.intent.id)
        stray, ends_s = 0, self._timing.clock() + wire.limits.deadline_s
        while job.id is None:
            await self._wait_for_turn(job)
            if not job.is_submitted and self._is_given_up():
                return
            if job.state == "intent":
                await self._upload(job, wire, body)
            if job.state == "creating":
                await self._find(job, wire)
                continue
            try:
                await self._create(job, wire, body)
            except ProviderError as error:
                is_stray = error.status in (404, 409) and stray < MOST_STRAY
                if not (error.retry or is_stray) or self._timing.clock() > ends_s:
                    raise
                stray += is_stray
                self._wait(job, wire, error)

    def _is_given_up(self) -> bool:
        return self.give_up_s is not None and self._timing.clock() >= self.give_up_s

    async def _wait_for_turn(self, job: Job) -> None:
        """Until the job may be submitted; not for long where a clock has jumped."""
        wait_s = min(job.until_s - self._timing.clock(), LONGEST_WAIT_S)
        if self.give_up_s is not None:
            wait_s = min(wait_s, self.give_up_s - self._timing.clock() + 0.1)
        if wait_s > 0:
            await self._timing.pause(wait_s)

    async def _upload(self, job: Job, wire: BatchWire, body: Path) -> None:
        async with self._uploading:
            found = None
            if job.intent.id in self._begun:
                found = await wire.find_upload(self._http, job.intent)
            try:
                upload = found or await self._uploaded(job, wire, body)
            except ProviderError as error:
                error.hopeless = True  # no row is to blame for it
                if error.status in NOWHERE:
                    error.hint = error.hint or NOWHERE_HINT
                raise
        if upload is not None:
            self._journal.uploaded(job, upload)

    async def _uploaded(self, job: Job, wire: BatchWire, body: Path) -> str | None:
        """A file that is there twice costs nothing, so this is simply tried again."""
        for tries in range(1, MOST_UPLOADS + 1):
            try:
                return await wire.upload(self._http, job.intent, body)
            except ProviderError as error:
                if not error.retry or tries == MOST_UPLOADS:
                    raise
                asked_s = error.retry_after_s
                await self._timing.pause(
                    asked_s if asked_s is not None else wire.limits.first_poll_s * 2**tries / 2
                )
        raise AssertionError  # the last try returns or raises

    async def _create(self, job: Job, wire: BatchWire, body: Path) -> None:
        """One create. Raises ProviderError where it has surely made no job; where that is open,
        the job is left as being created."""
        self._journal.creating(job)
        try:
            id_ = await wire.create(self._http, job.intent, job.upload, body)
        except ProviderError as error:
            if not made_nothing(error):
                self._observe(
                    Notice(f"{error.message}: whether the job was made is looked up in the list")
                )
                return
            self._journal.refused(job, job.until_s)
            raise
        self._journal.created(job, id_, is_sure=True)

    async def _find(self, job: Job, wire: BatchWire) -> None:
        """Look for what a create may have made, for as long as it may still appear."""
        limits, wait_s = wire.limits, wire.limits.first_poll_s
        told = False
        ends_s = self._timing.clock() + limits.deadline_s
        while True:
            is_last = self._timing.clock() >= job.creating_s + limits.appears_s
            found = None
            try:
                others = self._journal.not_of(job)
                found = await wire.find(self._http, job.intent, job.upload, others)
            except ProviderError as error:
                if not error.retry or self._timing.clock() > ends_s:
                    raise
                is_last = False  # no list, so nothing is known
                if not told:
                    told = True
                    self._observe(
                        Notice(
                            f"whether {job.intent.mark} was made is not known as long as the jobs "
                            f"cannot be listed: {error.message}"
                        )
                    )
            if found is not None:
                self._journal.created(job, found)
                return
            if is_last:
                self._journal.refused(job)
                return
            left_s = job.creating_s + limits.appears_s - self._timing.clock()
            await self._timing.pause(min(wait_s, max(left_s, limits.first_poll_s)))
            wait_s = min(2 * wait_s, limits.longest_poll_s)

    def _wait(self, job: Job, wire: BatchWire, error: ProviderError) -> None:
        """A job that was not taken now is submitted later."""
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = wire.limits.first_poll_s * 2 ** min(job.refusals, 9)
        wait_s = min(wait_s, LONGEST_WAIT_S)
        job.until_s = self._timing.clock() + wait_s
        if isinstance(error, RateLimited):
            self._observe(Notice(f"{error.message}; the job is submitted again in {wait_s:.0f} s"))


def made_nothing(error: ProviderError) -> bool:
    """Whether a create that failed so has surely made no job."""
    if isinstance(error, Unreachable) or not error.sent:
        return True
    status = error.status
    refused = status is not None and 400 <= status < 500 and status != 408
    return refused or (isinstance(error, Rejected) and status is None)
