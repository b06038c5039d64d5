"""One answer as chunks in litellm's shape."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
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


class Stream:
    """The chunks of one answer as they come: `chunk.choices[0].delta.content`.

    Leaving an `async for` loop early closes the connection, as `aclose()` does; after that there
    are no more chunks. An answer that breaks off raises OpenAIError.
    """

    def __init__(self, chunks: AsyncGenerator[ModelResponseStream, None]) -> None:
        self._chunks = chunks
        self._first: ModelResponseStream | None = None

    async def begin(self) -> Self:
        """Wait for the first chunk, which comes with the first text. Raises OpenAIError."""
        self._first = await anext(self._chunks)
        return self

    async def __anext__(self) -> ModelResponseStream:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._chunks)

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
        self._first = None
        await self._chunks.aclose()


async def chunks_of(
    model: str, params: Mapping[str, Any], messages: object
) -> AsyncGenerator[ModelResponseStream, None]:
    """The answer's chunks. Raises OpenAIError."""
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    async with open_pool() as pool:
        opened = await open_model(pool, model, params)
        running = asyncio.ensure_future(opened.stream(messages, texts.put_nowait))
        running.add_done_callback(lambda _: texts.put_nowait(None))
        write = _Writer(opened.model.id)
        try:
            while (text := await texts.get()) is not None:
                yield write(content=text)
            for chunk in write.end(await running, usage=opened.how.include_usage):
                yield chunk
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


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
