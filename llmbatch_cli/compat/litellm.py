"""Functions that can stand in for litellm's of the same names: one import line changes.

They take litellm's arguments and give its ModelResponse and exceptions. Where its code and its
documentation differ, they do what is documented: the first success of several models is given
at once and the others' connections are closed, a deployment's key goes to that deployment only,
and a model that is listed twice is asked twice.

Nothing is kept between calls. The functions without an `a` in front block, and work inside a
running event loop too, as in notebooks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, overload

from llmbatch_cli.compat.arguments import ACOMPLETION_ORDER, COMPLETION_ORDER, with_names
from llmbatch_cli.compat.asking import conversation, open_entry
from llmbatch_cli.compat.exceptions import OpenAIError, UnsupportedParamsError
from llmbatch_cli.compat.loops import Iteration, blocking, blocking_batch, iterate, run
from llmbatch_cli.compat.racing import Race, Rival, Stream
from llmbatch_cli.compat.response import ModelResponse, ModelResponseStream
from llmbatch_cli.core.events import ignore
from llmbatch_cli.transport.descriptors import room_for

DEFAULT_WORKERS: Final = 100

Answer: TypeAlias = ModelResponse | OpenAIError
Params: TypeAlias = Mapping[str, Any]
Chunks: TypeAlias = Iteration[ModelResponseStream]


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
@overload
async def acompletion(model: str, messages: Sequence[Any], *placed: Any, **params: Any) -> Any: ...
async def acompletion(
    model: str, messages: Sequence[Any] = (), *placed: Any, **params: Any
) -> ModelResponse | Stream:
    """One model's answer.

    Args:
        model: in litellm's spelling or ours: `provider/model`, or the name of a known family.
        messages: dicts in OpenAI's shape; messages of earlier answers can stand among them.
        placed: the first of `params` without their names, in litellm's order.
        params: sampling parameters by OpenAI's names, and how to ask: `api_key`, `api_base` or
            `base_url`, `timeout` in seconds (600), `num_retries` (None: up to five, and rate
            limits for as long as the timeout lets them; 0: none), `extra_headers`,
            `drop_params`, `mock_response`, `stream_options`. A name that is unknown
            here goes into the request; litellm's own bookkeeping (`metadata`, prices, ...) does
            not, and `fallbacks` and the like are refused.

    With `stream` set the answer is an iterator of its chunks, which is there when the first
    text is. Raises OpenAIError: one of the classes of compat/exceptions.py.
    """
    given = with_names(ACOMPLETION_ORDER, placed, params)
    asked = Race([(model, given)], conversation(messages))
    return await asked.stream() if given.pop("stream", None) else await asked.whole()


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
@overload
def completion(model: str, messages: Sequence[Any], *placed: Any, **params: Any) -> Any: ...
def completion(
    model: str, messages: Sequence[Any] = (), *placed: Any, **params: Any
) -> ModelResponse | Chunks:
    """acompletion, blocking; a stream is a plain iterator. `placed` has another order here."""
    given = with_names(COMPLETION_ORDER, placed, params)
    asked = Race([(model, given)], conversation(messages))
    return iterate(asked.stream) if given.pop("stream", None) else run(asked.whole)


async def abatch_completion(
    model: str,
    messages: Sequence[Any] = (),
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

    Each is a ModelResponse; a conversation that fails has the exception in its place, and nothing
    is raised for it.

    Args:
        messages: lists of messages, or texts that the user says. A flat list of messages is
            one conversation.
        timeout: seconds for each conversation; `request_timeout` wins over it.
        max_workers: requests in flight at most, from 1; None is 100.
        stream: whether each result is an iterator of its chunks, as acompletion's. All of
            them are open at once, from their first text until they are read or closed.
        kwargs: as acompletion's `params`.
    """
    given = {
        "functions": functions,
        "function_call": function_call,
        "temperature": temperature,
        "top_p": top_p,
        "n": n,
        "stop": stop,
        "max_tokens": max_tokens,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "logit_bias": logit_bias,
        "user": user,
        "deployment_id": deployment_id,
        "request_timeout": request_timeout,
        "timeout": timeout,
    }
    workers = DEFAULT_WORKERS if max_workers is None else max_workers
    if workers < 1:
        raise ValueError("max_workers must be greater than 0")
    answered = _streams if stream else _batch
    return await answered(model, _conversations(messages), {**given, **kwargs}, workers)


batch_completion = blocking_batch(abatch_completion)


async def abatch_completion_models(*args: Any, **kwargs: Any) -> Any:
    """The first success of several models, at once; the others' connections are closed.

    The result is a ModelResponse, or a Stream, or None.

    Args:
        args: none; litellm's signature has them.
        kwargs: `messages`; `models`, a name or a list of names, or else `deployments`, a list
            of dicts that hold a `model` and whatever else that one is to be asked with, which
            wins over the rest of `kwargs`; the rest as acompletion's `params`. A `model` or
            `model_list` beside them is ignored. With neither, the result is None.

    An empty answer is a success, and so is one that was cut off by length, as in litellm; the
    command `llmbatch race` asks for more. With `stream` set the model that is the first to
    tell some text wins, and the result is the iterator of its chunks.

    When all have failed: with `models`, raises the exception of the first one listed, with the
    others' in `causes` and in its notes; with `deployments`, the result is None.
    """
    asked = _race(args, kwargs)
    if asked is None:
        return None
    try:
        return await asked.stream() if kwargs.get("stream") else await asked.whole()
    except OpenAIError:
        if _by_deployments(kwargs):
            return None
        raise


def batch_completion_models(*args: Any, **kwargs: Any) -> Any:
    """abatch_completion_models, blocking; a stream is a plain iterator."""
    asked = _race(args, kwargs)
    if asked is None:
        return None
    try:
        return iterate(asked.stream) if kwargs.get("stream") else run(asked.whole)
    except OpenAIError:
        if _by_deployments(kwargs):
            return None
        raise


async def abatch_completion_models_all_responses(*args: Any, **kwargs: Any) -> list[Any]:
    """The answers of several models, in the models' order.

    Args:
        args: none; litellm's signature has them.
        kwargs: `messages`; `models`, a name or a list of names; `return_exceptions`, whether
            a model that fails has its exception in its place, instead of being left out; the
            rest as acompletion's `params`, without `stream`. A `model` beside them is ignored.
    """
    _refuse_positional(args)
    _refuse_stream(kwargs.get("stream"))
    if "models" not in kwargs:
        raise TypeError("'models' param not in kwargs")
    names = _names(kwargs.pop("models"))
    keep = kwargs.pop("return_exceptions", False)
    said = conversation(kwargs.pop("messages", ()))
    asked = Race([(name, _shared(kwargs)) for name in names], said)
    async with open_entry() as entry:
        rivals = await asked.admit(entry)
        answers = await asyncio.gather(*(_answer(rival, said) for rival in rivals))
    return [answer for answer in answers if keep or isinstance(answer, ModelResponse)]


batch_completion_models_all_responses = blocking(abatch_completion_models_all_responses)


async def _batch(model: str, messages: Sequence[Any], params: Params, workers: int) -> list[Answer]:
    answers: dict[int, Answer] = {}
    left = iter(enumerate(messages))

    async def work(rival: Rival) -> None:
        for place, one in left:
            answers[place] = await _answer(rival, one)

    async with open_entry() as entry, asyncio.TaskGroup() as group:
        rival = await entry.admit_or_tell(model, params)
        for _ in range(room_for(min(workers, len(messages)), ignore)):
            group.create_task(work(rival))
    return [answers[place] for place in range(len(messages))]


async def _streams(
    model: str, messages: Sequence[Any], params: Params, workers: int
) -> list[Stream | OpenAIError]:
    begun: dict[int, Stream | OpenAIError] = {}
    left = iter(enumerate(messages))

    async def work() -> None:
        for place, one in left:
            try:
                begun[place] = await Race([(model, params)], conversation(one)).stream()
            except OpenAIError as error:
                begun[place] = error

    room_for(len(messages), ignore)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, len(messages))):
                group.create_task(work())
    except BaseException:
        for stream in begun.values():
            if isinstance(stream, Stream):
                await stream.aclose()
        raise
    return [begun[place] for place in range(len(messages))]


async def _answer(rival: Rival, messages: Any) -> Answer:
    """The answer, or why there is none."""
    if isinstance(rival, OpenAIError):
        return rival
    try:
        return await rival.answer(conversation(messages))
    except OpenAIError as error:
        return error


def _conversations(messages: Sequence[Any]) -> Sequence[Any]:
    """One for each result; a flat list of messages is one."""
    flat = messages and not any(isinstance(one, str | list | tuple) for one in messages)
    return [messages] if flat else messages


def _race(args: tuple[Any, ...], kwargs: Params) -> Race | None:
    """What batch_completion_models is to do; None is nothing."""
    _refuse_positional(args)
    shared = _shared(kwargs)
    if kwargs.get("models") is not None:
        models = [(name, shared) for name in _names(kwargs["models"])]
    elif kwargs.get("deployments") is not None:
        models = [_deployment(one, shared) for one in kwargs["deployments"]]
    else:
        return None
    if not models:
        raise ValueError("no models to ask: the list is empty")
    return Race(models, conversation({**kwargs, **shared}.get("messages", ())))


def _by_deployments(kwargs: Params) -> bool:
    return kwargs.get("models") is None


def _shared(kwargs: Params) -> Params:
    """The arguments that all models are asked with."""
    both = {**kwargs, **(kwargs.get("kwargs") or {})}
    own = ("model", "models", "deployments", "model_list", "messages", "kwargs")
    return {name: value for name, value in both.items() if name not in own}


def _deployment(own: Mapping[str, Any], shared: Params) -> tuple[str, Params]:
    """The deployment's model, and what it alone is asked with."""
    if not isinstance(own.get("model"), str):
        raise ValueError(f"a deployment names its model; this one has only {sorted(own)}")
    return own["model"], {**shared, **{n: v for n, v in own.items() if n != "model"}}


def _names(models: object) -> list[str]:
    if isinstance(models, str):
        return [models]
    if isinstance(models, list | tuple) and all(isinstance(name, str) for name in models):
        return list(models)
    raise TypeError("'models' must be a string or list of strings")


def _refuse_positional(args: tuple[Any, ...]) -> None:
    if args:
        raise TypeError("arguments are named: models=[...], messages=[...]")


def _refuse_stream(stream: object) -> None:
    if stream:
        raise UnsupportedParamsError(
            "answers that are given all together cannot be streamed; batch_completion_models can"
        )
