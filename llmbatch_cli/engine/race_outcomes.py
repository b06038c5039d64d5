"""The end of a race: its calls as the outcomes and racers of a row."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmbatch_cli.core.types import Failure, Outcome, Prompt, Racer, Request
from llmbatch_cli.engine.calls import Model, failure_of
from llmbatch_cli.engine.race import RaceResult


@dataclass(slots=True)
class RacedCall:
    """One model's part in one race."""

    model: Model
    request: Request
    first_text_s: float | None = None
    """When its first text arrived; None where it streamed none."""
    result: RaceResult = field(default_factory=RaceResult)

    @property
    def latency_s(self) -> float:
        """From its first attempt to its end; to its cancellation from its own start."""
        if self.result.status == "cancelled":
            return self.result.latency_s or 0.0
        return self.request.ledger.latency_s or 0.0

    @property
    def failure(self) -> Failure | None:
        """Why it failed, or why its answer cannot win."""
        error = self.result.error
        return failure_of(error, self.request.messages) if error is not None else None

    @property
    def partial(self) -> str | None:
        """The text of an answer that broke off, or that cannot win."""
        error = self.result.error
        if error is None:
            return None
        completion = self.result.completion
        return self.request.ledger.partial or (completion.text if completion else error.text)

    def ended_after(self, started_s: float) -> float:
        """Seconds from the start of the race to its end; 0 for one that was not started."""
        ended_s = self.result.ended_s
        return ended_s - started_s if ended_s is not None else 0.0


def outcomes_of(
    prompt: Prompt, calls: Sequence[RacedCall], *, every: bool, started_s: float
) -> tuple[Outcome, ...]:
    """One outcome for a race, or one for each winner; with `every`, one for each model.

    The winners come first. Their times are from the start of the race at `started_s`; a racer's
    own is from its own start, which a hedge may delay.
    """
    started = [one for one in calls if one.result.status != "waiting"]
    racers = [racer_of(one) for one in started]
    won = [one for one in calls if one.result.status == "won"]
    if won or every:
        chosen = won + [one for one in calls if every and one.result.status != "won"]
        outcomes = [_outcome(prompt, one, started_s) for one in chosen]
    else:
        chosen = []
        outcomes = [_lost(prompt, calls, racers, started_s)]
    further = {id(one) for one in chosen[1:]}
    others = [one.request.ledger for one in started if id(one) not in further]
    for number, outcome in enumerate(outcomes, 1):
        outcome.race, outcome.part = racers, (number, len(outcomes))
        outcome.ledgers = others if number == 1 else [chosen[number - 1].request.ledger]
    return tuple(outcomes)


def _outcome(prompt: Prompt, call: RacedCall, started_s: float) -> Outcome:
    result, ledger = call.result, call.request.ledger
    return Outcome(
        prompt.index,
        prompt.id,
        call.model.id,
        call.model.provider,
        result.completion if result.status == "won" else None,
        call.failure,
        call.ended_after(started_s),
        len(ledger.attempts),
        prompt.metadata,
        failed_attempts=ledger.failed,
        ttft_s=call.first_text_s - started_s if call.first_text_s is not None else None,
        partial=call.partial,
        key=prompt.key,
        repeat=prompt.repeat,
        cached=ledger.cached and result.status == "won",
    )


def racer_of(call: RacedCall) -> Racer:
    """How one model fared, as a row of output shows it."""
    result, ledger = call.result, call.request.ledger
    if result.status not in ("won", "lost", "cancelled", "failed"):
        raise RuntimeError(f"{call.model.name} is still {result.status}")
    return Racer(
        call.model.id,
        call.model.provider,
        result.status,
        call.latency_s,
        len(ledger.attempts),
        call.failure,
        result.completion.usage if result.completion and not ledger.cached else None,
        ledger.failed,
        ledger.cancelled_in_flight,
        ledger.cached,
        ledger,
    )


def _lost(
    prompt: Prompt, calls: Sequence[RacedCall], racers: Sequence[Racer], started_s: float
) -> Outcome:
    """The outcome of a race without a winner, with every model's error.

    Its kind is the one that all have in common, or that of the model whose text had begun.
    """
    failed = [(racer, racer.error) for racer in racers if racer.error is not None]
    message = "; ".join(
        f"{racer.provider}/{racer.model}: {error.kind}: {error.message}" for racer, error in failed
    )
    leaders = [one.failure for one in calls if one.result.led]
    deciding = [one for one in leaders if one is not None] or [error for _, error in failed]
    kinds, statuses = {one.kind for one in deciding}, {one.status for one in deciding}
    failure = Failure(
        kinds.pop() if len(kinds) == 1 else "all_failed",
        message or "every request was cancelled",
        statuses.pop() if len(statuses) == 1 else None,
        any(error.retryable for _, error in failed),
        calls[0].request.messages,
    )
    only = calls[0].model if len(calls) == 1 else None
    return Outcome(
        prompt.index,
        prompt.id,
        only.id if only is not None else None,
        only.provider if only is not None else None,
        None,
        failure,
        max(one.ended_after(started_s) for one in calls),
        sum(racer.attempts for racer in racers),
        prompt.metadata,
        partial=next(filter(None, (one.partial for one in calls)), None),
        key=prompt.key,
        repeat=prompt.repeat,
    )
