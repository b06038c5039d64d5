"""One model, opened and called by litellm's arguments."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final

from llmbatch_cli.compat.arguments import ModelCall, conversation, environment, model_call, named
from llmbatch_cli.compat.exceptions import OpenAIError, as_litellm
from llmbatch_cli.compat.mocking import mock_model
from llmbatch_cli.compat.response import ModelResponse, response_of
from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Completion, Request
from llmbatch_cli.engine.calls import Model, ledger_of
from llmbatch_cli.models import ModelPool, open_models
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.pricing.attempts import cost_of
from llmbatch_cli.providers.registry import Access

log: Final = logging.getLogger("llmbatch_cli")


@frozen
class OpenModel:
    """One model, ready to be called. `messages` are one conversation. All raise OpenAIError."""

    model: Model
    how: ModelCall

    async def answer(self, messages: object) -> ModelResponse:
        """The whole answer."""
        started = time.monotonic()
        request = self._request(messages)
        completion = await self._call(request)
        cost_usd = await cost_of(request.ledger, self.how.options.prices)
        return response_of(
            completion if cost_usd is None else replace(completion, cost_usd=cost_usd),
            provider=self.model.provider,
            model=self.model.id,
            seconds=time.monotonic() - started,
            api_base=self.how.options.access.base_url,
        )

    async def stream(self, messages: object, on_text: Callable[[str], None]) -> Completion:
        """The same, with its text as it comes; all at once where the model cannot stream."""
        completion = await self._call(self._request(messages), on_text)
        if self.model.stream is None and completion.text:
            on_text(completion.text)
        return completion

    def _request(self, messages: object) -> Request:
        model = self.model
        ledger = ledger_of(model, model.params)
        return Request(model.id, conversation(messages), model.params, ledger=ledger)

    async def _call(
        self, request: Request, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        try:
            if on_text is None or self.model.stream is None:
                return await self.model.call(request)
            return await self.model.stream(request, on_text)
        except ProviderError as error:
            if isinstance(error.__cause__, OpenAIError):  # as mock_response was given it
                raise error.__cause__ from None
            hint = self.model.key_hint if error.fatal else None
            raise as_litellm(error, self.model.provider, self.model.id, hint) from error


def open_pool() -> AbstractAsyncContextManager[ModelPool]:
    """What the models of one call of the API share: a network, closed at the end."""
    return open_models(CallOptions(Access(), {}), observe=_log)


async def open_model(pool: ModelPool, model: str, params: Mapping[str, Any]) -> OpenModel:
    """The model by litellm's name and arguments. Raises OpenAIError."""
    name = named(model, params)
    provider, _, bare = name.rpartition("/")
    try:
        how = model_call(name, params, environment(os.environ))
        mocked = mock_model(provider or "openai", bare, params, how.options.timeout_s)
        return OpenModel(mocked or await pool.open(how.name, how.options), how)
    except UsageError as error:
        raise as_litellm(error, provider, bare) from error


def _log(event: Event) -> None:
    if isinstance(event, Notice):
        log.warning("%s", event.message)
