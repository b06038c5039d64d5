"""Calls that are answered without a request where the same was asked before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

from llmbatch_cli.core.canonical import canonical
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.cache.stored import again, from_bytes, is_whole, to_bytes
from llmbatch_cli.engine.deadline import Deadlines
from llmbatch_cli.engine.validate import mismatch

T = TypeVar("T")

FORMAT: Final = 1
"""Changes where the bytes of keys or answers do, so that those of old versions are not found."""
KEY_BYTES: Final = 16

Source = Sequence[str]
"""Who answers, beside what a request says."""
Fits = Callable[[Completion, Request], bool]
"""Whether an answer has the form that was asked for."""


def fits_format(completion: Completion, request: Request) -> bool:
    """Whether an answer has the form of its request's `response_format`, if any."""
    return not completion.text or mismatch(completion.text, request.params) is None


class Answers(Protocol):
    """Answers by key: see store.py."""

    async def get(self, key: bytes) -> bytes | None:
        """The answer, if there is one."""

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer."""


def key_of(request: Request, source: Source) -> bytes | None:
    """The request's digest: equal for equal ones only; None for one that has none."""
    asked = (request.model, request.messages, request.params, request.repeat)
    times = (request.again,) if request.again else ()
    data = canonical((FORMAT, source, *asked, *times))
    return None if data is None else blake2b(data, digest_size=KEY_BYTES).digest()


class Look:
    """Looks for the answers to one model's requests, and keeps them."""

    def __init__(
        self, answers: Answers, deadlines: Deadlines | None, fits: Fits | None = fits_format
    ) -> None:
        """
        Args:
            answers: those that there are.
            deadlines: their time does not run while a row looks or waits before its first
                request.
            fits: which whole answers are kept; None keeps all answers.
        """
        self._answers = answers
        self._deadlines = deadlines
        self._fits = fits

    async def find(self, key: bytes, request: Request) -> Completion | None:
        """The answer that is there; the ledger says whether there is one."""
        data = await self.untimed(request, self._answers.get(key))
        found = None if data is None else from_bytes(data)
        request.ledger.cached = found is not None
        return found

    def keep(self, key: bytes, request: Request, completion: Completion) -> None:
        """Keep an answer, if it is one to keep: whole, and of the form that was asked for."""
        fits = self._fits
        if fits is None or (is_whole(completion) and fits(completion, request)):
            data = to_bytes(completion)
            if data is not None:
                self._answers.put(key, data)

    async def untimed(self, request: Request, wait: Awaitable[T]) -> T:
        """Wait without using up the row's time."""
        deferred = self._deadlines if request.ledger.started_s is None else None
        if deferred is None:
            return await wait
        deferred.defer()
        try:
            return await wait
        finally:
            deferred.begin()


def cached(
    call: Call,
    answers: Answers,
    source: Source,
    deadlines: Deadlines | None = None,
    fits: Fits = fits_format,
) -> Call:
    """The call, where the answer is not there; a whole one that fits is kept. Inside of
    `deadlines`."""
    look = Look(answers, deadlines, fits)

    async def look_first(request: Request) -> Completion:
        key = key_of(request, source)
        if key is None:
            return await call(request)
        completion = await look.find(key, request)
        if completion is None:
            completion = await call(request)
            look.keep(key, request, completion)
        return completion

    return look_first


def deduped(
    call: Call, answers: Answers, source: Source, deadlines: Deadlines | None = None
) -> Call:
    """The call, once for all equal requests of a run, whatever answer it has.

    One that comes while another is under way waits for its answer. Failures are not shared:
    where the other has none, each that has waited makes a call of its own.
    """
    look = Look(answers, deadlines, None)
    under_way: dict[bytes, asyncio.Future[Completion | None]] = {}

    async def call_and_keep(request: Request, key: bytes) -> Completion:
        completion = await call(request)
        look.keep(key, request, completion)
        return completion

    async def call_once(request: Request, key: bytes) -> Completion:
        ended = under_way[key] = asyncio.get_running_loop().create_future()
        shared = None
        try:
            completion = await look.find(key, request) or await call_and_keep(request, key)
            shared = again(completion)  # whoever reads the answer may change it
            return completion
        finally:
            del under_way[key]
            ended.set_result(shared)

    async def first_or_wait(request: Request) -> Completion:
        key = key_of(request, source)
        if key is None:
            return await call(request)
        if (other := under_way.get(key)) is None:
            return await call_once(request, key)
        completion = await look.untimed(request, asyncio.shield(other))
        if completion is None:
            return await call_and_keep(request, key)
        request.ledger.cached = True
        return again(completion)

    return first_or_wait
