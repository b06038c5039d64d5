"""The first success of one or several models: whole, or as a stream of its chunks."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.compat.models import OpenModel, open_model, open_pool
from llmbatch_cli.compat.response import ModelResponse, ModelResponseStream
from llmbatch_cli.compat.streaming import Stream
from llmbatch_cli.core.frozen import frozen

T = TypeVar("T")


@frozen
class Race:
    """One conversation and the models that answer it, each by litellm's name and arguments.

    An empty answer is a success here, and one that was cut off by length, as in litellm. When
    all have failed, the first model's exception is raised, with the others' in `causes`.
    """

    models: Sequence[tuple[str, Mapping[str, Any]]]
    messages: object

    async def whole(self) -> ModelResponse:
        """The first answer; the others' connections are closed."""
        async with open_pool() as pool:
            models = [await or_error(open_model(pool, *one)) for one in self.models]
            return await _first(answer_or_error(model, self.messages) for model in models)

    async def stream(self) -> Stream:
        """The stream of the first model to produce text; the others' connections are closed."""
        streams = [Stream(*one, self.messages) for one in self.models]
        winner = None
        try:
            winner = await _first(or_error(stream.begin()) for stream in streams)
            return winner
        finally:
            for stream in streams:
                if stream is not winner:
                    await stream.aclose()

    async def chunks(self) -> AsyncGenerator[ModelResponseStream, None]:
        """The same as an async generator."""
        async with aclosing(await self.stream()) as stream:
            async for chunk in stream:
                yield chunk


async def or_error(result: Awaitable[T]) -> T | OpenAIError:
    """The result, or its OpenAIError."""
    try:
        return await result
    except OpenAIError as error:
        return error


async def answer_or_error(
    model: OpenModel | OpenAIError, messages: object
) -> ModelResponse | OpenAIError:
    """The model's answer, or why there is none."""
    return model if isinstance(model, OpenAIError) else await or_error(model.answer(messages))


async def _first(jobs: Iterable[Coroutine[Any, Any, T | OpenAIError]]) -> T:
    """The first success, in the order of the jobs where there are several; cancels the others."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    pending = set(tasks)
    try:
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            results = [task.result() for task in tasks if task.done()]
            for result in results:
                if not isinstance(result, OpenAIError):
                    return result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    first, *others = [one for one in results if isinstance(one, OpenAIError)]
    first.causes = others
    for other in others:
        name = "/".join(part for part in (other.llm_provider, other.model) if part)
        first.add_note(f"{name} failed too: {type(other).__name__}: {other.message}")
    raise first
