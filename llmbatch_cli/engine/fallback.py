"""The work of a run with fallbacks: a row that finally fails at one model goes to the next."""

from collections.abc import Callable, Sequence

from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.types import Completion, Message, Outcome, Prompt
from llmbatch_cli.engine.calls import (
    Model,
    ModelFor,
    holds_for_all,
    outcome_of,
    request_for,
    stopped,
    unsent,
)


class InTurn:
    """Each row to its own model or the run's, and where that fails to each fallback in turn.

    A model that fails in a way that holds for every row is told once and not asked again,
    unless it is the last: then the run is stopped.
    """

    def __init__(
        self,
        model_for: ModelFor,
        fallbacks: Sequence[Model],
        clock: Callable[[], float],
        observe: Observer,
        system: Message | None = None,
    ) -> None:
        self._lane_for = model_for
        self._fallbacks = fallbacks
        self._clock = clock
        self._observe = observe
        self._system = system
        self._gone: set[str] = set()
        self._answered: set[str] = set()

    async def __call__(self, prompt: Prompt) -> tuple[Outcome, ...]:
        try:
            first = await self._lane_for(prompt.model)
        except UsageError as error:
            return (unsent(prompt, error),)
        started = self._clock()
        lanes = [first, *self._fallbacks]
        asked = [lane for lane in lanes[:-1] if lane.name not in self._gone] + lanes[-1:]
        failed: list[Attempt] = []
        took_s = 0.0
        for lane in asked:
            result = await self._ask(prompt, lane, last=lane is lanes[-1])
            failed += result.attempts
            took_s += result.latency_s or 0.0
            if isinstance(result, Completion):
                break
        outcome = outcome_of(prompt, lane, result, self._clock() - started)
        outcome.failed_attempts = failed
        outcome.attempts = len(failed) + (outcome.error is None)
        if lane is not first:
            outcome.latency_s = took_s
        outcome.fallback_from = first.name if lane is not first else None
        return (outcome,)

    async def _ask(self, prompt: Prompt, lane: Model, *, last: bool) -> Completion | ProviderError:
        try:
            completion = await lane.call(request_for(prompt, lane, self._system))
        except ProviderError as error:
            fatal = holds_for_all(error, answered=lane.name in self._answered)
            if fatal and last:
                raise stopped(lane, error) from error
            if fatal:
                self._give_up(lane, error)
            return error.without_frames()
        self._answered.add(lane.name)
        return completion

    def _give_up(self, lane: Model, error: ProviderError) -> None:
        if lane.name in self._gone:
            return
        self._gone.add(lane.name)
        reason = stopped(lane, error)
        hint = f" (hint: {reason.hint})" if reason.hint else ""
        self._observe(Notice(f"{reason.message}{hint}: its rows go to the fallback"))
