"""What a race comes to: its runners as the outcomes and racers of a row."""

from collections.abc import Sequence

from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.types import Failure, Outcome, Prompt, Racer
from llmbatch_cli.engine.calls import Model, failure_of
from llmbatch_cli.engine.race import Runner


def outcomes_of(
    prompt: Prompt,
    lanes: Sequence[Model],
    runners: Sequence[Runner],
    *,
    every: bool,
    started_s: float,
    ttft: dict[int, float],
) -> tuple[Outcome, ...]:
    """One outcome for a race, or one for each winner; with `every`, one for each model.

    The winners come first. Their times are from the start of the race; a racer's own is from
    its own start, which a hedge has put off.
    """
    racers = [
        racer_of(prompt, lane, runner)
        for lane, runner in zip(lanes, runners, strict=True)
        if runner.status != "waiting"
    ]
    won = [place for place, runner in enumerate(runners) if runner.status == "won"]
    if not won and not every:
        return (_lost(prompt, lanes, runners, racers, started_s),)
    others = [place for place in range(len(runners)) if place not in won] if every else []
    places = won + others
    outcomes = tuple(
        _outcome(prompt, lanes[place], runners[place], racers, started_s, ttft.get(place))
        for place in places
    )
    for number, outcome in enumerate(outcomes, 1):
        outcome.part = number, len(places)
    return outcomes


def _outcome(
    prompt: Prompt,
    lane: Model,
    runner: Runner,
    racers: Sequence[Racer],
    started_s: float,
    ttft_s: float | None,
) -> Outcome:
    return Outcome(
        prompt.index,
        prompt.id,
        lane.model,
        lane.provider,
        runner.completion if runner.status == "won" else None,
        _failure(prompt, runner),
        _since(started_s, runner),
        attempts_of(runner),
        prompt.metadata,
        race=racers,
        failed_attempts=_failed_attempts(runner),
        ttft_s=ttft_s,
        partial=partial_of(runner),
        key=prompt.key,
    )


def _since(started_s: float, runner: Runner) -> float:
    return runner.ended_s - started_s if runner.ended_s is not None else 0.0


def attempts_of(runner: Runner) -> int:
    """Requests that were sent for it."""
    if runner.completion is not None:
        return len(runner.completion.attempts) + 1
    if runner.error is not None:
        return runner.error.tries
    return len(_failed_attempts(runner)) + _cut(runner)


def partial_of(runner: Runner) -> str | None:
    """The text of an answer that broke off, or that was no good."""
    if runner.error is None:
        return None
    return runner.error.partial or (runner.completion.text if runner.completion else None)


def _cut(runner: Runner) -> bool:
    return runner.cancelled is not None and runner.cancelled.in_flight is not None


def _failure(prompt: Prompt, runner: Runner) -> Failure | None:
    return failure_of(runner.error, prompt.messages) if runner.error is not None else None


def _failed_attempts(runner: Runner) -> Sequence[Attempt]:
    told = runner.completion or runner.error or runner.cancelled
    return told.attempts if told is not None else ()


def racer_of(prompt: Prompt, lane: Model, runner: Runner) -> Racer:
    """How one model fared, as a row of output tells it."""
    if runner.status not in ("won", "lost", "cancelled", "failed"):
        raise RuntimeError(f"{lane.name} is still {runner.status}")
    return Racer(
        lane.model,
        lane.provider,
        runner.status,
        runner.latency_s or 0.0,
        attempts_of(runner),
        _failure(prompt, runner),
        runner.completion.usage if runner.completion is not None else None,
        _failed_attempts(runner),
        _cut(runner),
    )


def _lost(
    prompt: Prompt,
    lanes: Sequence[Model],
    runners: Sequence[Runner],
    racers: Sequence[Racer],
    started_s: float,
) -> Outcome:
    """The outcome of a race without a winner: every cause is told.

    Its kind is the one that all have in common, or that of the model whose text had begun.
    """
    failures = [racer.error for racer in racers if racer.error is not None]
    told = "; ".join(
        f"{racer.provider}/{racer.model}: {racer.error.kind}: {racer.error.message}"
        for racer in racers
        if racer.error is not None
    )
    leaders = [_failure(prompt, runner) for runner in runners if runner.led]
    deciding = [one for one in leaders if one is not None] or failures
    kinds, statuses = {one.kind for one in deciding}, {one.status for one in deciding}
    failure = Failure(
        kinds.pop() if len(kinds) == 1 else "all_failed",
        told or "every request was cancelled",
        statuses.pop() if len(statuses) == 1 else None,
        any(failure.retryable for failure in failures),
        next((r.error.asked for r in runners if r.error and r.error.asked), prompt.messages),
    )
    return Outcome(
        prompt.index,
        prompt.id,
        lanes[0].model if len(lanes) == 1 else None,
        lanes[0].provider if len(lanes) == 1 else None,
        None,
        failure,
        max(_since(started_s, runner) for runner in runners),
        sum(racer.attempts for racer in racers),
        prompt.metadata,
        race=racers,
        partial=next(filter(None, map(partial_of, runners)), None),
        key=prompt.key,
    )
