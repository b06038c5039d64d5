"""What is done with each row of a run: one model with fallbacks, or a race, see plans/race.py."""

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from llmbatch_cli.core.errors import MissingKey, ProviderError, UsageError
from llmbatch_cli.core.events import Gauges
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import Answers
from llmbatch_cli.core.types import BadRow, Message, Params, Prompt, Request, Row
from llmbatch_cli.drivers import Driver
from llmbatch_cli.drivers.live import RunOptions, Window, live
from llmbatch_cli.engine.calls import Model, ModelsFor, request_for
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.limits.estimate import prompt_tokens
from llmbatch_cli.models import ModelPool
from llmbatch_cli.pricing.attempts import priced
from llmbatch_cli.providers.registry import DEFAULT_MODEL
from llmbatch_cli.rows.keys import bad_row_key, request_key

if TYPE_CHECKING:
    from llmbatch_cli.engine.shaped import AnswerShape

NO_FORM: Final = Answers()
LOOK_AHEAD: Final = 16
"""In input order, how many times the rows in flight may wait for a slow one before them."""


@frozen
class Plan:
    """How rows are answered, identified and checked."""

    driver: Driver
    models_for: ModelsFor
    fallbacks: Sequence[Model] = ()
    system: Message | None = None
    shape: "AnswerShape | None" = None

    async def key_of(self, row: Row) -> str:
        """The row's key, by which --resume finds its output: see rows/keys.py."""
        if isinstance(row, BadRow):
            return bad_row_key(row)
        try:
            models = await self.models_for(row)
        except UsageError:  # its outcome will say so
            name = row.model or ",".join(row.models)
            return request_key("unknown", Request(name, row.messages, row.params), row)
        request = request_for(row, models[0], self.system)
        if self.shape is not None:
            request.params = {**request.params, "answers": self.shape.name}
        if len(models) == 1:
            return request_key(models[0].provider, request, row)
        names = ",".join(model.name for model in models)
        return request_key("race", Request(names, request.messages, request.params), row)

    async def answers_to(self, row: Prompt) -> int:
        """How many answers the row asks of one model, at most."""
        try:
            models = [*await self.models_for(row), *self.fallbacks]
        except UsageError:  # its outcome will say so
            return 1
        wanted = (request_for(row, model, self.system).params.get("n") for model in models)
        return max((n for n in wanted if isinstance(n, int)), default=1)

    async def fault_in(self, row: Row) -> str | None:
        """Why the row cannot be sent; None where one of its models can take it. Sends nothing."""
        if isinstance(row, BadRow):
            return row.reason
        first: str | None = None
        try:
            for model in (*await self.models_for(row), *self.fallbacks):
                try:
                    model.check(request_for(row, model, self.system))
                except ProviderError as error:
                    first = first or error.message
                else:
                    return None
        except UsageError as error:
            return error.message
        return first


class Ask(Protocol):
    """What is asked for each row: a Batch or a Race."""

    shares_limits: ClassVar[bool]
    """Whether the limit of requests in flight holds for all models together."""

    @property
    def shape(self) -> "AnswerShape | None":
        """What every answer has to be."""

    async def plan(self, pool: ModelPool, options: RunOptions) -> Plan:
        """The plan over these models. Raises UsageError for what cannot be sent."""


@frozen(kw_only=True)
class Batch:
    """Each row to one model: its own, or this one; where that fails, to each fallback in turn."""

    shares_limits: ClassVar[bool] = False

    model: str = DEFAULT_MODEL
    fallback: Sequence[str] = ()
    params: Params = field(default_factory=dict)
    """By OpenAI's names; a model's own and a row's own win over them."""
    system: str | None = None
    """For rows that have no system message."""
    shape: "AnswerShape | None" = None
    """What every answer has to be."""

    async def plan(self, pool: ModelPool, options: RunOptions) -> Plan:
        """Opens the models; their own limits decide how many rows are at work."""
        pool = pool.using(self.params, options.observe, self.shape)
        try:
            model = await pool.model_for(self.model)
        except MissingKey as error:
            if options.batch is not None:  # a key is of no use where there is no batch API
                from llmbatch_cli.providers.batch_wires import batch_of

                batch_of(error.provider, pool.setup)
            raise
        others = [await pool.model_for(name) for name in self.fallback]
        system = system_message(self.system)

        async def model_for(own: str) -> Model:
            return await pool.model_for(own, of_row=True)

        async def models_for(prompt: Prompt) -> Sequence[Model]:
            return [model if prompt.model is None else await model_for(prompt.model)]

        work = WithFallbacks(model, model_for, others, observe=options.observe, system=system)
        window = window_of(pool, options, pool.window)
        paid = priced(work.__call__, pool.prices, prompt_tokens, options.observe)
        driver = live(paid, window, options)
        if options.batch is not None:
            from llmbatch_cli.plans.by_batch_api import by_batch_api

            driver = await by_batch_api(pool, self.model, system, options.batch, options, driver)
        return Plan(driver, models_for, others, system, self.shape)


def shape_asked(answers: Answers) -> "AnswerShape | None":
    """The shape that answers have to have; None, and nothing imported, for none. UsageError."""
    if answers == NO_FORM:
        return None
    from llmbatch_cli.answer_shapes import shape_of

    return shape_of(answers)


def system_message(text: str | None) -> Message | None:
    return {"role": "system", "content": text} if text is not None else None


def window_of(pool: ModelPool, options: RunOptions, at_work: Callable[[], int]) -> Window:
    pool.take_turns(options.ordered)
    most_open = pool.most_in_flight * (LOOK_AHEAD if options.ordered else 4)
    cap_usd = None if pool.budget is None else pool.budget.cap_usd
    gauges = Gauges(pool.holding, pool.in_flight, pool.cooling_s, cap_usd)
    return Window(at_work, most_open, gauges, pool.waits.end)
