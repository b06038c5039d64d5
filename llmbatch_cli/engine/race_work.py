"""The work of a race: each row to several models, the first good answers are its outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import (
    ProviderError,
    QuotaSpent,
    RunStopped,
    TimedOut,
    Unreachable,
    UsageError,
)
from llmbatch_cli.core.events import Event, Notice, Observer, Retried
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.core.privacy import without_prompt
from llmbatch_cli.core.types import Completion, Failure, Message, Outcome, Params, Prompt
from llmbatch_cli.engine.calls import (
    Model,
    ModelsFor,
    failed_row,
    request_for,
    stopped,
    unsent,
)
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.quotas import SpentQuotas
from llmbatch_cli.engine.race import RaceResult, Start, race
from llmbatch_cli.engine.race_outcomes import RacedCall, outcomes_of
from llmbatch_cli.engine.validate import mismatch
from llmbatch_cli.engine.verdicts import Verdicts

DEAD_AFTER: Final = 3
"""Failed attempts to connect after which a model whose host was never reached is dropped."""

OnText = Callable[[Prompt, Model, str], None]
"""Receives the leader's text as it arrives."""


class NotGood(ProviderError):
    """An answer that cannot win."""

    kind = "not_good"


@dataclass(frozen=True, slots=True)
class Rules:
    """What it takes to win."""

    wins: int | None = 1
    """Good answers wanted for each row; None is every model's."""
    accept_truncated: bool = False
    """Whether an answer cut off by length is good."""
    stream: bool = False
    """Whether the first text wins, instead of the first whole answer."""

    def rejection(self, completion: Completion, params: Params) -> NotGood | None:
        """Why the answer cannot win: it is empty, cut off by length, stopped by a content filter,
        or not of the form that `response_format` requires. None for a good one."""
        if completion.finish_reason == "content_filter":
            return NotGood("the content filter stopped the answer")
        if completion.finish_reason == "length" and not self.accept_truncated:
            return NotGood("the answer is cut off by length", hint="--accept-truncated accepts it")
        if not completion.tool_calls and not (completion.text or "").strip():
            return NotGood("the answer is empty")
        unread = completion.text if completion.parsed is None else None
        wrong = mismatch(unread, params) if unread else None
        return NotGood(wrong) if wrong is not None else None


@frozen
class _Dropped:
    """Why a model is not called again in this run."""

    kind: str
    message: str
    """Without the prompt."""
    reason: RunStopped
    """The same for a run that has no other model."""


class Race:
    """The races of one run. A model that cannot answer any row is dropped from the run."""

    def __init__(
        self,
        models_for: ModelsFor,
        models: Sequence[Model],
        rules: Rules,
        *,
        hedge: Hedge | None,
        clock: Callable[[], float],
        observe: Observer,
        system: Message | None = None,
        on_text: OnText = lambda prompt, model, text: None,
    ) -> None:
        """
        Args:
            models_for: those that race for a row.
            models: the run's own; the run ends when all of them are dropped.
            rules: what it takes to win.
            hedge: when to start the next model; None starts all at once.
            clock: seconds, the same as the calls'.
            observe: receives one Notice for each model that is dropped.
            system: put in front of rows without a system message.
            on_text: receives the leader's text.
        """
        self._models_for = models_for
        self._models = models
        self._rules = rules
        self._hedge = hedge
        self._clock = clock
        self._observe = observe
        self._system = system
        self._on_text = on_text
        self._dropped: dict[str, _Dropped] = {}
        self._unreached: dict[str, int] = {}
        """Attempts that did not reach a model's host, for those that never did."""
        self._reached: set[str] = set()
        self._verdicts = Verdicts()
        self._quotas = SpentQuotas(observe)

    async def __call__(
        self, prompt: Prompt, ledgers: list[Ledger] | None = None
    ) -> tuple[Outcome, ...]:
        """The race's outcomes. `ledgers` is given that of each model."""
        try:
            models = await self._models_for(prompt)
        except UsageError as error:
            return (unsent(prompt, error),)
        left = [model for model in models if model.name not in self._dropped]
        if not left:
            self._end_without_models()
            return (self._unraced(prompt, models),)
        started_s = self._clock()
        calls = [RacedCall(model, request_for(prompt, model, self._system)) for model in left]
        _note(ledgers, calls)
        results = await race(
            [self._start(prompt, call) for call in calls],
            wins=self._rules.wins or len(calls),
            hedge_s=self._hedge.wait_s if self._hedge is not None else None,
            rejection=lambda place, answer: self._rules.rejection(
                answer, calls[place].request.params
            ),
            clock=self._clock,
        )
        for call, result in zip(calls, results, strict=True):
            call.result = result
        if all(result.error is not None for result in results):
            for call in calls:
                if call.result.error is not None:
                    await self._verdicts.settle(call.model.name, call.result.error)
        hopeless = self._learn(calls)
        answered = any(result.completion is not None for result in results)
        if not answered or self._rules.wins is None:
            _raise_postponed(results)
        if not answered:
            self._leave_undone(prompt, calls, others=not hopeless)
        if hopeless:
            self._end_without_models()
        return outcomes_of(prompt, calls, every=self._rules.wins is None, started_s=started_s)

    def _leave_undone(self, prompt: Prompt, calls: Sequence[RacedCall], *, others: bool) -> None:
        """Raise Postponed or RunStopped where the race has no end: its models have no quota
        left."""
        raced = {call.model.name for call in calls}
        spent = [
            (call.model, error)
            for call in calls
            if isinstance(error := call.result.error, QuotaSpent)
        ]
        if spent:
            spare = any(one.name not in self._dropped.keys() | raced for one in self._models)
            self._quotas.leave(spent, prompt.messages, others=others or spare)

    def learn_from(self, event: Event) -> None:
        """Learn from a retry, which the end of its race may cut short before it fails."""
        if isinstance(event, Retried) and event.kind == Unreachable.kind:
            self._count_unreached(event.model)
            if self._is_dead(event.model):
                self._drop(event.model, Unreachable(event.message), ())

    def _start(self, prompt: Prompt, call: RacedCall) -> Start:
        async def start(lead: Callable[[], None]) -> Completion:
            blank = ""

            def on_text(text: str) -> None:
                nonlocal blank
                if call.first_text_s is None:
                    blank += text
                    if blank.isspace():  # it may be all that comes
                        return
                    text = blank
                    call.first_text_s = self._clock()
                    lead()
                self._on_text(prompt, call.model, text)

            with self._verdicts.calling(call.model.name, call.request.ledger):
                if not self._rules.stream or call.model.stream is None:
                    return await call.model.call(call.request)
                return await call.model.stream(call.request, on_text)

        return start

    def _learn(self, calls: Sequence[RacedCall]) -> bool:
        """Learn from a race; whether each of its models fails every row as it did this one."""
        first, hopeless = calls[0], 0
        learns = first.result.status != "failed" and not first.request.ledger.cached
        if self._hedge is not None and learns:
            self._hedge.add(first.latency_s)
        for call in calls:
            name, error = call.model.name, call.result.error
            if call.result.completion is not None:
                self._quotas.answered()
                if not call.request.ledger.cached:
                    self._reached.add(name)
            elif error is not None:
                hopeless += self._learn_failure(call.model, error, call.request.messages)
        return hopeless == len(calls)

    def _learn_failure(
        self, model: Model, error: ProviderError, messages: Sequence[Message]
    ) -> bool:
        name = model.name
        if isinstance(error, Unreachable):
            self._count_unreached(name)
        elif not isinstance(error, TimedOut):  # which may have gone into connecting
            self._reached.add(name)
        hopeless = self._verdicts.is_final(name, error)
        if isinstance(error, QuotaSpent):
            self._quotas.tell(model, error, messages, "the others race on")
        elif hopeless or self._is_dead(name):
            self._drop(name, error, messages, model.key_hint)
        return hopeless

    def _count_unreached(self, name: str) -> None:
        self._unreached[name] = self._unreached.get(name, 0) + 1

    def _is_dead(self, name: str) -> bool:
        return name not in self._reached and self._unreached.get(name, 0) >= DEAD_AFTER

    def _drop(
        self,
        name: str,
        error: ProviderError,
        messages: Sequence[Message],
        key_hint: str | None = None,
    ) -> None:
        if name in self._dropped:
            return
        reason = stopped(name, error, messages, key_hint)
        dropped = _Dropped(error.kind, without_prompt(error.message, messages), reason)
        self._dropped[name] = dropped
        hint = f" (hint: {reason.hint})" if reason.hint else ""
        self._observe(Notice(_sentence(name, dropped) + hint))

    def _end_without_models(self) -> None:
        """Raise RunStopped if all of the run's own models are dropped."""
        if any(model.name not in self._dropped for model in self._models):
            return
        reason = self._dropped[self._models[0].name].reason
        raise RunStopped(f"no model is left to race; {reason.message}", hint=reason.hint)

    def _unraced(self, prompt: Prompt, models: Sequence[Model]) -> Outcome:
        """The outcome of a row whose own models are all dropped."""
        dropped = {model.name: self._dropped[model.name] for model in models}
        kinds = {one.kind for one in dropped.values()}
        failure = Failure(
            kinds.pop() if len(kinds) == 1 else "all_failed",
            "; ".join(_sentence(name, one) for name, one in dropped.items()),
        )
        return failed_row(prompt, failure)


def _note(ledgers: list[Ledger] | None, calls: Sequence[RacedCall]) -> None:
    if ledgers is not None:
        ledgers += [call.request.ledger for call in calls]


def _raise_postponed(results: Sequence[RaceResult]) -> None:
    """Raise the Postponed of models that only waited when the run was stopped, or that no money is
    left for; before others one that ends the run."""
    postponed = [result.postponed for result in results if result.postponed is not None]
    if postponed:
        raise max(postponed, key=lambda one: (one.ends, one.reason is not None))


def _sentence(name: str, dropped: _Dropped) -> str:
    return f"{name} was dropped: {dropped.kind}: {dropped.message}"
