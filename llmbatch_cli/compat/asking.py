"""One model, made ready by litellm's arguments, and asked."""

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from llmbatch_cli.compat.arguments import Asked, environment, named, understood
from llmbatch_cli.compat.exceptions import (
    AuthenticationError,
    BadRequestError,
    OpenAIError,
    UnsupportedParamsError,
    as_litellm,
    with_hint,
)
from llmbatch_cli.compat.mocking import Mocked, mock_model
from llmbatch_cli.compat.response import ModelResponse, response_of
from llmbatch_cli.core.errors import (
    InputError,
    MissingKey,
    ProviderError,
    UnsupportedParameter,
    UsageError,
)
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import Completion, Message, Request
from llmbatch_cli.engine.calls import Model
from llmbatch_cli.models import CallOptions, ModelPool, open_models
from llmbatch_cli.providers.registry import Access
from llmbatch_cli.rows.input.parse import check_messages

SAID: Final = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal")
"""What a model's own message may tell in the next call; the rest is for its reader."""

log: Final = logging.getLogger("llmbatch_cli")


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model, ready to be asked."""

    lane: Model
    asked: Asked

    def request(self, messages: Sequence[Message]) -> Request:
        """What this model is asked."""
        return Request(self.lane.id, messages, self.lane.params)

    async def call(self, request: Request) -> Completion:
        """The whole answer. Raises ProviderError."""
        return await self.lane.call(request)

    async def stream(self, request: Request, on_text: Callable[[str], None]) -> Completion:
        """The same, its text told as it comes; at once for a model that cannot stream."""
        if self.lane.stream is not None:
            return await self.lane.stream(request, on_text)
        completion = await self.call(request)
        if completion.text:
            on_text(completion.text)
        return completion

    async def answer(self, messages: Sequence[Message]) -> ModelResponse:
        """The whole answer. Raises OpenAIError."""
        started = time.monotonic()
        try:
            completion = await self.call(self.request(messages))
        except ProviderError as error:
            blamed = self.blame(error)
            raise blamed from blamed.__cause__
        return self.respond(completion, time.monotonic() - started)

    def respond(self, completion: Completion, seconds: float) -> ModelResponse:
        """The completion in litellm's shape."""
        return response_of(
            completion,
            provider=self.lane.provider,
            model=self.lane.id,
            seconds=seconds,
            api_base=self.asked.calling.access.base_url,
        )

    def blame(self, error: ProviderError) -> OpenAIError:
        """The error in litellm's shape."""
        if isinstance(error, Mocked):
            return error.exception
        hint = self.lane.key_hint if error.fatal else None
        return as_litellm(error, self.lane.provider, self.lane.id, hint)


class Entry:
    """Where models are made ready. They share a network, and nothing else."""

    def __init__(self, lanes: ModelPool, environ: Mapping[str, str]) -> None:
        self._lanes = lanes
        self._environ = environ

    async def admit(self, model: str, params: Mapping[str, Any]) -> Entrant:
        """The model by litellm's name and arguments. Raises OpenAIError."""
        name = named(model, params)
        try:
            asked = understood(name, params, self._environ)
            lane = _mocked(name, params, asked) or await self._lanes.open(asked.spec, asked.calling)
        except UsageError as error:
            raise _refusal(name, error) from error
        return Entrant(lane, asked)

    async def admit_or_tell(self, model: str, params: Mapping[str, Any]) -> Entrant | OpenAIError:
        """The model, or why it cannot be asked."""
        try:
            return await self.admit(model, params)
        except OpenAIError as error:
            return error


@asynccontextmanager
async def open_entry() -> AsyncIterator[Entry]:
    """An Entry for one call of the API: its network is closed at the end."""
    async with open_models(CallOptions(Access(), {}), observe=_log) as lanes:
        yield Entry(lanes, environment(os.environ))


def conversation(messages: object) -> Sequence[Message]:
    """The messages of one conversation; a text is what the user says.

    A message is a dict, or what has `model_dump`, as the message of an earlier answer. Raises
    BadRequestError.
    """
    if isinstance(messages, str):
        messages = {"role": "user", "content": messages}
    listed = messages if isinstance(messages, list | tuple) else [messages]
    try:
        return check_messages([_message(one) for one in listed], "messages")
    except InputError as error:
        raise BadRequestError(error.message) from error


def _message(message: Any) -> Any:
    """The message as a plain dict, without the fields that a dump of an answer leaves empty."""
    if hasattr(message, "model_dump"):
        message = {name: value for name, value in message.model_dump().items() if name in SAID}
    if not isinstance(message, Mapping):
        return message
    return {k: v for k, v in message.items() if v is not None or k == "content"}


def _mocked(name: str, params: Mapping[str, Any], asked: Asked) -> Model | None:
    provider, _, model = name.rpartition("/")
    return mock_model(provider or "openai", model, params, asked.calling.timeout_s)


def _refusal(name: str, error: UsageError) -> OpenAIError:
    """The exception for what is not even sent."""
    kind: type[OpenAIError] = BadRequestError
    if isinstance(error, UnsupportedParameter):
        kind = UnsupportedParamsError
    elif isinstance(error, MissingKey):
        kind = AuthenticationError
    provider, _, model = name.rpartition("/")
    return kind(with_hint(error.message, error.hint), llm_provider=provider, model=model)


def _log(event: Event) -> None:
    if isinstance(event, Notice):
        log.warning("%s", event.message)
