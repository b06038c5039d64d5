"""The work of a race: each row to several models, the first good answers are its outcomes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race import Runner, Start, race
from llmbatch_cli.engine.stack import Lane, failure_of, request_for, stopped, unsent
from llmbatch_cli.errors import ProviderError, RunStopped, TimedOut, Unreachable, UsageError
from llmbatch_cli.events import Event, Notice, Observer, Retried
from llmbatch_cli.privacy import without_prompt
from llmbatch_cli.types import (
    Attempt,
    Completion,
    Failure,
    Message,
    Outcome,
    Prompt,
    Racer,
)

DEAD_AFTER: Final = 3
"""A model whose host was not reached in so many races, and never was, leaves the run."""

EntrantsFor = Callable[[Prompt], Awaitable[Sequence[Lane]]]
"""The lanes that race for a row, in the order of preference. Raises UsageError."""

OnText = Callable[[Prompt, Lane, str], None]
"""Is told the leader's text as it arrives."""


class NotGood(ProviderError):
    """An answer that cannot win."""

    kind = "not_good"


@dataclass(frozen=True, slots=True)
class Rules:
    """What it takes to win."""

    wins: int | None = 1
    """Good answers wanted for each row; None wants every model's."""
    accept_truncated: bool = False
    """Whether an answer cut off by length is good."""
    stream: bool = False
    """Whether the first text wins, instead of the first whole answer."""


def judge(rules: Rules) -> Callable[[Completion], ProviderError | None]:
    """Good is what is not empty, not cut off by length, not stopped by a content filter."""

    def complaint(completion: Completion) -> ProviderError | None:
        if completion.finish_reason == "content_filter":
            return NotGood("the content filter stopped the answer")
        if completion.finish_reason == "length" and not rules.accept_truncated:
            return NotGood("the answer is cut off by length", hint="--accept-truncated takes it")
        if not completion.tool_calls and not (completion.text or "").strip():
            return NotGood("the answer is empty")
        return None

    return complaint


class Contest:
    """The races of one run. What one model did in them decides whether it stays."""

    def __init__(
        self,
        entrants_for: EntrantsFor,
        rules: Rules,
        *,
        in_flight: int,
        hedge: Hedge | None,
        clock: Callable[[], float],
        observe: Observer,
        system: Message | None = None,
        on_text: OnText = lambda prompt, lane, text: None,
    ) -> None:
        self._entrants_for = entrants_for
        self._rules = rules
        self._complaint = judge(rules)
        self._slots = asyncio.Semaphore(in_flight)
        self._hedge = hedge
        self._clock = clock
        self._observe = observe
        self._system = system
        self._on_text = on_text
        self._out: dict[str, ProviderError] = {}
        """Models that have left the run, and why."""
        self._unreached: dict[str, int] = {}
        """Races in which a model's host was not reached, for those that never were."""
        self._reached: set[str] = set()

    async def __call__(self, prompt: Prompt) -> tuple[Outcome, ...]:
        try:
            entrants = await self._entrants_for(prompt)
        except UsageError as error:
            return (unsent(prompt, error),)
        lanes = [lane for lane in entrants if lane.name not in self._out]
        if not lanes:
            raise self._nobody_left(entrants)
        started = self._clock()
        first_texts: dict[int, float] = {}
        runners = await race(
            [self._start(prompt, lane, place, first_texts) for place, lane in enumerate(lanes)],
            wins=self._rules.wins or len(lanes),
            hedge_s=self._hedge.wait_s if self._hedge is not None else None,
            complaint=self._complaint,
            clock=self._clock,
        )
        self._learn(lanes, runners)
        if all(_is_fatal(runner) for runner in runners):
            raise self._nobody_left(lanes)
        ttft = {place: at - started for place, at in first_texts.items()}
        return outcomes_of(prompt, lanes, runners, self._rules, started, ttft)

    def _start(
        self, prompt: Prompt, lane: Lane, place: int, first_texts: dict[int, float]
    ) -> Start:
        request = request_for(prompt, lane, self._system)

        async def start(leads: Callable[[], None]) -> Completion:
            def on_text(text: str) -> None:
                if place not in first_texts:
                    first_texts[place] = self._clock()
                    leads()
                self._on_text(prompt, lane, text)

            async with self._slots:
                if not self._rules.stream or lane.stream is None:
                    return await lane.call(request)
                return await lane.stream(request, on_text)

        return start

    def _learn(self, lanes: Sequence[Lane], runners: Sequence[Runner]) -> None:
        first = runners[0]
        if self._hedge is not None and first.latency_s is not None and first.status != "failed":
            self._hedge.add(first.latency_s)
        for lane, runner in zip(lanes, runners, strict=True):
            if runner.completion is not None:
                self._reached.add(lane.name)
            elif runner.error is not None:
                self._learn_failure(lane, runner.error)

    def _learn_failure(self, lane: Lane, error: ProviderError) -> None:
        name = lane.name
        if isinstance(error, Unreachable):
            self._unreached[name] = self._unreached.get(name, 0) + 1
        elif not isinstance(error, TimedOut):  # which may have gone into connecting
            self._reached.add(name)
        dead = name not in self._reached and self._unreached.get(name, 0) >= DEAD_AFTER
        if error.fatal or dead:
            self._drop(lane, error)

    def heed(self, event: Event) -> None:
        """Learn from a request that is tried again: its race may be over before it fails."""
        if isinstance(event, Retried) and event.kind == Unreachable.kind:
            name = event.model
            self._unreached[name] = self._unreached.get(name, 0) + 1
            if name not in self._reached and self._unreached[name] >= DEAD_AFTER:
                self._leave(name, Unreachable("its host cannot be reached"), None)

    def _drop(self, lane: Lane, error: ProviderError) -> None:
        self._leave(lane.name, error, error.hint or (lane.key_hint if error.fatal else None))

    def _leave(self, name: str, error: ProviderError, hint: str | None) -> None:
        if name in self._out:
            return
        self._out[name] = error
        message = without_prompt(error.message, error.asked)
        told = f"{name} leaves the race: {error.kind}: {message}"
        self._observe(Notice(f"{told} (hint: {hint})" if hint else told))

    def _nobody_left(self, lanes: Sequence[Lane]) -> RunStopped:
        lane = next((one for one in lanes if one.name in self._out), lanes[0])
        reason = stopped(lane, self._out[lane.name])
        return RunStopped(f"no model is left to race; {reason.message}", hint=reason.hint)


def _is_fatal(runner: Runner) -> bool:
    return runner.error is not None and runner.error.fatal


def outcomes_of(
    prompt: Prompt,
    lanes: Sequence[Lane],
    runners: Sequence[Runner],
    rules: Rules,
    started_s: float,
    ttft: dict[int, float],
) -> tuple[Outcome, ...]:
    """One outcome for a race, or one for each winner, and with all models wanted for each.

    Their times are from the start of the race; a racer's own is from its own start, which a
    hedge has put off.
    """
    racers = [
        racer_of(prompt, lane, runner)
        for lane, runner in zip(lanes, runners, strict=True)
        if runner.status != "waiting"
    ]
    chosen = [
        (place, lane, runner)
        for place, (lane, runner) in enumerate(zip(lanes, runners, strict=True))
        if runner.status == "won" or rules.wins is None
    ]
    if not chosen:
        return (_lost(prompt, lanes, runners, racers, started_s),)
    return tuple(
        Outcome(
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
            ttft_s=ttft.get(place),
            key=prompt.key,
        )
        for place, lane, runner in chosen
    )


def _since(started_s: float, runner: Runner) -> float:
    return runner.ended_s - started_s if runner.ended_s is not None else 0.0


def attempts_of(runner: Runner) -> int:
    """Requests that were sent for it, at least."""
    if runner.completion is not None:
        return len(runner.completion.attempts) + 1
    return max(1, len(runner.error.attempts)) if runner.error is not None else 1


def _failure(prompt: Prompt, runner: Runner) -> Failure | None:
    return failure_of(runner.error, prompt.messages) if runner.error is not None else None


def _failed_attempts(runner: Runner) -> Sequence[Attempt]:
    told = runner.completion if runner.completion is not None else runner.error
    return told.attempts if told is not None else ()


def racer_of(prompt: Prompt, lane: Lane, runner: Runner) -> Racer:
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
    )


def _lost(
    prompt: Prompt,
    lanes: Sequence[Lane],
    runners: Sequence[Runner],
    racers: Sequence[Racer],
    started_s: float,
) -> Outcome:
    """The outcome of a race without a winner: every cause is told."""
    failures = [racer.failure for racer in racers if racer.failure is not None]
    kinds = {failure.kind for failure in failures}
    told = "; ".join(
        f"{racer.provider}/{racer.model}: {racer.failure.kind}: {racer.failure.message}"
        for racer in racers
        if racer.failure is not None
    )
    partial = next((r.error.partial for r in runners if r.error and r.error.partial), None)
    statuses = {failure.status for failure in failures}
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
        partial=partial,
        key=prompt.key,
    )
