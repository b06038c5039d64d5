"""The rows of a job that has ended: each one once, whatever the provider gives for it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.closing import closed
from llmbatch_cli.core.errors import BadReply, NotAnswered, ProviderError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.drivers.provider_batch.asking import Asked, Times
from llmbatch_cli.drivers.provider_batch.claims import Claims
from llmbatch_cli.drivers.provider_batch.journal import Job, Journal
from llmbatch_cli.drivers.provider_batch.polling import GONE
from llmbatch_cli.drivers.provider_batch.spool import RowsFile, Spooled
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.providers.batch_api import BatchWire, Http, JobStatus, Result

MOST_TRIES: Final = 6
MOST_LOOKS: Final = 3
"""How often results are read that are fewer than the provider counts."""


@dataclass(slots=True)
class _Try:
    """What one reading of a job's results has met."""

    strange: int = 0
    """Results with ids that are not the job's."""
    trouble: ProviderError | None = None
    is_gone: bool = False


class NotOurs(Exception):
    """The job's results are another job's."""


class Collector:
    """Reads what jobs have."""

    def __init__(
        self,
        journal: Journal,
        http: Http,
        timing: Timing,
        observe: Observer,
        claims: Claims | None,
    ) -> None:
        self._journal = journal
        self._http = http
        self._timing = timing
        self._observe = observe
        self._claims = claims

    async def rows(
        self, job: Job, status: JobStatus, asked: Asked
    ) -> AsyncIterator[tuple[Spooled, Outcome | Spooled]]:
        """Each row of the job with its end, or as it is to be sent again.

        Raises NotOurs, and the ProviderError for which the results cannot be read.
        """
        times = Times(job.creating_s or job.intent.made_s, self._timing.clock())
        with RowsFile(self._journal.rows_of(job.intent.id)) as rows:
            taken = bytearray(len(rows))
            async with closed(self._results(job, status, asked, taken)) as results:
                async for number, result in results:
                    row = self._row(job, number, rows)
                    if row is not None:
                        yield row, await asked.outcome(row, result, times)
            for number, is_taken in enumerate(taken):
                row = None if is_taken else self._row(job, number, rows)
                if row is not None:
                    error = status.row_errors.get(number) or status.error or unanswered(status)
                    yield row, await asked.outcome(row, Result("", error=error), times)

    def _row(self, job: Job, number: int, rows: RowsFile) -> Spooled | None:
        row = rows[number]
        return row if self._claims is None else self._claims.row_of(job.intent.id, number, row)

    async def _results(
        self, job: Job, status: JobStatus, asked: Asked, taken: bytearray
    ) -> AsyncIterator[tuple[int, Result]]:
        """Each row's first result. What is not there yet is waited for, bounded."""
        wire, tries = asked.wire, 0
        while job.id is not None:
            one, before = _Try(), sum(taken)
            async with closed(self._read(job, status, wire, taken, one)) as founds:
                async for found in founds:
                    yield found
            if one.strange and not any(taken) and not wire.finds:
                raise NotOurs
            wanted = _wanted(status, taken)
            if one.trouble is None and sum(taken) >= wanted:
                self._tell_strange(job, one)
                return
            tries = 1 if sum(taken) > before else tries + 1
            if one.is_gone and tries >= MOST_LOOKS:
                self._tell_gone(job, asked, len(taken) - sum(taken))
                return
            if one.trouble is None and not (any(taken) or one.strange):
                one.trouble = _nothing(job, wanted)  # not taken for lost: they are paid for
            if one.trouble is not None and tries >= MOST_TRIES:
                raise one.trouble
            if one.trouble is None and tries >= MOST_LOOKS:
                self._tell_strange(job, one)
                return
            await self._timing.pause(wire.limits.first_poll_s * 2**tries / 2)
            status = await self._fresh(job, status, asked)

    async def _read(
        self, job: Job, status: JobStatus, wire: BatchWire, taken: bytearray, one: "_Try"
    ) -> AsyncIterator[tuple[int, Result]]:
        """The results of rows that were not taken yet, once; `one` is told what else there was.

        Raises the ProviderError for which it would not go better the next time.
        """
        try:
            async with closed(wire.collect(self._http, job.id or "", status)) as results:
                async for result in results:
                    number = number_in(result.custom_id, job.intent.id, len(taken))
                    if number is None:
                        one.strange += 1
                    elif not taken[number]:
                        taken[number] = 1
                        yield number, result
        except ProviderError as error:
            one.is_gone = error.status in GONE
            if not (error.retry or one.is_gone):
                raise
            one.trouble = error

    async def _fresh(self, job: Job, status: JobStatus, asked: Asked) -> JobStatus:
        """The job's state anew: an output file may be named late."""
        try:
            fresh = await asked.wire.poll(self._http, job.id or "")
        except ProviderError:
            return status
        return fresh if fresh.ended else status

    def _tell_strange(self, job: Job, one: "_Try") -> None:
        if one.strange:
            results = format_count(one.strange, "result")
            self._observe(Notice(f"job {job.id}: {results} with unknown ids are left out"))

    def _tell_gone(self, job: Job, asked: Asked, left: int) -> None:
        limits, rows = asked.wire.limits, format_count(left, "row")
        self._observe(
            Notice(
                f"the results of job {job.id} are gone: {asked.model.provider} keeps them for "
                f"{limits.kept}; its {rows} are sent again"
            )
        )


def _nothing(job: Job, wanted: int) -> ProviderError:
    """The error of results that are none, such as a web page in their place."""
    return BadReply(
        f"the results of job {job.id} have none of the {format_count(wanted, 'row')} that the "
        "provider counts as done",
        hint="--resume looks again, and nothing is sent twice",
    )


def _wanted(status: JobStatus, taken: bytearray) -> int:
    """How many results there are, as the provider says."""
    return min(len(taken), (status.done or 0) + (status.failed or 0))


def unanswered(status: JobStatus) -> ProviderError:
    """The error of a row that a job has nothing for."""
    if status.word == "gone":
        return NotAnswered("the provider does not know the job any more")
    return NotAnswered(f"the job has ended as {status.word}, without this row")


def number_in(custom_id: str, intent: str, rows: int) -> int | None:
    """The row's number; None for an id that is not of this job."""
    owner, dash, number = custom_id.rpartition("-")
    if owner != intent or not dash or not number.isdecimal() or not number.isascii():
        return None
    found = int(number) if len(number) < 10 else rows
    return found if found < rows and str(found) == number else None
