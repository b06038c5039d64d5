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
LONGEST_ASKED_S: Final = 900.0
"""Between polls, whatever a server asks for."""
MOST_GONE: Final = 4
"""How often a job must be said not to be there: its rows are paid for again then."""
SILENCE_S: Final = 600.0
"""So long without a word of a job that was to end, the run stops and leaves it as it is."""
TOLD_AGAIN_S: Final = 3600.0


@dataclass(slots=True)
class Watched:
    """A job and what its provider has said last."""

    job: Job
    status: JobStatus | None = None
    trouble: ProviderError | None = None
    """Why the provider has not said, last, how it stands."""
    silent_s: float = 0.0
    """Since when."""
    told_s: float = 0.0
    """When that was said."""


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
        job, gone = watched.job, 0
        while True:
            try:
                status = await wire.poll(self._http, job.id or "")
            except ProviderError as error:
                is_gone = error.status in GONE
                if not (is_gone or error.retry):
                    raise
                gone += is_gone and self._age_s(job) > YOUNG_S
                if is_gone and gone == MOST_GONE:
                    status = JobStatus(word="gone", ended=True)
                elif is_gone and gone:  # once may be a proxy's, or a server's that starts
                    await self._timing.pause(wire.limits.appears_s / 2)
                    continue
                else:
                    self._tell_trouble(watched, error, is_young=is_gone)
                    return None
            watched.status, watched.trouble, watched.told_s = status, None, 0.0
            return status

    async def until_ended(
        self, watched: Watched, wire: BatchWire, changed: Callable[[], None]
    ) -> JobStatus:
        """Poll until nothing more will come of the job. Raises the ProviderError for which that is
        not known of one that was cancelled."""
        job, limits = watched.job, wire.limits
        wait_s = limits.first_poll_s
        settles_s: float | None = None
        is_asked = False
        while True:
            status = await self.look(watched, wire)
            changed()
            if status is not None and status.ended:
                return status
            now_s = self._timing.clock()
            if settles_s is not None and now_s > settles_s:
                if status is not None:
                    self._tell_unsettled(job, limits.settles_s)
                    return status
                if watched.trouble is not None and now_s - watched.silent_s > SILENCE_S:
                    raise watched.trouble
            if settles_s is None and (job.state == "cancelling" or self._is_over(job, wire)):
                settles_s = now_s + limits.settles_s
            if settles_s is not None and not is_asked:
                is_asked = await self._cancel(job, wire)
            asked_s = status.retry_after_s if status is not None else None
            if asked_s is not None:
                most_s = LONGEST_ASKED_S if settles_s is None else limits.longest_poll_s
                asked_s = min(max(asked_s, LEAST_WAIT_S), most_s)
            await self._timing.pause(self._until_given_up(wait_s if asked_s is None else asked_s))
            wait_s = min(1.5 * wait_s, limits.longest_poll_s)

    def _until_given_up(self, wait_s: float) -> float:
        """The wait, cut where the time for jobs ends."""
        if self.give_up_s is None:
            return wait_s
        left_s = self.give_up_s - self._timing.clock()
        return min(wait_s, left_s + LEAST_WAIT_S) if left_s > 0 else wait_s

    def _tell_trouble(self, watched: Watched, error: ProviderError, *, is_young: bool) -> None:
        now_s = self._timing.clock()
        if watched.trouble is None:
            watched.silent_s = now_s
        watched.trouble = error
        if is_young or now_s - watched.told_s < TOLD_AGAIN_S:
            return
        watched.told_s = now_s
        self._observe(
            Notice(f"how job {watched.job.id} stands is not known just now: {error.message}")
        )

    def _tell_unsettled(self, job: Job, settles_s: float) -> None:
        self._observe(
            Notice(
                f"job {job.id} has not ended within {settles_s / 60:g} min after it was cancelled; "
                "rows that it may still answer are sent again"
            )
        )

    def _age_s(self, job: Job) -> float:
        return self._timing.clock() - (job.creating_s or job.intent.made_s)

    def _is_over(self, job: Job, wire: BatchWire) -> bool:
        if self.give_up_s is not None and self._timing.clock() >= self.give_up_s:
            return is_ours(job, wire)
        if self._age_s(job) < wire.limits.deadline_s:
            return False
        hours = wire.limits.deadline_s / 3600
        self._observe(Notice(f"job {job.id} has not ended within {hours:g} h, so it is cancelled"))
        return True

    async def _cancel(self, job: Job, wire: BatchWire) -> bool:
        """Whether the end of the job was asked for, or cannot be."""
        if not is_ours(job, wire):
            return True
        if job.state != "cancelling":
            self._journal.cancelling(job)
        try:
            await wire.cancel(self._http, job.id or "")
        except ProviderError as error:
            what = "just now" if error.retry else "at all"
            self._observe(Notice(f"job {job.id} cannot be cancelled {what}: {error.message}"))
            return not error.retry
        return True


def is_ours(job: Job, wire: BatchWire) -> bool:
    """Whether the job is surely this run's: one that was found by its time and its number of rows
    may be another's, which must not be ended."""
    return job.is_sure or wire.finds
