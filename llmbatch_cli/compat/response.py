"""Answers in the shape of litellm's ModelResponse, read by attribute, by item and by `get`.

A field that litellm leaves out of an answer is absent here too: `"logprobs" in choice` is False
and `choice.logprobs` an AttributeError. Where litellm guesses we do not: a finish reason and
numbers of tokens that the provider has not told are None.
"""

import copy
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Self, TypeAlias

import orjson

from llmbatch_cli.core.ledger import Usage as Tokens
from llmbatch_cli.core.types import Completion
from llmbatch_cli.providers.wire.answers import FINISH_REASONS
from llmbatch_cli.providers.wire.replies import content_text
from llmbatch_cli.providers.wire.tools import tool_calls

_Json = dict[str, Any]

Selection: TypeAlias = Collection[str | int] | Mapping[str | int, Any] | None
ALL: Final = "__all__"

PYDANTICS: Final = frozenset(
    ("mode", "by_alias", "exclude_unset", "exclude_defaults", "exclude_computed_fields",
     "round_trip", "warnings", "context", "serialize_as_any", "fallback")
)  # fmt: skip
"""Arguments of pydantic's model_dump that make no difference to a record of plain values."""


class Record:
    """Fields by name. What begins with `_` is no field: it is in no dump and no comparison."""

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

    __hash__ = None  # type: ignore[assignment]  # what can be changed has no hash

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self)
        return f"{type(self).__name__}({told})"

    def get(self, name: str, default: Any = None) -> Any:
        """The field, or the default where there is none."""
        return self._fields().get(name, default)

    def model_dump(
        self,
        *,
        include: Selection = None,
        exclude: Selection = None,
        exclude_none: bool = False,
        **pydantics: Any,
    ) -> _Json:
        """The fields as plain dicts and lists.

        Args:
            include: the names of the only fields wanted, or a dict whose values select in turn
                within a field, as in pydantic: True is all of it, and the items of a list go by
                their places or "__all__".
            exclude: the same for fields that are left out; it wins.
            exclude_none: leave out what is None.
            pydantics: `mode` and the others of pydantic's, which change nothing here.
        """
        _check_pydantics(pydantics)
        return {
            name: _plain(value, _within(include, name), _within(exclude, name), exclude_none)
            for name, value in self
            if _chosen(name, include, exclude) and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **selection: Any) -> str:
        """The fields as a JSON text; `indent` is 2 or None, the rest as in model_dump."""
        option = orjson.OPT_INDENT_2 if indent else None
        return orjson.dumps(self.model_dump(**selection), option=option).decode()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another record with the same fields, except for those in `update`."""
        twin = copy.deepcopy(self) if deep else copy.copy(self)
        twin.__dict__.update(update or {})
        return twin

    def json(self) -> _Json:
        """The same as model_dump: a dict, for all its name, as in litellm."""
        return self.model_dump()

    dict = to_dict = json

    def _fields(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name[:1] != "_"}


class Function(Record):
    """What a tool call calls."""

    arguments: str
    """A JSON text."""
    name: str


class ToolCall(Record):
    """One tool that the model wants called."""

    function: Function
    id: str
    type: str


class Message(Record):
    """The model's message. It can stand among the messages of the next call."""

    content: str | None
    role: str
    tool_calls: list[ToolCall] | None
    function_call: Function | None


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


class ModelResponse(Record):
    """One chat.completion."""

    id: str
    created: int
    model: str
    object: str
    system_fingerprint: str | None
    choices: list[Choice]
    usage: Usage
    _hidden_params: Mapping[str, Any]
    _response_ms: float


class Delta(Record):
    """What a chunk adds to the answer."""

    content: str | None
    role: str | None
    function_call: Function | None
    tool_calls: list[ToolCall] | None


class StreamingChoice(Record):
    """The one choice of a chunk."""

    finish_reason: str | None
    """None in all chunks but the last."""
    index: int
    delta: Delta


class ModelResponseStream(Record):
    """One chat.completion.chunk."""

    id: str
    created: int
    model: str
    object: str
    system_fingerprint: str | None
    choices: list[StreamingChoice]


def new_id() -> str:
    """An id in the form of OpenAI's."""
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

    `model` is what was asked, `seconds` the time it took, `api_base` the address if one was given.
    """
    return ModelResponse(
        id=completion.response_id or new_id(),
        created=int(time.time()),
        model=completion.model or model,
        object="chat.completion",
        system_fingerprint=None,
        choices=_choices(completion),
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
    given = prompted = None
    if tokens.reasoning_tokens is not None:
        given = Record(
            accepted_prediction_tokens=None,
            audio_tokens=None,
            reasoning_tokens=tokens.reasoning_tokens,
            rejected_prediction_tokens=None,
        )
    if tokens.cached_tokens is not None or tokens.cache_write_tokens is not None:
        prompted = Record(audio_tokens=None, cached_tokens=tokens.cached_tokens)
        if tokens.cache_write_tokens is not None:
            prompted["cache_creation_tokens"] = tokens.cache_write_tokens
    return Usage(
        completion_tokens=tokens.completion_tokens,
        prompt_tokens=tokens.prompt_tokens,
        total_tokens=tokens.total_tokens,
        completion_tokens_details=given,
        prompt_tokens_details=prompted,
    )


def calls_of(calls: Any) -> list[ToolCall] | None:
    """Tool calls in OpenAI's shape as records; None where there are none."""
    return [_call(call) for call in calls] or None


def _call(call: Mapping[str, Any]) -> ToolCall:
    called = call.get("function") or {}
    function = Function(arguments=called.get("arguments", ""), name=called.get("name"))
    return ToolCall(function=function, id=call["id"], type=call["type"])


def _choices(completion: Completion) -> list[Choice]:
    first = _choice(completion)
    others = [_raw_choice(raw, place) for place, raw in enumerate(completion.choices[1:], 1)]
    return [first, *others]


def _choice(completion: Completion) -> Choice:
    extras = completion.extras
    message = Message(
        content=completion.text,
        role="assistant",
        tool_calls=calls_of(completion.tool_calls),
        function_call=None,
    )
    if completion.reasoning is not None:
        message["reasoning_content"] = completion.reasoning
    for name in ("annotations", "audio", "citations", "thinking_blocks"):
        if extras.get(name) is not None:
            message[name] = _record(extras[name])
    if extras.get("refusal") is not None:
        message["provider_specific_fields"] = {"refusal": extras["refusal"]}
    choice = Choice(finish_reason=completion.finish_reason, index=0, message=message)
    if extras.get("logprobs") is not None:
        choice["logprobs"] = _record(extras["logprobs"])
    native = completion.native_finish_reason
    if native is not None and native != completion.finish_reason:
        choice["provider_specific_fields"] = {"native_finish_reason": native}
    return choice


def _raw_choice(raw: Mapping[str, Any], place: int) -> Choice:
    """A choice after the first, of which only the provider's own form is kept."""
    given = raw.get("message")
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    message = Message(
        content=content_text(said.get("content")),
        role="assistant",
        tool_calls=calls_of(tool_calls(said)),
        function_call=None,
    )
    reason = FINISH_REASONS.get(str(raw.get("finish_reason")))
    choice = Choice(finish_reason=reason, index=raw.get("index", place), message=message)
    if raw.get("logprobs") is not None:
        choice["logprobs"] = _record(raw["logprobs"])
    return choice


def _record(value: Any) -> Any:
    """What JSON can say, with records in the place of objects."""
    if isinstance(value, Mapping):
        return Record(**{str(name): _record(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return [_record(item) for item in value]
    return value


def _plain(value: Any, include: Selection, exclude: Selection, exclude_none: bool) -> Any:
    if isinstance(value, Record):
        return value.model_dump(include=include, exclude=exclude, exclude_none=exclude_none)
    if isinstance(value, list):
        return [
            _plain(item, _within(include, place), _within(exclude, place), exclude_none)
            for place, item in enumerate(value)
            if _chosen(place, include, exclude)
        ]
    return value


def _chosen(key: str | int, include: Selection, exclude: Selection) -> bool:
    if include is not None and key not in include and ALL not in include:
        return False
    if isinstance(exclude, Mapping):
        return exclude.get(key, exclude.get(ALL)) not in (True, ...)
    return exclude is None or (key not in exclude and ALL not in exclude)


def _within(selection: Selection, key: str | int) -> Selection:
    """What is selected inside the field or item; None where nothing is said of that."""
    inner = selection.get(key, selection.get(ALL)) if isinstance(selection, Mapping) else None
    return None if inner is True or inner is ... else inner


def _check_pydantics(given: Mapping[str, Any]) -> None:
    if unknown := given.keys() - PYDANTICS:
        raise TypeError(f"model_dump() got an unexpected argument {min(unknown)!r}")
