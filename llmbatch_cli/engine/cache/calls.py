"""Calls that are answered without a request where the same was asked before."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, Protocol

from llmbatch_cli.core.canonical import canonical
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.cache.stored import again, from_bytes, is_whole, to_bytes
from llmbatch_cli.engine.calls import StreamCall

FORMAT: Final = 1
"""Changes where the bytes of keys or answers do, so that those of old versions are not found."""
KEY_BYTES: Final = 16


class Answers(Protocol):
    """Answers by key: see store.py."""

    async def get(self, key: bytes) -> bytes | None:
        """The answer, if there is one."""

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer."""


@frozen
class Asked:
    """Who answers: what a request does not say itself."""

    provider: str
    address: str
    """The base URL; empty for a model in this process."""
    api: str
    """Which of a provider's APIs."""

    def key(self, request: Request) -> bytes | None:
        """The request's digest: equal for equal ones only; None for one that has none."""
        parts = (FORMAT, self.provider, self.address, self.api)
        data = canonical((*parts, request.model, request.messages, request.params))
        return None if data is None else blake2b(data, digest_size=KEY_BYTES).digest()


def cached(call: Call, answers: Answers, asked: Asked) -> Call:
    """The call, where the answer is not there; a whole answer is kept."""

    async def look_first(request: Request) -> Completion:
        key = asked.key(request)
        if key is None:
            return await call(request)
        if (found := await _kept(answers, key, request)) is not None:
            return found
        completion = await call(request)
        _keep(answers, key, completion)
        return completion

    return look_first


def cached_stream(stream: StreamCall, answers: Answers, asked: Asked) -> StreamCall:
    """The same for a streamed call: an answer that is there comes in one piece."""

    async def look_first(request: Request, on_text: Callable[[str], None]) -> Completion:
        key = asked.key(request)
        if key is None:
            return await stream(request, on_text)
        if (found := await _kept(answers, key, request)) is not None:
            if found.text:
                on_text(found.text)
            return found
        completion = await stream(request, on_text)
        _keep(answers, key, completion)
        return completion

    return look_first


async def _kept(answers: Answers, key: bytes, request: Request) -> Completion | None:
    data = await answers.get(key)
    found = None if data is None else from_bytes(data)
    request.ledger.cached = found is not None
    return found


def _keep(answers: Answers, key: bytes, completion: Completion) -> None:
    if is_whole(completion) and (data := to_bytes(completion)) is not None:
        answers.put(key, data)


def deduped(call: Call, answers: Answers, asked: Asked) -> Call:
    """The call, once for all equal requests of a run, whatever answer it has.

    One that comes while another is under way waits for its answer. Failures are not shared:
    where the other has none, each that has waited makes a call of its own.
    """
    under_way: dict[bytes, asyncio.Future[Completion | None]] = {}

    async def call_and_keep(request: Request, key: bytes) -> Completion:
        completion = await call(request)
        if (data := to_bytes(completion)) is not None:
            answers.put(key, data)
        return completion

    async def call_once(request: Request, key: bytes) -> Completion:
        loop = asyncio.get_running_loop()
        ended = under_way[key] = loop.create_future()
        completion = None
        try:
            if (completion := await _kept(answers, key, request)) is None:
                completion = await call_and_keep(request, key)
            return completion
        finally:
            del under_way[key]
            ended.set_result(completion)

    async def first_or_wait(request: Request) -> Completion:
        key = asked.key(request)
        if key is None:
            return await call(request)
        if (other := under_way.get(key)) is None:
            return await call_once(request, key)
        completion = await asyncio.shield(other)
        if completion is None:
            return await call_and_keep(request, key)
        request.ledger.cached = True
        return again(completion)

    return first_or_wait
