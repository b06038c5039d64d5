"""The work of a batch: each row to one model, and where that fails to each fallback in turn."""

from collections.abc import Sequence
from typing import Final

from llmbatch_cli.core.errors import ProviderError, QuotaSpent, UsageError
from llmbatch_cli.core.events import Notice, Observer, ignore
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.core.types import Completion, Failure, Message, Outcome, Prompt
from llmbatch_cli.engine.calls import (
    Model,
    ModelFor,
    failure_of,
    request_for,
    stopped,
    unsent,
)
from llmbatch_cli.engine.quotas import SpentQuotas
from llmbatch_cli.engine.verdicts import Verdicts


class WithFallbacks:
    """Each row to its own model or the run's, and where that fails to each fallback in turn.

    A model that fails in a way that holds for every row is not called again. The run ends with
    it where no model is left: where it is the last fallback, the run's only model, or a row's
    own before the first answer.
    """

    def __init__(
        self,
        model: Model,
        model_for: ModelFor,
        fallbacks: Sequence[Model] = (),
        *,
        observe: Observer = ignore,
        system: Message | None = None,
    ) -> None:
        """
        Args:
            model: the run's.
            model_for: gives a row's own.
            fallbacks: those that a row goes to, in turn.
            observe: is told of models that are not called again.
            system: for rows that have no system message.
        """
        self._model = model
        self._model_for = model_for
        self._fallbacks = fallbacks
        self._observe = observe
        self._system = system
        self._dropped: dict[str, Failure] = {}
        self._verdicts = Verdicts()
        self._quotas = SpentQuotas(observe)

    async def __call__(
        self, prompt: Prompt, ledgers: list[Ledger] | None = None
    ) -> tuple[Outcome, ...]:
        """The row's outcome. `ledgers` is given that of each model that is called."""
        try:
            first = self._model if prompt.model is None else await self._model_for(prompt.model)
        except UsageError as error:
            return (unsent(prompt, error),)
        models = self._models(first) if self._fallbacks else (first,)
        own = prompt.model is not None and not self._fallbacks
        if own and (known := self._dropped.get(first.name)):
            return (outcome_of(prompt, first, known, ()),)
        ledgers = [] if ledgers is None else ledgers
        spent: list[tuple[Model, QuotaSpent]] = []
        result: Completion | Failure
        for model in models:
            request = request_for(prompt, model, self._system)
            ledgers.append(request.ledger)
            try:
                if model.name in self._verdicts.answered:  # as nearly always
                    result = await model.call(request)
                else:
                    with self._verdicts.calling(model.name, request.ledger):
                        result = await model.call(request)
                self._quotas.answered()
                break
            except ProviderError as error:
                await self._verdicts.settle(model.name, error)
                if isinstance(error, QuotaSpent):
                    spent.append((model, error))
                elif self._verdicts.is_final(model.name, error):
                    self._drop(prompt, model, error, request.messages, last=model is models[-1])
                result = failure_of(error.without_frames(), request.messages)
        if spent:
            self._without_quotas(prompt, spent, answered=isinstance(result, Completion))
        outcome = outcome_of(prompt, model, result, ledgers)
        if model is not first:
            outcome.fallback_from = first.name
        return (outcome,)

    def _without_quotas(
        self, prompt: Prompt, spent: Sequence[tuple[Model, QuotaSpent]], *, answered: bool
    ) -> None:
        """Tell of spent quotas; raise Postponed or RunStopped where they leave a row without an
        answer."""
        if self._fallbacks:
            for model, error in spent:
                self._quotas.tell(model, error, prompt.messages, "its rows go to the fallback")
        if not answered:
            own = prompt.model is not None and not self._fallbacks
            gone = len(spent) + sum(one.name in self._dropped for one in self._fallbacks)
            others = own or gone <= len(self._fallbacks)
            self._quotas.leave(spent, prompt.messages, others=others)

    def _models(self, first: Model) -> list[Model]:
        """Those to call in turn; the last one even where it was dropped."""
        models = [first, *self._fallbacks]
        if self._dropped:
            models = [one for one in models[:-1] if one.name not in self._dropped] + models[-1:]
        return models

    def _end_without_models(
        self, prompt: Prompt, model: Model, error: ProviderError, messages: Sequence[Message]
    ) -> None:
        """Raise RunStopped, unless the run has other models than this one of a row, or may have:
        a wrong setting of one model is no reason to end a run whose rows name their own."""
        own = prompt.model is not None and not self._fallbacks
        if not (own and (self._verdicts.any_answered or error.hopeless)):
            raise stopped(model.name, error, messages, model.key_hint) from error

    def _drop(
        self,
        prompt: Prompt,
        model: Model,
        error: ProviderError,
        messages: Sequence[Message],
        *,
        last: bool,
    ) -> None:
        """Call the model no more. Raises RunStopped where it was the last."""
        if last:
            self._end_without_models(prompt, model, error, messages)
        if model.name in self._dropped:
            return
        self._dropped[model.name] = failure_of(error, messages)
        if self._fallbacks:
            reason = stopped(model.name, error, messages, model.key_hint)
            hint = f" (hint: {reason.hint})" if reason.hint else ""
            self._observe(Notice(f"{reason.message}{hint}: its rows go to the fallback"))


_NOTHING_SENT: Final = Ledger()


def outcome_of(
    prompt: Prompt, model: Model, result: Completion | Failure, ledgers: Sequence[Ledger]
) -> Outcome:
    """The row's end. `ledgers` are those of all models that were called for it, in turn."""
    completion = failure = None
    if isinstance(result, Completion):
        completion = result
    else:
        failure = result
    ledger = ledgers[0] if ledgers else _NOTHING_SENT
    latency_s, attempts, failed = ledger.latency_s, len(ledger.attempts), ledger.failed
    for ledger in ledgers[1:] if len(ledgers) > 1 else ():
        took_s = ledger.latency_s
        if took_s is not None:
            latency_s = took_s if latency_s is None else latency_s + took_s
        attempts += len(ledger.attempts)
        failed += ledger.failed
    return Outcome(
        prompt.index,
        prompt.id,
        model.id,
        model.provider,
        completion,
        failure,
        latency_s,
        attempts,
        prompt.metadata,
        (),
        failed,
        key=prompt.key,
        repeat=prompt.repeat,
        ledgers=ledgers,
        cached=completion is not None and ledger.cached,
    )
