"""Rows of the input into jobs, as many as there is room for."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path

from llmbatch_cli.core.errors import ProviderError, Rejected, RunStopped, UsageError
from llmbatch_cli.core.types import BadRow, Failure, Outcome, Row
from llmbatch_cli.drivers.provider_batch.asking import Asked, Asking, OtherProvider
from llmbatch_cli.drivers.provider_batch.claims import Claims
from llmbatch_cli.drivers.provider_batch.filling import Filling, Fillings
from llmbatch_cli.drivers.provider_batch.journal import Journal, Reached
from llmbatch_cli.drivers.provider_batch.known import remember
from llmbatch_cli.drivers.provider_batch.rest import Rest
from llmbatch_cli.drivers.provider_batch.spool import Spooled
from llmbatch_cli.drivers.provider_batch.timing import Timing
from llmbatch_cli.engine.calls import failed_row, unsent
from llmbatch_cli.engine.waits import Postponed
from llmbatch_cli.providers.batch_api import Intent


class Feeder:
    """Puts rows where they are sent from: into a job, or to those that are sent live."""

    def __init__(
        self,
        asking: Asking,
        journal: Journal,
        claims: Claims | None,
        timing: Timing,
        is_live: Callable[[], bool],
        put: Callable[[Outcome], Awaitable[None]],
        meant: Callable[[], None],
    ) -> None:
        """
        Args:
            asking: the models.
            journal: where jobs are meant.
            claims: rows that open jobs hold.
            timing: the clock.
            is_live: whether no further job is made.
            put: takes the outcomes of rows that go into no job.
            meant: is told of each job that is meant.
        """
        self._asking = asking
        self._journal = journal
        self._claims = claims
        self._timing = timing
        self._is_live = is_live
        self._put = put
        self._meant = meant
        self.fillings = Fillings(journal)
        self.rest = Rest(journal.folder)
        self.ends_live = False
        """Whether what no job can take is sent live in the end."""
        self.room = asyncio.Event()
        """Set when a job is collected."""
        self.reached: RunStopped | None = None
        """Why rows were left undone."""
        self._is_over = False
        self._later: list[tuple[Intent, Reached]] = []

    async def hold_open(self) -> None:
        """Hold what the jobs of an earlier run may cost."""
        for id_, job in self._journal.jobs.items():
            purse = (await self._asking.for_spec(job.reached.spec)).purse
            if purse is not None:
                purse.hold_all(await asyncio.to_thread(purse.held_in, self._journal.rows_of(id_)))

    async def feed(
        self,
        rows: AsyncGenerator[Row, None],
        output: Path,
        check: Callable[[Claims], Awaitable[None]],
    ) -> None:
        """Every row that no open job holds already. Beside open jobs none is meant before all is
        read, and `check` has found nothing wrong with what they hold."""
        async for row in rows:
            if isinstance(row, BadRow):
                failure = Failure("invalid_row", f"{row.place}: {row.reason}")
                await self._put(failed_row(row, failure))
                continue
            if self._claims is not None and self._claims.claim(row):
                continue
            if self._is_over and self._claims is None:
                break
            if self._is_over:
                continue
            await self._feed_one(Spooled(row), output)
            while not (self._has_room() or self._is_over):
                self.room.clear()
                await self.room.wait()
        for filling in self.fillings.rest():
            await self._intend(filling, output)
        if self._claims is not None:
            await check(self._claims)
            for intent, reached in self._later:
                self._mean(intent, reached, output)

    async def _feed_one(self, row: Spooled, output: Path) -> None:
        full: list[Filling] = []
        try:
            asked = await self._asking.for_row(row.prompt)
        except OtherProvider as error:
            if not self._journal.jobs and not self._journal.collected:
                raise
            end: Outcome | None = unsent(row.prompt, error)
        except UsageError as error:
            end = unsent(row.prompt, error)
        else:
            end = await asked.remembered(row) or self._placed(row, asked, full)
        if end is not None:
            await self._put(end)
        for filling in full:
            await self._intend(filling, output)

    def _placed(self, row: Spooled, asked: Asked, full: list[Filling]) -> Outcome | None:
        try:
            return self.place(row, asked, self.fillings, full)
        except Postponed as postponed:
            self.postpone(postponed)
            return None

    def postpone(self, postponed: Postponed) -> None:
        """A row is left undone; the rest of the input, too, where no row can be paid for."""
        self.reached = self.reached or postponed.reason
        self._is_over = self._is_over or postponed.ends

    def end_detached(self, asked: Asked) -> None:
        """No more jobs are taken, and none is waited for."""
        most, provider = asked.wire.limits.jobs_at_once, asked.model.provider
        reason = RunStopped(
            f"{provider} takes {most} jobs at once, so not all rows are submitted",
            hint="--resume submits the rest once some have ended, or waits for it without --detach",
        )
        self.reached, self._is_over = self.reached or reason, True
        self.room.set()

    def place(
        self, row: Spooled, asked: Asked, fillings: Fillings, full: list[Filling]
    ) -> Outcome | None:
        """Put the row where it is sent from; its outcome where it cannot be sent.

        A job that is full without it is added to `full`. Raises Postponed where no money is left.
        """
        if self._is_live():
            self.rest.add(row)
            return None
        if asked.purse is not None:
            try:
                asked.purse.hold(row)
            except ProviderError as error:
                return asked.failed(row, error)
        try:
            filled = fillings.add(row, asked)
        except UsageError as error:
            return asked.failed(row, Rejected(error.message, hint=error.hint))
        except ProviderError as error:
            return asked.failed(row, error)
        if filled is not None:
            full.append(filled)
        return None

    def given_up(self, fillings: list[Filling]) -> Iterator[Outcome]:
        """The outcomes of the rows of those that are too small for a job, which are taken out."""
        for filling in [one for one in fillings if one.is_too_small]:
            fillings.remove(filling)
            for row in filling.given_up():
                if self.ends_live:
                    self.rest.add(row)
                else:
                    yield filling.asked.failed(row, filling.too_few())

    async def _intend(self, filling: Filling, output: Path) -> None:
        if filling.is_too_small:
            for outcome in self.given_up([filling]):
                await self._put(outcome)
            return
        intent, reached = await asyncio.to_thread(filling.close, self._timing.clock())
        if self._claims is not None:
            self._later.append((intent, reached))
        else:
            self._mean(intent, reached, output)

    def _mean(self, intent: Intent, reached: Reached, output: Path) -> None:
        if not self._journal.jobs:
            remember(output, os.environ)
        self._journal.intend(intent, reached)
        self._meant()

    def _has_room(self) -> bool:
        """Whether further rows are read: all are where jobs of an earlier run wait for theirs."""
        most = self._asking.home.wire.limits.jobs_at_once
        return self._claims is not None or len(self._journal.jobs) < most

    def close(self) -> None:
        """Leave the files of jobs that will not be."""
        self.fillings.abandon()
        self.rest.close()
