"""What a type checker knows of results: `make check` holds each assert_type of this file."""

from collections.abc import Iterator
from typing import assert_type

from llmbatch_cli import (
    Client,
    Completion,
    Failure,
    ModelResponse,
    OpenAIError,
    Outcome,
    Usage,
    abatch_completion,
    batch,
    batch_completion,
    batch_completion_models,
    batch_completion_models_all_responses,
    race,
)
from llmbatch_cli.compat.streaming import Stream


def test_the_types_of_outcomes() -> None:
    """Nothing is Any down to the answer's text, its tokens and the error."""
    assert_type(batch([], model="fake/echo"), Iterator[Outcome])
    for outcome in race(["hi"], models=["fake/echo"]):
        assert_type(outcome.text, str | None)
        assert_type(outcome.error, Failure | None)
        assert_type(outcome.completion, Completion | None)
        assert outcome.completion is not None
        assert_type(outcome.completion.usage, Usage | None)


async def test_the_types_of_a_client() -> None:
    """The same by `await`."""
    async with Client() as client:
        assert_type(await client.ask("hi", model="fake/echo"), Outcome)
        async for outcome in client.batch(["hi"], model="fake/echo"):
            assert_type(outcome, Outcome)


async def test_the_types_of_litellms_functions() -> None:
    """An answer or its exception, and streams only where they were asked for."""
    for result in batch_completion("gpt-4o", ["hi"], mock_response="a"):
        assert_type(result, ModelResponse | OpenAIError)
        assert isinstance(result, ModelResponse)
        assert_type(result.choices[0].message.content, str | None)
    for streamed in await abatch_completion("gpt-4o", ["hi"], stream=True, mock_response="a"):
        assert_type(streamed, Stream | OpenAIError)
    first = batch_completion_models(models=["gpt-4o"], messages="hi", mock_response="a")
    assert_type(first, ModelResponse)
    every = batch_completion_models_all_responses(
        models=["gpt-4o"], messages="hi", mock_response="a"
    )
    assert_type(every, list[ModelResponse | OpenAIError])
