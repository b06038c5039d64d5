"""The plan of a race: each row to several models."""

import time
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Racing, both
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Params, Prompt
from llmbatch_cli.drivers.live import RunOptions, live
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.engine.hedging import Hedge
from llmbatch_cli.engine.limits.estimate import prompt_tokens
from llmbatch_cli.engine.race_work import OnText, Rules
from llmbatch_cli.engine.race_work import Race as RaceWork
from llmbatch_cli.models import ModelPool
from llmbatch_cli.plans import Plan, system_message, window_of
from llmbatch_cli.pricing.attempts import priced

if TYPE_CHECKING:
    from llmbatch_cli.engine.shaped import AnswerShape


@frozen(kw_only=True)
class Race:
    """Each row to several models; the first good answers win, and the others are cancelled."""

    shares_limits: ClassVar[bool] = True

    models: Sequence[str]
    """In the order of preference; one named twice is sent the row twice."""
    rules: Rules = field(default_factory=Rules)
    hedge: Hedge | None = None
    """When to start the next model; None starts all at once."""
    params: Params = field(default_factory=dict)
    system: str | None = None
    shape: "AnswerShape | None" = None
    """What every answer has to be."""
    on_text: OnText = lambda prompt, model, text: None
    """With `rules.stream`, receives the leader's text as it arrives."""

    async def plan(self, pool: ModelPool, options: RunOptions) -> Plan:
        """Opens the models that have their keys."""
        if not self.models:
            raise UsageError("a race needs models", hint="name two or more")
        races: list[RaceWork] = []

        def learn(event: Event) -> None:
            for one in races:
                one.learn_from(event)

        pool = pool.using(self.params, both(options.observe, learn), self.shape)
        racers = await pool.with_keys(self.models)
        options.observe(Racing([model.name for model in racers]))

        async def models_for(prompt: Prompt) -> Sequence[Model]:
            if not prompt.models:
                return racers
            return await pool.with_keys(prompt.models, of_row=True)

        system = system_message(self.system)
        work = RaceWork(
            models_for,
            racers,
            self.rules,
            hedge=self.hedge,
            clock=time.monotonic,
            observe=options.observe,
            system=system,
            on_text=self.on_text,
        )
        races.append(work)
        at_once = _races_at_once(pool.most_in_flight, len(racers), hedged=self.hedge is not None)
        # A race that waits for all of its models would only start its hedge too early.
        window = window_of(pool, options, lambda: min(at_once, pool.widest()))
        paid = priced(work.__call__, pool.prices, prompt_tokens, options.observe)
        driver = live(paid, window, options)
        return Plan(driver, models_for, (), system, self.shape)


def _races_at_once(in_flight: int, racers: int, *, hedged: bool) -> int:
    """A hedged race is one request at first, and a quarter of all is kept for the others."""
    return max(1, in_flight - max(1, in_flight // 4) if hedged else in_flight // racers)
