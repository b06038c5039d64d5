"""The plan of a batch whose rows go through the provider's batch API."""

from llmbatch_cli.core.errors import Unsent, UsageError
from llmbatch_cli.core.events import Gauges, Opened
from llmbatch_cli.core.ledger import Ledger
from llmbatch_cli.core.types import Message, Outcome, Prompt, Request
from llmbatch_cli.drivers import Driver
from llmbatch_cli.drivers.live import RunOptions
from llmbatch_cli.drivers.provider_batch.asking import LANE, Asked, OtherProvider
from llmbatch_cli.drivers.provider_batch.batch_run import BatchRun
from llmbatch_cli.drivers.provider_batch.driver import provider_batch
from llmbatch_cli.engine.calls import Model, Parts
from llmbatch_cli.engine.limits.estimate import prompt_tokens
from llmbatch_cli.models import ModelPool
from llmbatch_cli.models.spending import PROBE
from llmbatch_cli.pricing.attempts import price_each
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.batch_wires import batch_wire


class OfPool:
    """The models of a pool as they are asked through their provider's batch API."""

    def __init__(
        self, pool: ModelPool, spec: str, system: Message | None, storage: Storage
    ) -> None:
        """`spec`: the run's model as the user named it."""
        self._pool = pool
        self._spec = spec
        self._system = system
        self._storage = storage.or_of(pool.environ)
        self._known: dict[str, Asked] = {}

    async def open(self) -> None:
        """Make the run's own model ready. Raises UsageError."""
        await self.for_spec(self._spec)

    @property
    def home(self) -> Asked:
        return self._known[self._spec]

    async def for_row(self, prompt: Prompt) -> Asked:
        return await self.for_spec(prompt.model or self._spec)

    async def for_spec(self, spec: str) -> Asked:
        asked = self._known.get(spec)
        if asked is None:
            asked = self._known[spec] = await self._asked(spec)
        return asked

    async def _asked(self, spec: str) -> Asked:
        model = await self._pool.model_for(spec, of_row=spec != self._spec)
        parts = model.parts
        if parts is None or parts.addresses > 1:
            raise UsageError("a job of a batch API is at one address", hint="give --base-url once")
        if spec != self._spec and model.provider != self.home.model.provider:
            raise OtherProvider(
                f"the model {model.name} of a row is not {self.home.model.provider}'s, whose "
                "batch API this run goes through",
                hint="put the rows of each provider into a run of their own",
            )
        self._check_price(model, parts)
        wire = batch_wire(parts.provider, parts.encode, self._pool.setup, self._storage)
        await wire.ready(model.id)
        return Asked(
            model,
            wire,
            spec,
            system=self._system,
            max_attempts=self._pool.max_attempts,
            price=self._price,
            budget=self._pool.budget,
        )

    def _check_price(self, model: Model, parts: Parts) -> None:
        """Raise UsageError where the run has a cap, and what a job's rows cost is not known."""
        if self._pool.budget is None or model.seller.free:
            return
        limited = {**model.params, "max_tokens": 1}
        request = Request(model.id, PROBE, limited, ledger=Ledger(lane=LANE))
        try:
            if parts.terms is not None:
                parts.terms.worst_case(request)
                return
        except Unsent:
            pass
        raise UsageError(
            f"the price of {model.name} at its batch API is not known, as --max-cost needs it",
            hint=f"give it in US dollars a million tokens, as in --price {model.name}=0.15,0.60",
        )

    async def _price(self, outcome: Outcome, prompt: Prompt) -> None:
        await price_each((outcome,), self._pool.prices, lambda: prompt_tokens(prompt))


async def by_batch_api(
    pool: ModelPool,
    spec: str,
    system: Message | None,
    run: BatchRun,
    options: RunOptions,
    live: Driver,
) -> Driver:
    """The driver of such a run; `live` is for what is left in the end. Raises UsageError."""
    asking = OfPool(pool, spec, system, run.storage)
    await asking.open()
    if pool.budget is not None:
        options.observe(Opened(Gauges(cap_usd=pool.budget.cap_usd)))
    return provider_batch(asking, run, options, live)
