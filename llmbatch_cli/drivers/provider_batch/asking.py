"""One model as it is asked through its provider's batch API: rows to bytes, replies to outcomes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from llmbatch_cli.core.errors import InvalidOutput, ProviderError, UsageError
from llmbatch_cli.core.events import LeftUndone
from llmbatch_cli.core.types import (
    Call,
    Completion,
    Failure,
    Message,
    Outcome,
    Prompt,
    Request,
    WireRequest,
)
from llmbatch_cli.drivers.provider_batch.journal import Reached
from llmbatch_cli.drivers.provider_batch.purse import Purse
from llmbatch_cli.drivers.provider_batch.spool import Spooled
from llmbatch_cli.engine.budget import Budget
from llmbatch_cli.engine.calls import Model, answered, failure_of, read, record, request_for
from llmbatch_cli.engine.fallback import outcome_of
from llmbatch_cli.engine.shaped import CUT_OFF
from llmbatch_cli.providers.batch_api import BatchWire, Result

LANE: Final = "batch"


Price = Callable[[Outcome, Prompt], Awaitable[None]]


async def unpriced(outcome: Outcome, prompt: Prompt) -> None:
    """Leave the outcome without a cost."""


@dataclass(slots=True)
class Times:
    """When a job was submitted, and read, in seconds since the epoch."""

    began_s: float
    now_s: float


class Asked:
    """One model at its provider's batch API."""

    def __init__(
        self,
        model: Model,
        wire: BatchWire,
        spec: str,
        *,
        system: Message | None = None,
        max_attempts: int = 1,
        price: Price = unpriced,
        budget: Budget | None = None,
    ) -> None:
        """
        Args:
            model: as it is called live.
            wire: its provider's.
            spec: the model as the user named it.
            system: for rows that have no system message.
            max_attempts: how often a row is sent.
            price: sets what an outcome has cost.
            budget: what all models together may cost.
        """
        assert model.parts is not None  # noqa: S101 - every model of a pool has them
        self.model = model
        self.wire = wire
        self.reached = Reached(
            provider=model.provider,
            spec=spec,
            base_url=wire.base_url,
            account=wire.account,
        )
        self.purse: Purse | None = None
        """None where nothing is held back."""
        if budget is not None and model.parts.terms is not None:
            self.purse = Purse(budget, model.parts.terms, lambda row: self.encode(row)[1])
        self._encode = model.parts.encode
        self._parse = model.parts.provider.parse
        self._shaped = model.parts.shaped
        known = model.parts.known
        self._known = None if known is None else replace(known, deadlines=None)
        self._system = system
        self._max_attempts = max_attempts
        self._price = price
        self._sent = WireRequest("POST", wire.base_url, wire.headers)

    def request(self, row: Spooled) -> Request:
        """The row as a request, with its attempts so far."""
        request = request_for(row.prompt, self.model, self._system)
        ledger = request.ledger
        ledger.lane = LANE
        ledger.attempts, ledger.started_s = list(row.attempts), row.started_s
        return request

    def encode(self, row: Spooled) -> tuple[WireRequest, Request]:
        """What the live call would send. Raises Unsent, and UsageError for what no job can hold."""
        request = self.request(row)
        if "extra_headers" in request.params:
            raise UsageError(
                "extra_headers cannot be sent by a batch API",
                hint="leave them out, or send the row without --batch-api",
            )
        shaped = self._shaped
        if shaped is not None:
            if row.unfit is not None:
                text, reason = row.unfit
                error = InvalidOutput("", text=text, reason=reason)
                request = shaped.asked_again(request, error)
            request = shaped.first_asked(request)
        return self._encode(request), request

    async def remembered(self, row: Spooled) -> Outcome | None:
        """The row's end where its answer is in the cache."""
        if self._known is None:
            return None
        request, shaped = self.request(row), self._shaped
        request.ledger.lane = None
        call = self._known.before(_missing, streamed=False)
        if shaped is not None:
            request, call = shaped.first_asked(request), shaped.around(call, once=True)
        try:
            completion = await call(request)
        except (_Missing, InvalidOutput):
            return None
        outcome = outcome_of(row.prompt, self.model, completion, (request.ledger,))
        await self._price(outcome, row.prompt)
        return outcome

    async def outcome(self, row: Spooled, result: Result, times: Times) -> Outcome | Spooled:
        """The row's end, or the row to be sent again."""
        request, finish = self.request(row), None
        known: list[ProviderError] = []

        async def replayed(asked: Request) -> Completion:
            nonlocal finish
            if known:  # asked for in another form, which takes another job
                raise known[0]
            ledger = asked.ledger
            ledger.begin(times.began_s)
            try:
                if result.reply is None:
                    raise result.error or ProviderError("the provider has given no reply")
                completion = read(self._parse, asked, self._sent, result.reply)
            except ProviderError as error:
                record(ledger, error, times.now_s)
                known.append(error)
                raise
            finish = completion.finish_reason
            answered(ledger, completion, result.reply.status, times.now_s)
            if self._known is not None:
                self._known.keep(asked, completion)
            return completion

        call: Call = replayed
        if self._shaped is not None:
            call = self._shaped.around(replayed, once=True)
        end: Completion | Failure
        try:
            try:
                end = await call(request)
            finally:
                if self.purse is not None:
                    self.purse.settle(row, request.ledger)
        except ProviderError as error:
            if self._is_asked_again(row, request, error, finish):
                return again(row, request, error)
            end = failure_of(error.without_frames(), request.messages)
        outcome = outcome_of(row.prompt, self.model, end, (request.ledger,))
        await self._price(outcome, row.prompt)
        return outcome

    def failed(self, row: Spooled, error: ProviderError) -> Outcome:
        """The end of a row that cannot be sent."""
        if self.purse is not None:
            self.purse.give_back(row)
        request = self.request(row)
        failure = failure_of(error, request.messages)
        return outcome_of(row.prompt, self.model, failure, (request.ledger,))

    async def left(self, row: Spooled) -> LeftUndone:
        """What a row has cost that is not sent again, for want of money."""
        ledger, prompt = self.request(row).ledger, row.prompt
        end = Outcome(prompt.index, prompt.id, None, None, ledgers=(ledger,))
        await self._price(end, prompt)
        return LeftUndone(prompt.index, ledger.attempts, end.cost_usd, end.maybe_billed)

    def _is_asked_again(
        self, row: Spooled, request: Request, error: ProviderError, finish: str | None
    ) -> bool:
        if isinstance(error, InvalidOutput):
            left = self._shaped is not None and row.refits < self._shaped.retries
            return left and finish not in CUT_OFF
        return error.retry and len(request.ledger.attempts) < self._max_attempts


class _Missing(Exception):
    """The cache has no answer."""


async def _missing(request: Request) -> Completion:
    raise _Missing


def again(row: Spooled, request: Request, error: ProviderError) -> Spooled:
    """The row for another job."""
    ledger = request.ledger
    is_unfit = isinstance(error, InvalidOutput)
    return Spooled(
        row.prompt,
        ledger.attempts,
        ledger.started_s,
        (error.text or "", error.reason) if isinstance(error, InvalidOutput) else row.unfit,
        row.refits + is_unfit,
    )


def tried(row: Spooled, outcome: Outcome) -> Spooled:
    """The row with all of its attempts, for another way than a job."""
    attempts = [attempt for ledger in outcome.ledgers for attempt in ledger.attempts]
    return replace(row, attempts=attempts, held=None)


class OtherProvider(UsageError):
    """A row names a model of another provider than the run's."""


class Asking(Protocol):
    """The models of a run."""

    async def for_row(self, prompt: Prompt) -> Asked:
        """The model of a row. Raises UsageError."""

    async def for_spec(self, spec: str) -> Asked:
        """The model of this name, as in a journal. Raises UsageError."""

    @property
    def home(self) -> Asked:
        """The run's own model."""
