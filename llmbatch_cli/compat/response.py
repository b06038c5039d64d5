"""Answers in the shape of litellm's ModelResponse, read by attribute, by item and by `get`.

A field that litellm leaves out of an answer is absent here too: `"logprobs" in choice` is False
and `choice.logprobs` an AttributeError. Where litellm guesses, these are None: a finish reason
and token counts that the provider did not report.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from llmbatch_cli.core.ledger import Usage as Tokens
from llmbatch_cli.core.types import Completion
from llmbatch_cli.providers.wire.answers import finish_reason
from llmbatch_cli.providers.wire.replies import content_text
from llmbatch_cli.providers.wire.tools import tool_calls

_Json = dict[str, Any]


class Record:
    """Fields by name. A name that begins with `_` is not a field: dumps and repr leave it out."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getitem__(self, name: str) -> Any:
        return self._fields()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self._fields()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Names and values, so that `dict(record)` works."""
        return iter(self._fields().items())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self)
        return f"{type(self).__name__}({fields})"

    def get(self, name: str, default: Any = None) -> Any:
        """The field, or the default where there is none."""
        return self._fields().get(name, default)

    def model_dump(self, *, exclude_none: bool = False, mode: str = "json") -> _Json:
        """The fields as plain dicts and lists; `mode` changes nothing, all values are JSON's."""
        return {
            name: _plain(value, exclude_none)
            for name, value in self
            if not (exclude_none and value is None)
        }

    def model_dump_json(self, *, exclude_none: bool = False, indent: int | None = None) -> str:
        """The fields as a JSON text, indented by 2 or not at all."""
        option = orjson.OPT_INDENT_2 if indent else None
        return orjson.dumps(self.model_dump(exclude_none=exclude_none), option=option).decode()

    def json(self) -> _Json:
        """The same as model_dump(): a dict despite the name, as in litellm."""
        return self.model_dump()

    dict = to_dict = json

    def _fields(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name[:1] != "_"}


class Message(Record):
    """The model's message. It can be one of the messages of the next call."""

    content: str | None
    role: str
    tool_calls: list[Any] | None
    """Records in OpenAI's shape: `call.function.name`, `call.function.arguments` (a JSON text)."""
    function_call: Record | None


class Choice(Record):
    """One answer."""

    finish_reason: str | None
    """stop, length, tool_calls or content_filter; None is unknown."""
    index: int
    message: Message


class Usage(Record):
    """Tokens as the provider counts them; None where it does not say."""

    completion_tokens: int | None
    prompt_tokens: int | None
    total_tokens: int | None
    completion_tokens_details: Record | None
    prompt_tokens_details: Record | None


class _ChatCompletion(Record):
    id: str
    created: int
    model: str
    object: str
    system_fingerprint: str | None


class ModelResponse(_ChatCompletion):
    """One chat.completion."""

    choices: list[Choice]
    usage: Usage
    _hidden_params: Mapping[str, Any]
    _response_ms: float


class Delta(Record):
    """What a chunk adds to the answer."""

    content: str | None
    role: str | None
    function_call: Record | None
    tool_calls: list[Any] | None


class StreamingChoice(Record):
    """The one choice of a chunk."""

    finish_reason: str | None
    """None in all chunks but the last."""
    index: int
    delta: Delta


class ModelResponseStream(_ChatCompletion):
    """One chat.completion.chunk."""

    choices: list[StreamingChoice]


def new_id() -> str:
    """An id in OpenAI's form."""
    return f"chatcmpl-{uuid.uuid4()}"


def response_of(
    completion: Completion,
    *,
    provider: str,
    model: str,
    seconds: float,
    api_base: str | None = None,
) -> ModelResponse:
    """The completion as a ModelResponse.

    Args:
        model: the requested one.
        seconds: how long the call took.
        api_base: the address, where the caller gave one.
    """
    return ModelResponse(
        id=completion.response_id or new_id(),
        created=int(time.time()),
        model=completion.model or model,
        object="chat.completion",
        system_fingerprint=None,
        choices=[
            _choice(completion, 0),
            *(_choice(_read(raw), index) for index, raw in enumerate(completion.choices[1:], 1)),
        ],
        usage=usage_of(completion.usage or Tokens()),
        _response_ms=seconds * 1000,
        _hidden_params={
            "custom_llm_provider": provider,
            "api_base": api_base,
            "model_id": None,
            "litellm_call_id": str(uuid.uuid4()),
            "litellm_model_name": f"{provider}/{model}",
            "response_cost": completion.cost_usd,
            "_response_ms": seconds * 1000,
        },
    )


def usage_of(tokens: Tokens) -> Usage:
    """The tokens in OpenAI's shape, with details where there are any."""
    completion_details = prompt_details = None
    if tokens.reasoning_tokens is not None:
        completion_details = Record(
            accepted_prediction_tokens=None,
            audio_tokens=None,
            reasoning_tokens=tokens.reasoning_tokens,
            rejected_prediction_tokens=None,
        )
    if tokens.cached_tokens is not None or tokens.cache_write_tokens is not None:
        prompt_details = Record(audio_tokens=None, cached_tokens=tokens.cached_tokens)
        if tokens.cache_write_tokens is not None:
            prompt_details["cache_creation_tokens"] = tokens.cache_write_tokens
    return Usage(
        completion_tokens=tokens.completion_tokens,
        prompt_tokens=tokens.prompt_tokens,
        total_tokens=tokens.total_tokens,
        completion_tokens_details=completion_details,
        prompt_tokens_details=prompt_details,
    )


def record(value: Any) -> Any:
    """A JSON value, with records in the place of objects."""
    if isinstance(value, Mapping):
        return Record(**{str(name): record(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return [record(item) for item in value]
    return value


def _choice(completion: Completion, index: int) -> Choice:
    extras = completion.extras
    message = Message(
        content=completion.text,
        role="assistant",
        tool_calls=record(completion.tool_calls) or None,
        function_call=None,
    )
    if completion.reasoning is not None:
        message["reasoning_content"] = completion.reasoning
    for name in ("annotations", "audio", "citations", "thinking_blocks"):
        if extras.get(name) is not None:
            message[name] = record(extras[name])
    if extras.get("refusal") is not None:
        message["provider_specific_fields"] = {"refusal": extras["refusal"]}
    choice = Choice(finish_reason=completion.finish_reason, index=index, message=message)
    if extras.get("logprobs") is not None:
        choice["logprobs"] = record(extras["logprobs"])
    native = completion.native_finish_reason
    if native is not None and native != completion.finish_reason:
        choice["provider_specific_fields"] = {"native_finish_reason": native}
    return choice


def _read(choice: Mapping[str, Any]) -> Completion:
    """A choice after the first, which a Completion keeps in OpenAI's shape."""
    sent = choice.get("message")
    message: Mapping[str, Any] = sent if isinstance(sent, Mapping) else {}
    native = choice.get("finish_reason")
    return Completion(
        content_text(message.get("content")),
        finish_reason(native),
        native,
        tool_calls=tool_calls(message),
        extras={"logprobs": choice.get("logprobs")},
    )


def _plain(value: Any, exclude_none: bool) -> Any:
    if isinstance(value, Record):
        return value.model_dump(exclude_none=exclude_none)
    return [_plain(item, exclude_none) for item in value] if isinstance(value, list) else value
