"""Functions that can stand in for litellm's of the same names: one import line changes.

They take litellm's arguments and return its ModelResponse and exceptions. Where its code and its
documentation differ, they do what is documented: the first success of several models is returned
at once and the others' connections are closed, a deployment's key goes to that deployment only,
and a model that is listed twice is called twice.

Nothing is kept between calls. The functions without an `a` in front block, and work inside a
running event loop too, as in notebooks.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeVar, overload

from llmbatch_cli.compat.arguments import conversation
from llmbatch_cli.compat.batching import DEFAULT_WORKERS, Chunks, Params, batch_of
from llmbatch_cli.compat.exceptions import OpenAIError, UnsupportedParamsError
from llmbatch_cli.compat.models import open_model, open_pool
from llmbatch_cli.compat.racing import Race, answer_or_error, or_error
from llmbatch_cli.compat.response import ModelResponse
from llmbatch_cli.compat.streaming import Stream
from llmbatch_cli.loops import iterate, run

NOT_SENT: Final = ("model", "models", "deployments", "model_list", "messages", "return_exceptions")
"""Arguments of the functions with several models that are not acompletion's `params`."""

P = ParamSpec("P")
T = TypeVar("T")


@overload
async def acompletion(
    model: str, messages: Sequence[Any] = ..., *, stream: Literal[True], **params: Any
) -> Stream: ...
@overload
async def acompletion(
    model: str, messages: Sequence[Any] = ..., *, stream: Literal[False] | None = ..., **params: Any
) -> ModelResponse: ...
@overload
async def acompletion(
    model: str, messages: Sequence[Any] = ..., *, stream: bool | None, **params: Any
) -> ModelResponse | Stream: ...
async def acompletion(
    model: str, messages: Sequence[Any] = (), *, stream: bool | None = None, **params: Any
) -> ModelResponse | Stream:
    """One model's answer.

    Args:
        model: as in litellm or here: `provider/model`, or the name of a known family.
        messages: dicts in OpenAI's shape; messages of earlier answers can be among them.
        stream: whether the result is an iterator of chunks, returned with the first text.
        params: sampling parameters by OpenAI's names, and how to call: `api_key`, `api_base` or
            `base_url`, `timeout` in seconds (600), `num_retries` (None: up to five, and rate
            limits for as long as the timeout lets them; 0: none), `extra_headers`,
            `drop_params`, `mock_response`, `stream_options`. An unknown name is sent; litellm's
            own bookkeeping (`metadata`, prices, ...) is dropped, and `fallbacks` and the like
            are refused.

    Raises OpenAIError: one of the classes of compat/exceptions.py.
    """
    race = Race([(model, params)], messages)
    return await (race.stream() if stream else race.whole())


@overload
def completion(
    model: str, messages: Sequence[Any] = ..., *, stream: Literal[True], **params: Any
) -> Chunks: ...
@overload
def completion(
    model: str, messages: Sequence[Any] = ..., *, stream: Literal[False] | None = ..., **params: Any
) -> ModelResponse: ...
@overload
def completion(
    model: str, messages: Sequence[Any] = ..., *, stream: bool | None, **params: Any
) -> ModelResponse | Chunks: ...
def completion(
    model: str, messages: Sequence[Any] = (), *, stream: bool | None = None, **params: Any
) -> ModelResponse | Chunks:
    """acompletion, blocking; a stream is a plain iterator."""
    race = Race([(model, params)], messages)
    return iterate(race.chunks).begin() if stream else run(race.whole)


def _blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The function for callers that cannot await: the same name without the `a` in front."""

    @wraps(function)
    def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(lambda: function(*args, **kwargs))

    blocking.__name__ = blocking.__qualname__ = function.__name__.removeprefix("a")
    return blocking


class BatchCompletion(Protocol):
    """batch_completion's types."""

    @overload
    def __call__(
        self,
        model: str,
        messages: Iterable[Any] = ...,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> list[Chunks | OpenAIError]: ...
    @overload
    def __call__(
        self,
        model: str,
        messages: Iterable[Any] = ...,
        *,
        stream: Literal[False] | None = ...,
        **kwargs: Any,
    ) -> list[ModelResponse | OpenAIError]: ...


def _blocking_batch(function: Callable[..., Coroutine[Any, Any, list[Any]]]) -> BatchCompletion:
    """The same, with plain iterators for `stream`."""
    signature = inspect.signature(function)
    plain = _blocking(function)

    @wraps(plain)
    def blocking(*args: Any, **kwargs: Any) -> list[Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.arguments["stream"]:
            return batch_of(bound.arguments).blocking_streams()
        return plain(*args, **kwargs)

    return blocking


@overload
async def abatch_completion(
    model: str, messages: Iterable[Any] = ..., *, stream: Literal[True], **kwargs: Any
) -> list[Stream | OpenAIError]: ...
@overload
async def abatch_completion(
    model: str,
    messages: Iterable[Any] = ...,
    *,
    stream: Literal[False] | None = ...,
    **kwargs: Any,
) -> list[ModelResponse | OpenAIError]: ...
async def abatch_completion(
    model: str,
    messages: Iterable[Any] = (),
    functions: list[Any] | None = None,
    function_call: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    n: int | None = None,
    stream: bool | None = None,
    stop: str | list[str] | None = None,
    max_tokens: int | None = None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: dict[str, float] | None = None,
    user: str | None = None,
    deployment_id: str | None = None,
    request_timeout: float | None = None,
    timeout: float | None = 600,
    max_workers: int | None = DEFAULT_WORKERS,
    **kwargs: Any,
) -> list[Any]:
    """One model's answers to many conversations, in their order.

    Each is a ModelResponse; a conversation that fails has its exception in its place, and nothing
    is raised for it.

    Args:
        messages: lists of messages, or texts of the user. A flat list of messages is one
            conversation.
        timeout: seconds for each conversation; `request_timeout` wins over it.
        max_workers: maximum requests in flight, from 1; None is 100.
        stream: whether each result is an iterator of its chunks, as acompletion's. All of
            them are open at once, from their first text until they are read or closed.
        kwargs: as acompletion's `params`; and `progress`, whether a display on standard error
            shows how it goes.
    """
    batch = batch_of(locals())
    return await (batch.streams() if stream else batch.answers())


batch_completion = _blocking_batch(abatch_completion)


@overload
async def abatch_completion_models(
    *, models: str | Sequence[str], stream: Literal[True], **kwargs: Any
) -> Stream: ...
@overload
async def abatch_completion_models(
    *, models: str | Sequence[str], stream: Literal[False] | None = ..., **kwargs: Any
) -> ModelResponse: ...
@overload
async def abatch_completion_models(**kwargs: Any) -> ModelResponse | Stream | None: ...
async def abatch_completion_models(**kwargs: Any) -> ModelResponse | Stream | None:
    """The first success of several models, at once; the others' connections are closed.

    The result is a ModelResponse, or a Stream, or None.

    Args:
        kwargs: `messages`; `models`, a name or a list of names, or else `deployments`, a list
            of dicts that hold a `model` and that model's own parameters, which win over the
            rest of `kwargs`; the rest as acompletion's `params`. A `model` or `model_list`
            beside them is ignored. With neither, the result is None.

    An empty answer is a success, and so is one that was cut off by length, as in litellm; the
    command `llmbatch race` is stricter. With `stream` the first model to produce text wins, and
    the result is the iterator of its chunks.

    When all have failed: with `models`, raises the exception of the first one listed, with the
    others' in `causes` and in its notes; with `deployments`, the result is None.
    """
    race = _race(kwargs)
    with suppress(*_suppressed(kwargs)):
        if race is not None:
            return await (race.stream() if kwargs.get("stream") else race.whole())
    return None


@overload
def batch_completion_models(
    *, models: str | Sequence[str], stream: Literal[True], **kwargs: Any
) -> Chunks: ...
@overload
def batch_completion_models(
    *, models: str | Sequence[str], stream: Literal[False] | None = ..., **kwargs: Any
) -> ModelResponse: ...
@overload
def batch_completion_models(**kwargs: Any) -> ModelResponse | Chunks | None: ...
def batch_completion_models(**kwargs: Any) -> ModelResponse | Chunks | None:
    """abatch_completion_models, blocking; a stream is a plain iterator."""
    race = _race(kwargs)
    with suppress(*_suppressed(kwargs)):
        if race is not None:
            return iterate(race.chunks).begin() if kwargs.get("stream") else run(race.whole)
    return None


async def abatch_completion_models_all_responses(
    **kwargs: Any,
) -> list[ModelResponse | OpenAIError]:
    """The answers of several models, in the models' order.

    Args:
        kwargs: `messages`; `models`, a name or a list of names; `return_exceptions`, whether
            a model that fails has its exception in its place, instead of being left out; the
            rest as acompletion's `params`, without `stream`. A `model` beside them is ignored.
    """
    if kwargs.get("stream"):
        raise UnsupportedParamsError("stream is unsupported here; batch_completion_models has it")
    if "models" not in kwargs:
        raise TypeError("'models' param not in kwargs")
    names, params = _names(kwargs["models"]), _shared(kwargs)
    messages = conversation(kwargs.get("messages", ()))
    async with open_pool() as pool:
        models = [await or_error(open_model(pool, name, params)) for name in names]
        answers = await asyncio.gather(*(answer_or_error(model, messages) for model in models))
    if kwargs.get("return_exceptions"):
        return answers
    return [answer for answer in answers if isinstance(answer, ModelResponse)]


batch_completion_models_all_responses = _blocking(abatch_completion_models_all_responses)


def _race(kwargs: Params) -> Race | None:
    """The race of batch_completion_models; None where no models are named."""
    shared = _shared(kwargs)
    if kwargs.get("models") is not None:
        models = [(name, shared) for name in _names(kwargs["models"])]
    elif kwargs.get("deployments") is not None:
        models = [_deployment(one, shared) for one in kwargs["deployments"]]
    else:
        return None
    if not models:
        raise ValueError("no models: the list is empty")
    return Race(models, conversation(kwargs.get("messages", ())))


def _suppressed(kwargs: Params) -> tuple[type[OpenAIError], ...]:
    """What batch_completion_models raises for `models`, and answers with None otherwise."""
    return () if kwargs.get("models") is not None else (OpenAIError,)


def _shared(kwargs: Params) -> Params:
    """The parameters of all models."""
    return {name: value for name, value in kwargs.items() if name not in NOT_SENT}


def _deployment(own: Mapping[str, Any], shared: Params) -> tuple[str, Params]:
    """The deployment's model and parameters."""
    if not isinstance(own.get("model"), str):
        raise ValueError(f"a deployment needs a model; this one has only {sorted(own)}")
    return own["model"], {**shared, **{n: v for n, v in own.items() if n != "model"}}


def _names(models: object) -> list[str]:
    if isinstance(models, str):
        return [models]
    if isinstance(models, list | tuple) and all(isinstance(name, str) for name in models):
        return list(models)
    raise TypeError("'models' must be a string or list of strings")
