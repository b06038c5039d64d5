"""Requests as a run would send them, without a network or a key."""

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Message, Params, Prompt, Request
from llmbatch_cli.engine.calls import Build, Model, merged, request_for, with_params
from llmbatch_cli.engine.drop_params import dropping
from llmbatch_cli.models import checked
from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.registry import home_of, resolve, seller_of
from llmbatch_cli.providers.tiers import tier_params

if TYPE_CHECKING:
    from llmbatch_cli.engine.shaped import AnswerShape, Shaped


@frozen
class AskedModel:
    """One model, as rows would be asked of it."""

    model: Model
    build: Build
    system: Message | None
    shaped: "Shaped | None"

    def check(self) -> None:
        """Raise UsageError for parameters that the model does not take."""
        hello = [{"role": "user", "content": "?"}]
        self.build(Request(self.model.id, hello, self.model.params))

    def request(self, row: Prompt) -> Request:
        """The row's first request."""
        request = request_for(row, self.model, self.system)
        return request if self.shaped is None else self.shaped.first_asked(request)


@frozen(kw_only=True)
class Asking:
    """What a run asks of its models."""

    access: Access
    params: Params = field(default_factory=dict)
    system: Message | None = None
    """For rows that have none."""
    shape: "AnswerShape | None" = None
    drop_params: bool = False
    tier: str | None = None

    def of(self, name: str) -> AskedModel:
        """The model of this name. Raises UsageError for one that cannot be called so."""
        target = resolve(name, self.access)
        provider = target.provider
        params: Params = merged(checked(self.params), checked(target.params))
        build: Build = with_params(
            provider.build, tier_params(provider.name, target.model, self.tier)
        )
        if self.drop_params:
            build = dropping(build, ignore, set())
        shaped = None
        if self.shape is not None:
            shaped = self.shape.asked_of(target.model, params, provider.build, lambda message: None)
            params = shaped.params(params)
        seller = seller_of(provider)
        model = Model(provider.name, target.model, _never, params, seller=seller, tier=self.tier)
        return AskedModel(model, build, self.system, shaped)

    def at_home_of(self, model: AskedModel) -> "Asking":
        """The same for the models that rows name, beside this one of the run."""
        return replace(self, access=replace(self.access, home=home_of(model.model.provider)))


async def _never(request: Any) -> Any:
    raise AssertionError(request)
