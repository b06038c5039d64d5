"""The first success of several models: whole, or as a stream of its chunks."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from llmbatch_cli.compat.asking import Entrant, Entry, open_entry
from llmbatch_cli.compat.exceptions import OpenAIError
from llmbatch_cli.compat.response import (
    Delta,
    ModelResponse,
    ModelResponseStream,
    StreamingChoice,
    calls_of,
    new_id,
    usage_of,
)
from llmbatch_cli.core.types import Completion, Message
from llmbatch_cli.engine.race import RaceResult, Start, race

Rival: TypeAlias = Entrant | OpenAIError
"""A model, or why it cannot be asked."""

StartOf = Callable[[Entrant], Start]


@dataclass(frozen=True, slots=True)
class Race:
    """One conversation and the models that are asked, each by litellm's name and arguments."""

    models: Sequence[tuple[str, Mapping[str, Any]]]
    messages: Sequence[Message]

    async def whole(self) -> ModelResponse:
        """The first answer, whatever it is; the others' connections are closed.

        An empty answer is a success here, and one that was cut off by length, as in litellm.
        Raises the first model's exception when all have failed, with the others' in `causes`.
        """
        async with open_entry() as entry:
            entrant, runner, completion = await _winner(await self.admit(entry), self._start_of)
            return entrant.respond(completion, runner.latency_s or 0.0)

    async def stream(self) -> "Stream":
        """The stream of the model that is the first to tell some text; the others are closed.

        Raises as `whole` does, as long as nothing has been told.
        """
        chunks = _chunks(self)
        return Stream(await anext(chunks), chunks)

    async def admit(self, entry: Entry) -> list[Rival]:
        """The models, ready to be asked; a name that comes twice with the same arguments shares
        what it is asked through."""
        rivals: list[Rival] = []
        for place, (model, params) in enumerate(self.models):
            twin = self.models.index((model, params))
            known = twin < place
            rivals.append(rivals[twin] if known else await entry.admit_or_tell(model, params))
        return rivals

    def _start_of(self, entrant: Entrant) -> Start:
        return lambda leads: entrant.call(entrant.request(self.messages))


class Stream:
    """The chunks of one answer as they come: `chunk.choices[0].delta.content`.

    Leaving an `async for` loop early closes the connection, as `aclose()` does; there is nothing
    more to come then. An answer that breaks off raises OpenAIError.
    """

    def __init__(
        self, first: ModelResponseStream, rest: AsyncGenerator[ModelResponseStream, None]
    ) -> None:
        self._first: ModelResponseStream | None = first
        self._rest = rest

    async def __anext__(self) -> ModelResponseStream:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._rest)

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
        """Read no further, and close the connection."""
        self._first = None
        await self._rest.aclose()


async def _chunks(asked: Race) -> AsyncGenerator[ModelResponseStream, None]:
    async with open_entry() as entry:
        telling = _Telling(asked.messages)
        running = asyncio.ensure_future(telling.run(await asked.admit(entry)))
        try:
            writer = None
            while (told := await telling.texts.get()) is not None:
                writer = writer or _Writer(told[0])
                yield writer.text(told[1])
            entrant, _, completion = await running
            for chunk in (writer or _Writer(entrant)).end(completion):
                yield chunk
        finally:
            running.cancel()
            await asyncio.wait([running])


class _Telling:
    """A race to the first text, and the texts of who leads it; None is their end."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.texts: asyncio.Queue[tuple[Entrant, str] | None] = asyncio.Queue()
        self._leader: Entrant | None = None
        self._messages = messages

    async def run(self, rivals: Sequence[Rival]) -> tuple[Entrant, RaceResult, Completion]:
        try:
            return await _winner(rivals, self._start_of, lambda: self._leader)
        finally:
            self.texts.put_nowait(None)

    def _start_of(self, entrant: Entrant) -> Start:
        def start(leads: Callable[[], None]) -> Awaitable[Completion]:
            def on_text(text: str) -> None:
                if self._leader is None:
                    self._leader = entrant
                    leads()  # which cancels all the others: only this one goes on telling
                self.texts.put_nowait((entrant, text))

            return entrant.stream(entrant.request(self._messages), on_text)

        return start


class _Writer:
    """Makes one answer's chunks."""

    def __init__(self, entrant: Entrant) -> None:
        self._id = new_id()
        self._created = int(time.time())
        self._entrant = entrant
        self._begun = False

    def text(self, text: str) -> ModelResponseStream:
        """What has come."""
        return self._chunk(content=text)

    def end(self, completion: Completion) -> list[ModelResponseStream]:
        """What is left to tell: tool calls, the finish reason, and the usage if it is wanted."""
        chunks = []
        if completion.tool_calls:
            calls = calls_of(completion.tool_calls) or []
            for place, call in enumerate(calls):
                call["index"] = place
            chunks.append(self._chunk(tool_calls=calls))
        chunks.append(self._chunk(finish_reason=completion.finish_reason))
        if self._entrant.asked.include_usage and completion.usage is not None:
            last = self._chunk()
            last["usage"] = usage_of(completion.usage)
            chunks.append(last)
        return chunks

    def _chunk(
        self,
        *,
        content: str | None = None,
        tool_calls: object = None,
        finish_reason: str | None = None,
    ) -> ModelResponseStream:
        role = None if self._begun else "assistant"
        self._begun = True
        delta = Delta(content=content, role=role, function_call=None, tool_calls=tool_calls)
        return ModelResponseStream(
            id=self._id,
            created=self._created,
            model=self._entrant.lane.id,
            object="chat.completion.chunk",
            system_fingerprint=None,
            choices=[
                StreamingChoice(finish_reason=finish_reason, index=0, delta=delta, logprobs=None)
            ],
        )


async def _winner(
    rivals: Sequence[Rival],
    start_of: StartOf,
    leader: Callable[[], Entrant | None] = lambda: None,
) -> tuple[Entrant, RaceResult, Completion]:
    """Who won, how it fared and its answer. Raises OpenAIError when all have failed."""
    entrants = [rival for rival in rivals if isinstance(rival, Entrant)]
    runners = await race(
        [start_of(entrant) for entrant in entrants],
        clock=time.monotonic,
    )
    for entrant, runner in zip(entrants, runners, strict=True):
        if runner.status == "won" and runner.completion is not None:
            return entrant, runner, runner.completion
    raise _all_failed(_exceptions(rivals, runners, leader()))


def _exceptions(
    rivals: Sequence[Rival], runners: Sequence[RaceResult], leader: Entrant | None
) -> list[OpenAIError]:
    """Why each rival has failed, in their order; who led and broke off comes first."""
    rest = iter(runners)
    found: list[OpenAIError] = []
    for rival in rivals:
        if isinstance(rival, OpenAIError):
            found.append(rival)
        elif (error := next(rest).error) is not None:
            found.insert(0 if rival is leader else len(found), rival.blame(error))
    return found


def _all_failed(exceptions: Sequence[OpenAIError]) -> OpenAIError:
    """The first exception, which names the others."""
    first, *others = exceptions
    first.causes = others
    for other in others:
        name = "/".join(part for part in (other.llm_provider, other.model) if part)
        first.add_note(f"{name} failed too: {type(other).__name__}: {other.message}")
    return first
