"""One model's answers to many conversations: what batch_completion does with its arguments."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, TypeAlias, TypeVar

from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.compat.models import open_model, open_pool
from llmbatch_cli.compat.progress import display, observed
from llmbatch_cli.compat.racing import Race, answer_or_error, or_error
from llmbatch_cli.compat.response import ModelResponse, ModelResponseStream
from llmbatch_cli.compat.streaming import Stream
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.loops import Iteration, iterate
from llmbatch_cli.transport.descriptors import room_for

DEFAULT_WORKERS: Final = 100

T = TypeVar("T")

Params: TypeAlias = Mapping[str, Any]
Chunks: TypeAlias = Iteration[ModelResponseStream]


@frozen
class Batch:
    """What batch_completion is called with."""

    model: str
    conversations: Sequence[Any]
    params: Params
    workers: int
    progress: bool

    async def answers(self) -> list[ModelResponse | OpenAIError]:
        async with open_pool() as pool:
            model = await or_error(open_model(pool, self.model, self.params))
            fit = room_for(min(self.workers, len(self.conversations)), ignore)
            async with display(self.model, self.conversations, wanted=self.progress) as observe:
                return await _each(
                    list(enumerate(self.conversations)),
                    fit,
                    lambda one: observed(one[0], answer_or_error(model, one[1]), observe),
                )

    async def streams(self) -> list[Stream | OpenAIError]:
        room_for(len(self.conversations), ignore)
        return await _each(
            self.conversations, self.workers, lambda one: or_error(self._race(one).stream())
        )

    def blocking_streams(self) -> list[Chunks | OpenAIError]:
        room_for(len(self.conversations), ignore)
        results = []
        with ExitStack() as stack:
            races = [self._race(one) for one in self.conversations]
            streams = [stack.enter_context(iterate(race.chunks)) for race in races]
            for place, stream in enumerate(streams):
                for soon in streams[place : place + self.workers]:
                    soon.start()
                results.append(_begun(stream))
            stack.pop_all()  # none was interrupted: they stay open
        return results

    def _race(self, messages: object) -> Race:
        return Race([(self.model, self.params)], messages)


def batch_of(given: Params) -> Batch:
    """From abatch_completion's arguments by their names."""
    params = {**given, **given["kwargs"]}
    for name in ("model", "messages", "stream", "max_workers", "kwargs"):
        del params[name]
    messages, workers = given["messages"], given["max_workers"]
    messages = [messages] if isinstance(messages, str) else list(messages)
    if workers is not None and workers < 1:
        raise ValueError("max_workers must be greater than 0")
    flat = messages and not any(isinstance(one, str | list | tuple) for one in messages)
    conversations = [messages] if flat else messages
    progress = bool(params.get("progress"))
    return Batch(given["model"], conversations, params, workers or DEFAULT_WORKERS, progress)


async def _each(items: Sequence[Any], at_once: int, job: Callable[[Any], Awaitable[T]]) -> list[T]:
    """The jobs' results, in the order of the items."""
    results: dict[int, T] = {}
    left = iter(enumerate(items))

    async def work() -> None:
        for place, item in left:
            results[place] = await job(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(items))):
            group.create_task(work())
    return [results[place] for place in range(len(items))]


def _begun(stream: Chunks) -> Chunks | OpenAIError:
    try:
        return stream.begin()
    except OpenAIError as error:
        return error
