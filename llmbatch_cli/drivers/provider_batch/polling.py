"""From the provider's job to its end, however long that takes and whatever it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.events import JobShown, Notice, Observer
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.providers.batch_api import BatchWire, Http, JobStatus

GONE: Final = (404, 410)
YOUNG_S: Final = 60.0
"""A job that is not there in so short a time after it was made may only be late."""
LEAST_WAIT_S: Final = 0.2
"""Between polls, whatever a server asks for."""


@dataclass(slots=True)
class Watched:
    """A job and what its provider has said last."""

    job: Job
    status: JobStatus | None = None


def shown(job: Job, watched: Watched | None) -> JobShown:
    """The job for the display."""
    status = watched.status if watched is not None else None
    if status is None:
        state = "submitted" if job.id is not None else "meant"
        return JobShown(state, job.intent.rows, job.intent.made_s)
    done = None if status.done is None else status.done + (status.failed or 0)
    return JobShown(status.word, job.intent.rows, job.intent.made_s, done, status.expires_s)


class Poller:
    """Waits for jobs."""

    def __init__(self, journal: Journal, http: Http, timing: Timing, observe: Observer) -> None:
        self._journal = journal
        self._http = http
        self._timing = timing
        self._observe = observe
        self.give_up_s: float | None = None
        """When jobs are cancelled, whether they have ended or not."""

    async def look(self, watched: Watched, wire: BatchWire) -> JobStatus | None:
        """How the job stands now; None where that cannot be said just now.

        Raises the ProviderError for which it never can.
        """
        job = watched.job
        try:
            status = await wire.poll(self._http, job.id or "")
        except ProviderError as error:
            is_gone = error.status in GONE
            if is_gone and self._age_s(job) > YOUNG_S:
                status = JobStatus(word="gone", ended=True)
            elif is_gone or error.retry:
                return None
            else:
                raise
        watched.status = status
        return status

    async def until_ended(
        self, watched: Watched, wire: BatchWire, changed: Callable[[], None]
    ) -> JobStatus:
        """Poll until nothing more will come of the job."""
        job, limits = watched.job, wire.limits
        wait_s = limits.first_poll_s
        settles_s: float | None = None
        while True:
            status = await self.look(watched, wire)
            changed()
            if status is not None and status.ended:
                return status
            now_s = self._timing.clock()
            if settles_s is not None and now_s > settles_s:
                return status or JobStatus(word="unknown", ended=True)
            if settles_s is None and (job.state == "cancelling" or self._is_over(job, wire)):
                settles_s = now_s + limits.settles_s
                await self._cancel(job, wire)
            asked_s = status.retry_after_s if status is not None else None
            await self._timing.pause(wait_s if asked_s is None else max(asked_s, LEAST_WAIT_S))
            wait_s = min(1.5 * wait_s, limits.longest_poll_s)

    def _age_s(self, job: Job) -> float:
        return self._timing.clock() - (job.creating_s or job.intent.made_s)

    def _is_over(self, job: Job, wire: BatchWire) -> bool:
        if self.give_up_s is not None and self._timing.clock() >= self.give_up_s:
            return True
        if self._age_s(job) < wire.limits.deadline_s:
            return False
        hours = wire.limits.deadline_s / 3600
        self._observe(Notice(f"job {job.id} has not ended within {hours:g} h, so it is cancelled"))
        return True

    async def _cancel(self, job: Job, wire: BatchWire) -> None:
        if job.state != "cancelling":
            self._journal.cancelling(job)
        try:
            await wire.cancel(self._http, job.id or "")
        except ProviderError as error:
            self._observe(Notice(f"job {job.id} cannot be cancelled: {error.message}"))
