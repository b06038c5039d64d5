"""One answer as chunks in litellm's shape."""

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Self

from llmbatch_cli.compat.models import open_model, open_pool
from llmbatch_cli.compat.response import (
    Delta,
    ModelResponseStream,
    StreamingChoice,
    new_id,
    record,
    usage_of,
)
from llmbatch_cli.core.types import Completion
from llmbatch_cli.loops import cancelled


class Stream:
    """The chunks of one answer as they come: `chunk.choices[0].delta.content`.

    Leaving an `async for` loop early closes the connection, as do `aclose()` and losing the last
    reference; after that there are no more chunks. An answer that breaks off raises OpenAIError.
    """

    def __init__(self, model: str, params: Mapping[str, Any], messages: object) -> None:
        chunks: asyncio.Queue[ModelResponseStream | None] = asyncio.Queue()

        def end(task: asyncio.Task[None]) -> None:
            chunks.put_nowait(None)
            if not task.cancelled():
                task.exception()  # else asyncio says that nobody has asked for it

        self._chunks = chunks
        self._first: ModelResponseStream | None = None
        self._ended = False
        self._task = asyncio.create_task(_fill(chunks.put_nowait, model, params, messages))
        self._task.add_done_callback(end)
        # the task holds the queue, never this object, so that it can be collected
        weakref.finalize(self, _cancel, self._task)

    async def begin(self) -> Self:
        """Wait for the first chunk, which comes with the first text. Raises OpenAIError."""
        self._first = await anext(self)
        return self

    async def __anext__(self) -> ModelResponseStream:
        first, self._first = self._first, None
        if first is not None:
            return first
        chunk = None if self._ended else await self._chunks.get()
        if chunk is not None:
            return chunk
        if not (self._ended or self._task.cancelled()):
            self._ended = True
            await self._task
        raise StopAsyncIteration

    async def __aiter__(self) -> AsyncIterator[ModelResponseStream]:
        try:
            while True:
                try:
                    chunk = await anext(self)
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        self._first, self._ended = None, True
        await cancelled(self._task)


def _cancel(task: asyncio.Task[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and has ended the task
        task.get_loop().call_soon_threadsafe(task.cancel)


async def _fill(
    put: Callable[[ModelResponseStream], None],
    model: str,
    params: Mapping[str, Any],
    messages: object,
) -> None:
    """Put the answer's chunks. Raises OpenAIError."""
    async with open_pool() as pool:
        opened = await open_model(pool, model, params)
        write = _Writer(opened.model.id)
        completion = await opened.stream(messages, lambda text: put(write(content=text)))
        for chunk in write.end(completion, usage=opened.how.include_usage):
            put(chunk)


class _Writer:
    """Makes one answer's chunks."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = new_id()
        self._created = int(time.time())
        self._role: str | None = "assistant"

    def __call__(
        self,
        *,
        content: str | None = None,
        tool_calls: object = None,
        finish_reason: str | None = None,
    ) -> ModelResponseStream:
        role, self._role = self._role, None
        delta = Delta(content=content, role=role, function_call=None, tool_calls=tool_calls)
        choice = StreamingChoice(finish_reason=finish_reason, index=0, delta=delta, logprobs=None)
        return ModelResponseStream(
            id=self._id,
            created=self._created,
            model=self._model,
            object="chat.completion.chunk",
            system_fingerprint=None,
            choices=[choice],
        )

    def end(self, completion: Completion, *, usage: bool) -> list[ModelResponseStream]:
        """The last chunks: tool calls, the finish reason, and the usage if it was requested."""
        chunks = []
        if completion.tool_calls:
            calls = enumerate(completion.tool_calls)
            chunks.append(self(tool_calls=[record({**call, "index": i}) for i, call in calls]))
        chunks.append(self(finish_reason=completion.finish_reason))
        if usage and completion.usage is not None:
            chunks.append(self())
            chunks[-1]["usage"] = usage_of(completion.usage)
        return chunks
