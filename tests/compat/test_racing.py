"""One conversation to several models: the first success, the others' sockets closed."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from compat.loopback import Loopback, Model, texts

import llmbatch_cli
from llmbatch_cli import (
    APIConnectionError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    ModelResponse,
    RateLimitError,
    abatch_completion_models,
    acompletion,
    batch_completion_models,
    completion,
)

HI = [{"role": "user", "content": "hi"}]


def how(loopback: Loopback, **more: Any) -> dict[str, Any]:
    return {"messages": HI, "api_base": loopback.api_base, "api_key": "sk-x", **more}


@pytest.mark.parametrize("models", [["openai/fast", "openai/slow"], ["openai/slow", "openai/fast"]])
def test_the_fast_one_is_given_at_once_and_the_slow_ones_socket_closed(
    loopback: Loopback, models: list[str]
) -> None:
    """In either order: the answer comes with the fast model, and the slow one is not waited for."""
    loopback.models = {"fast": Model(0.1), "slow": Model(1.5)}
    started = time.monotonic()
    response = batch_completion_models(models=models, **how(loopback))
    won = time.monotonic()
    assert isinstance(response, ModelResponse)
    assert response.model == "fast"
    assert won - started < 0.5
    assert loopback.wait_closed("slow") - won < 0.1


def test_a_failing_model_leaves_the_race(loopback: Loopback) -> None:
    """Failing first is not winning, wherever it is listed."""
    loopback.models = {"bad": Model(status=400), "good": Model(0.05)}
    models = ["openai/bad", "openai/", "openai/good"]
    response = batch_completion_models(models=models, **how(loopback))
    assert isinstance(response, ModelResponse)
    assert response["model"] == "good"


def test_when_all_fail_the_first_listed_tells_and_names_the_others(loopback: Loopback) -> None:
    """The exception is the first-listed model's though it fails last; no cause is lost."""
    loopback.models = {"a": Model(0.1, 400), "b": Model(status=429), "c": Model(status=401)}
    models = ["openai/a", "openai/b", "openai/c"]
    with pytest.raises(BadRequestError, match="a failed") as caught:
        batch_completion_models(models=models, num_retries=0, **how(loopback))
    kinds = [type(cause) for cause in caught.value.causes]
    assert kinds == [RateLimitError, AuthenticationError]
    assert "openai/b failed too: RateLimitError: b failed" in caught.value.__notes__


def test_a_model_that_is_listed_twice_is_called_twice(loopback: Loopback) -> None:
    """Three times the same model are three requests, and one answer."""
    loopback.models = {"m": Model(0.1)}
    response = batch_completion_models(models=["openai/m"] * 3, **how(loopback))
    assert isinstance(response, ModelResponse)
    assert loopback.called() == ["m", "m", "m"]


def test_one_name_is_one_model(loopback: Loopback) -> None:
    """`models` may be a text, which is a name and not a list of letters; `model` is ignored."""
    response = batch_completion_models(models="openai/m", model="x", **how(loopback))
    assert isinstance(response, ModelResponse)
    assert loopback.called() == ["m"]


def test_any_answer_is_a_success(loopback: Loopback) -> None:
    """As in litellm an empty answer wins, and one that was cut off."""
    empty = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"}
    loopback.models = {"empty": Model(body={"choices": [empty]}), "slow": Model(1)}
    response = batch_completion_models(models=["openai/slow", "openai/empty"], **how(loopback))
    assert isinstance(response, ModelResponse)
    assert response.choices[0].message.content == ""
    assert response.choices[0].finish_reason == "length"


def test_no_models() -> None:
    """Neither models nor deployments: None. An empty list: ValueError. No list: TypeError."""
    assert batch_completion_models(messages=HI) is None
    assert batch_completion_models(messages=HI, model="openai/m") is None
    for name in ("models", "deployments"):
        with pytest.raises(ValueError, match="empty"):
            batch_completion_models(messages=HI, **{name: []})
    with pytest.raises(TypeError, match="string or list of strings"):
        batch_completion_models(messages=HI, models=7)
    call: Any = batch_completion_models
    with pytest.raises(TypeError, match="positional"):
        call(HI, models=["openai/m"])
    with pytest.raises(ValueError, match="needs a model"):
        batch_completion_models(messages=HI, deployments=[{"api_key": "k"}])


def test_a_deployments_key_goes_nowhere_else(loopback: Loopback) -> None:
    """Its own parameters win over the shared ones, and the next deployment never sees them."""
    loopback.models = {name: Model(0.2) for name in ("a", "b", "c")}
    deployments: list[dict[str, Any]] = [
        {"model": "openai/a", "api_key": "key-a", "temperature": 0.5},
        {"model": "openai/b"},
        {"model": "openai/c", "api_key": "key-c", "max_tokens": 7},
    ]
    before = [dict(one) for one in deployments]
    batch_completion_models(
        deployments=deployments, model_list=[], temperature=0.1, **how(loopback)
    )
    assert loopback.keys() == {"a": "Bearer key-a", "b": "Bearer sk-x", "c": "Bearer key-c"}
    bodies = {body["model"]: body for body in loopback.bodies()}
    assert [bodies[name]["temperature"] for name in "abc"] == [0.5, 0.1, 0.1]
    assert ["max_tokens" in bodies[name] for name in "abc"] == [False, False, True]
    assert deployments == before


def test_two_deployments_of_one_model_are_both_called(loopback: Loopback) -> None:
    """The same name with two keys is two requests."""
    loopback.models = {"m": Model(0.1)}
    deployments = [{"model": "openai/m", "api_key": key} for key in ("k1", "k2")]
    response = batch_completion_models(deployments=deployments, **how(loopback))
    assert isinstance(response, ModelResponse)
    sent = {exchange.header("authorization") for exchange in loopback.server.exchanges}
    assert sent == {"Bearer k1", "Bearer k2"}


@pytest.mark.parametrize("stream", [False, True])
def test_deployments_that_all_fail_give_none(loopback: Loopback, stream: bool) -> None:
    """As in litellm: no exception."""
    loopback.models = {"m": Model(status=400)}
    deployments = [{"model": "openai/m"}, {"model": "no-such-model"}]
    options = how(loopback, api_base=None, stream=stream)
    deployments[0]["api_base"] = loopback.api_base
    assert batch_completion_models(deployments=deployments, **options) is None


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("stream", [False, True])
def test_num_retries_is_what_it_says(
    loopback: Loopback, status: int, retries: int, stream: bool
) -> None:
    """So many tries after the first one and no more, for a rate limit too."""
    loopback.models = {"m": Model(status=status)}
    with pytest.raises((RateLimitError, llmbatch_cli.ServiceUnavailableError)):
        completion("openai/m", **how(loopback, num_retries=retries, stream=stream))
    assert len(loopback.called()) == retries + 1


def test_without_num_retries_trouble_that_passes_is_not_told(loopback: Loopback) -> None:
    """A failure that may pass is tried again by itself."""
    loopback.models = {"m": Model(status=503)}

    async def mend() -> ModelResponse:
        task = asyncio.ensure_future(acompletion("openai/m", **how(loopback)))
        while not loopback.called():
            await asyncio.sleep(0.005)
        loopback.models = {}
        response = await task
        assert isinstance(response, ModelResponse)
        return response

    assert asyncio.run(mend()).choices[0].message.content == "HELLO"


async def test_many_races_at_once_leave_nothing(loopback: Loopback) -> None:
    """Sixty races of three: all won by the fast one; no task and no descriptor is left."""
    loopback.models = {"fast": Model(0.1), "slow": Model(10), "bad": Model(status=400)}
    models = ["openai/slow", "openai/bad", "openai/fast"]
    await abatch_completion_models(models=models, **how(loopback))
    tasks, files = asyncio.all_tasks(), open_files()
    async with asyncio.timeout(8):
        races = [abatch_completion_models(models=models, **how(loopback)) for _ in range(60)]
        responses = await asyncio.gather(*races)
    assert {response.model for response in responses} == {"fast"}
    assert asyncio.all_tasks() == tasks
    async with asyncio.timeout(10):
        while loopback.in_flight or open_files() > files + 2:
            await asyncio.sleep(0.01)


def open_files() -> int:
    """Descriptors of this process, which is the server's too; 0 where nobody counts them."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


# Streams


def test_a_stream_is_chunks_in_litellms_shape(loopback: Loopback) -> None:
    """Texts first, then the finish reason, then the usage where it was requested."""
    loopback.models = {"m": Model(between_s=0.05)}
    options = how(loopback, stream=True, stream_options={"include_usage": True})
    chunks = list(completion("openai/m", **options))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["HEL", "LO", None, None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop", None]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage.total_tokens == 5
    assert "usage" not in chunks[0]
    (body,) = loopback.bodies()
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_the_first_text_wins_a_streamed_race(loopback: Loopback) -> None:
    """The winner's stream is there at its first text; the other's socket is closed by then."""
    loopback.models = {"slow": Model(1.5), "fast": Model(0.05, between_s=0.3)}
    started = time.monotonic()
    models = ["openai/slow", "openai/fast"]
    stream = batch_completion_models(models=models, **how(loopback, stream=True))
    assert stream is not None
    iterator = iter(stream)
    assert next(iterator).model == "fast"
    assert time.monotonic() - started < 0.3
    assert loopback.wait_closed("slow") - started < 0.5
    assert [chunk.choices[0].delta.content for chunk in iterator] == ["LO", None]


def test_a_stream_that_is_left_closes_its_socket(loopback: Loopback) -> None:
    """`break` is enough; what comes after it is nothing."""
    loopback.models = {"m": Model(chunks=("a", "b", "c"), between_s=1)}
    stream = completion("openai/m", **how(loopback, stream=True))
    for _ in stream:
        left = time.monotonic()
        break
    assert loopback.wait_closed("m") - left < 0.5
    assert list(stream) == []


async def test_an_async_stream_that_is_left_closes_its_socket(loopback: Loopback) -> None:
    """The same for `async for`."""
    loopback.models = {"m": Model(chunks=("a", "b", "c"), between_s=1)}
    stream = await acompletion("openai/m", **how(loopback, stream=True))
    async for _ in stream:
        break
    await asyncio.to_thread(loopback.wait_closed, "m")
    assert [chunk async for chunk in stream] == []


def test_a_stream_that_nobody_reads_closes_its_socket(loopback: Loopback) -> None:
    """With its last reference everything goes."""
    loopback.models = {"m": Model(between_s=1)}
    completion("openai/m", **how(loopback, stream=True))
    loopback.wait_closed("m")


async def test_an_async_race_streams(loopback: Loopback) -> None:
    """abatch_completion_models gives an async iterator."""
    loopback.models = {"bad": Model(status=400)}
    models = ["openai/bad", "openai/m"]
    stream = await abatch_completion_models(models=models, **how(loopback, stream=True))
    assert stream is not None
    assert "".join(await texts(aiter(stream))) == "HELLO"


def test_a_stream_that_cannot_begin_raises_at_once(loopback: Loopback) -> None:
    """The exception comes from the call, not from the iteration."""
    loopback.models = {"m": Model(status=400)}
    with pytest.raises(BadRequestError, match="m failed"):
        completion("openai/m", **how(loopback, stream=True))


def test_a_stream_that_breaks_off_raises_where_it_does(loopback: Loopback) -> None:
    """Its texts come first, then comes the leader's own failure, not another model's."""
    loopback.models = {"bad": Model(status=400), "m": Model(0.1, breaks=True, between_s=0.05)}
    models = ["openai/bad", "openai/m"]
    stream = batch_completion_models(models=models, **how(loopback, stream=True))
    assert stream is not None
    iterator = iter(stream)
    assert [next(iterator).choices[0].delta.content for _ in range(2)] == ["HEL", "LO"]
    with pytest.raises(APIConnectionError) as caught:
        next(iterator)
    assert caught.value.model == "m"
    assert loopback.called().count("m") == 1


# Without a server


def test_a_mock_response_is_an_answer_without_a_request() -> None:
    """No key, no request; a delay is kept, and the fastest wins."""
    response = completion("gpt-4o-mini", HI, mock_response="made up")
    assert isinstance(response, ModelResponse)
    assert (response.choices[0].message.content, response.usage.total_tokens) == ("made up", 30)
    deployments = [
        {"model": "openai/slow", "mock_response": "slow", "mock_delay": 5},
        {"model": "openai/fast", "mock_response": "fast", "mock_delay": 0.01},
    ]
    won = batch_completion_models(deployments=deployments, messages=HI)
    assert isinstance(won, ModelResponse)
    assert won.choices[0].message.content == "fast"
    chunks = completion("gpt-4o-mini", HI, mock_response="made up", stream=True)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["made up", None]


def test_a_mocked_failure_is_raised() -> None:
    """An exception, or the name of one."""
    own = RateLimitError("mine", llm_provider="openai", model="m")
    with pytest.raises(RateLimitError) as caught:
        completion("gpt-4o", HI, mock_response=own)
    assert (caught.value.message, caught.value.model) == ("mine", "m")
    with pytest.raises(InternalServerError, match="boom"):
        completion("gpt-4o", HI, mock_response=OSError("boom"), num_retries=0)
    with pytest.raises(RateLimitError):
        completion("gpt-4o", HI, mock_response="litellm.RateLimitError", num_retries=0)
