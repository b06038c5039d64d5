"""The work of a race: each row to several models, the first good answers are its outcomes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import ProviderError, RunStopped, TimedOut, Unreachable, UsageError
from llmbatch_cli.core.events import Event, Notice, Observer, Retried
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.core.types import (
    Completion,
    Failure,
    Message,
    Outcome,
    Params,
    Prompt,
    Request,
)
from llmbatch_cli.engine.calls import Model, holds_for_all, request_for, stopped, unsent
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.race import Runner, Start, race
from llmbatch_cli.engine.race_outcomes import outcomes_of
from llmbatch_cli.engine.validate import can_check, misfit, schema_of

DEAD_AFTER: Final = 3
"""A model whose host was not reached in so many tries, and never was, leaves the run."""

EntrantsFor = Callable[[Prompt], Awaitable[Sequence[Model]]]
"""The lanes that race for a row, in the order of preference. Raises UsageError."""

OnText = Callable[[Prompt, Model, str], None]
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


def judge(rules: Rules) -> Callable[[Completion, Params], ProviderError | None]:
    """Good is what is not empty, not cut off by length, not stopped by a content filter, and
    of the form that is asked for."""

    def complaint(completion: Completion, params: Params) -> ProviderError | None:
        if completion.finish_reason == "content_filter":
            return NotGood("the content filter stopped the answer")
        if completion.finish_reason == "length" and not rules.accept_truncated:
            return NotGood("the answer is cut off by length", hint="--accept-truncated takes it")
        if not completion.tool_calls and not (completion.text or "").strip():
            return NotGood("the answer is empty")
        wrong = misfit(completion.text, params) if completion.text else None
        return NotGood(wrong) if wrong is not None else None

    return complaint


class Contest:
    """The races of one run. What one model did in them decides whether it stays."""

    def __init__(
        self,
        entrants_for: EntrantsFor,
        racers: Sequence[Model],
        rules: Rules,
        *,
        hedge: Hedge | None,
        clock: Callable[[], float],
        observe: Observer,
        system: Message | None = None,
        on_text: OnText = lambda prompt, lane, text: None,
    ) -> None:
        """
        Args:
            entrants_for: who races for a row.
            racers: the run's own; a run ends when all of them are out.
            rules: what it takes to win.
            hedge: when to start the next model; None starts all at once.
            clock: seconds.
            observe: is told once of each model that leaves.
            system: put in front of rows without a system message.
            on_text: is told the leader's text.
        """
        self._racers = racers
        self._entrants_for = entrants_for
        self._rules = rules
        self._complaint = judge(rules)
        self._hedge = hedge
        self._clock = clock
        self._observe = observe
        self._system = system
        self._on_text = on_text
        self._out: dict[str, ProviderError] = {}
        """Models that have left the run, and why."""
        self._unreached: dict[str, int] = {}
        """Tries in which a model's host was not reached, for those that never were."""
        self._reached: set[str] = set()
        self._answered: set[str] = set()
        self._told_unchecked = False

    async def __call__(self, prompt: Prompt) -> tuple[Outcome, ...]:
        try:
            entrants = await self._entrants_for(prompt)
        except UsageError as error:
            return (unsent(prompt, error),)
        lanes = [lane for lane in entrants if lane.name not in self._out]
        if not lanes:
            self._end_where_nobody_is_left()
            return (self._unraced(prompt, entrants),)
        started = self._clock()
        first_texts: dict[int, float] = {}
        requests = [request_for(prompt, lane, self._system) for lane in lanes]
        self._tell_unchecked(requests[0])
        runners = await race(
            [
                self._start(prompt, lane, place, request, first_texts)
                for place, (lane, request) in enumerate(zip(lanes, requests, strict=True))
            ],
            wins=self._rules.wins or len(lanes),
            hedge_s=self._hedge.wait_s if self._hedge is not None else None,
            complaint=lambda place, found: self._complaint(found, requests[place].params),
            clock=self._clock,
        )
        self._learn(lanes, runners)
        if all(_is_fatal(runner) for runner in runners):
            self._end_where_nobody_is_left()
        ttft = {place: at - started for place, at in first_texts.items()}
        every = self._rules.wins is None
        return outcomes_of(prompt, lanes, runners, every=every, started_s=started, ttft=ttft)

    def _tell_unchecked(self, request: Request) -> None:
        """Say once that answers cannot be held against their schema."""
        if self._told_unchecked or schema_of(request.params) is None:
            return
        self._told_unchecked = True
        if not can_check():
            told = "answers are checked to be JSON, not against their schema, which needs"
            self._observe(Notice(f"{told} pip install 'llmbatch-cli[schema]'"))

    def _start(
        self,
        prompt: Prompt,
        lane: Model,
        place: int,
        request: Request,
        first_texts: dict[int, float],
    ) -> Start:
        async def start(leads: Callable[[], None]) -> Completion:
            blank = ""

            def on_text(text: str) -> None:
                nonlocal blank
                if place not in first_texts:
                    blank += text
                    if blank.isspace():  # it may be all that comes
                        return
                    text = blank
                    first_texts[place] = self._clock()
                    leads()
                self._on_text(prompt, lane, text)

            if not self._rules.stream or lane.stream is None:
                return await lane.call(request)
            return await lane.stream(request, on_text)

        return start

    def _learn(self, lanes: Sequence[Model], runners: Sequence[Runner]) -> None:
        first = runners[0]
        if self._hedge is not None and first.latency_s is not None and first.status != "failed":
            self._hedge.add(first.latency_s)
        for lane, runner in zip(lanes, runners, strict=True):
            if runner.completion is not None:
                self._reached.add(lane.name)
                self._answered.add(lane.name)
            elif runner.error is not None:
                self._learn_failure(lane, runner.error)

    def _learn_failure(self, lane: Model, error: ProviderError) -> None:
        name = lane.name
        if isinstance(error, Unreachable):
            self._unreached[name] = self._unreached.get(name, 0) + 1
        elif not isinstance(error, TimedOut):  # which may have gone into connecting
            self._reached.add(name)
        dead = name not in self._reached and self._unreached.get(name, 0) >= DEAD_AFTER
        if dead or holds_for_all(error, answered=name in self._answered):
            self._drop(lane, error)

    def heed(self, event: Event) -> None:
        """Learn from a request that is tried again: its race may be over before it fails."""
        if isinstance(event, Retried) and event.kind == Unreachable.kind:
            name = event.model
            self._unreached[name] = self._unreached.get(name, 0) + 1
            if name not in self._reached and self._unreached[name] >= DEAD_AFTER:
                self._leave(name, Unreachable(event.message), None)

    def _drop(self, lane: Model, error: ProviderError) -> None:
        self._leave(lane.name, error, error.hint or (lane.key_hint if error.fatal else None))

    def _leave(self, name: str, error: ProviderError, hint: str | None) -> None:
        if name in self._out:
            return
        self._out[name] = error
        message = without_prompt(error.message, error.asked)
        told = f"{name} leaves the race: {error.kind}: {message}"
        self._observe(Notice(f"{told} (hint: {hint})" if hint else told))

    def _end_where_nobody_is_left(self) -> None:
        """Raise RunStopped if all of the run's own models are out."""
        if any(lane.name not in self._out for lane in self._racers):
            return
        lane = self._racers[0]
        reason = stopped(lane, self._out[lane.name])
        raise RunStopped(f"no model is left to race; {reason.message}", hint=reason.hint)

    def _unraced(self, prompt: Prompt, lanes: Sequence[Model]) -> Outcome:
        """The outcome of a row whose own models have all left the run."""
        errors = [self._out[lane.name] for lane in lanes]
        told = "; ".join(
            f"{lane.name} has left the race: {error.kind}: {error.message}"
            for lane, error in zip(lanes, errors, strict=True)
        )
        kinds = {error.kind for error in errors}
        failure = Failure(kinds.pop() if len(kinds) == 1 else "all_failed", told)
        return Outcome(
            prompt.index, prompt.id, None, None, None, failure,
            metadata=prompt.metadata, key=prompt.key,
        )  # fmt: skip


def _is_fatal(runner: Runner) -> bool:
    return runner.error is not None and runner.error.fatal
