"""Several endpoints of one model: each request to the least busy one.

An endpoint that fails is left out; after a pause, which grows, one request is sent there to
see whether it answers again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    TimedOut,
    Unauthorized,
    UnknownModel,
    UnknownPath,
    Unreachable,
    Unreadable,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.calls import StreamCall

DOWN: Final = (
    Unreachable,
    Interrupted,
    Overloaded,
    RateLimited,
    BadReply,
    Unauthorized,
    OutOfQuota,
    UnknownModel,
    UnknownPath,
)
"""What an endpoint is left out for; another may well answer the same request. One that fails at
once would otherwise be the least busy of all, and get nearly every request."""
FINAL: Final = (TimedOut, Unreadable)
"""Of these, what another endpoint is not asked for either."""
PAUSE_S: Final = 1.0
"""How long a failed endpoint is left out at first, unless its Retry-After is longer."""
LONGEST_PAUSE_S: Final = 60.0
"""The pause doubles with each failed probe, up to this."""


@dataclass(slots=True)
class _Endpoint:
    place: int
    in_flight: int = 0
    last_used: int = 0
    """The number of its last request, of all."""
    probe_at: float | None = None
    """When it is probed, by the clock; None while it answers."""
    pause_s: float = 0.0
    probing: bool = False
    free_at: float = 0.0
    """When it may be asked again by its own word; a probe may come before."""


class Endpoints:
    """Which of `count` endpoints, a few of them, takes the next request. No I/O."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._all = [_Endpoint(place) for place in range(count)]
        self._clock = clock
        self._requests = 0

    @property
    def answering(self) -> Sequence[int]:
        """The places of those that are not left out."""
        return [one.place for one in self._all if one.probe_at is None]

    async def call(
        self, request: Request, call: Callable[[int], Awaitable[Completion]]
    ) -> Completion:
        """The answer of the first endpoint that has one; `call` is given an endpoint's place.

        Each is called once at most. Raises the last endpoint's ProviderError.
        """
        left = self._all
        while True:
            endpoint = self._best(left)
            left = [one for one in left if one is not endpoint]
            try:
                return await self._call_one(endpoint, call)
            except ProviderError as error:
                # Not once text was passed on: the reader would see two answers.
                movable = isinstance(error, DOWN) and not isinstance(error, FINAL)
                if request.ledger.partial is not None or not movable or not self._any_for(left):
                    self._shorten(error)
                    raise
                error.without_frames()

    async def _call_one(
        self, endpoint: _Endpoint, call: Callable[[int], Awaitable[Completion]]
    ) -> Completion:
        probing = self._begin(endpoint)
        try:
            completion = await call(endpoint.place)
        except ProviderError as error:
            self._failed(endpoint, error, probing=probing)
            raise
        except asyncio.CancelledError:
            if probing:  # cancelled: it has not answered in all that time
                self._leave_out(endpoint, 2 * endpoint.pause_s)
            raise
        else:
            endpoint.probe_at = None
            return completion
        finally:
            endpoint.in_flight -= 1
            if probing:
                endpoint.probing = False

    def _begin(self, endpoint: _Endpoint) -> bool:
        """Count the request; returns whether it is a probe of an endpoint that was left out."""
        self._requests += 1
        endpoint.last_used = self._requests
        endpoint.in_flight += 1
        probing = self._is_due(endpoint)
        endpoint.probing |= probing
        return probing

    def _failed(self, endpoint: _Endpoint, error: ProviderError, *, probing: bool) -> None:
        """Leave the endpoint out, or not: an error of another kind is an answer, too.

        Requests that were in flight when it went down do not lengthen its pause.
        """
        if error.retry_after_s is not None:
            endpoint.free_at = self._clock() + error.retry_after_s
        if not isinstance(error, DOWN):
            endpoint.probe_at = None
        elif endpoint.probe_at is None:
            self._leave_out(endpoint, max(PAUSE_S, error.retry_after_s or 0))
        elif probing:
            self._leave_out(endpoint, max(2 * endpoint.pause_s, error.retry_after_s or 0))

    def _shorten(self, error: ProviderError) -> None:
        """Let the wait that this endpoint asks for end when another may be asked."""
        if error.retry_after_s is not None and len(self._all) > 1:
            at = min(max(one.free_at, one.probe_at or 0.0) for one in self._all)
            error.retry_after_s = max(0.0, min(error.retry_after_s, at - self._clock()))

    def _leave_out(self, endpoint: _Endpoint, pause_s: float) -> None:
        endpoint.pause_s = min(pause_s, LONGEST_PAUSE_S)
        endpoint.probe_at = self._clock() + endpoint.pause_s

    def _best(self, among: Sequence[_Endpoint]) -> _Endpoint:
        """One due for a probe first; then the least busy; of several, the longest unused.

        Where none answers, the one that is due soonest: the request must go somewhere, and the
        caller's retries decide how often.
        """
        due = [one for one in among if self._is_due(one)]
        if due:
            return min(due, key=lambda one: one.probe_at or 0)
        up = [one for one in among if one.probe_at is None]
        if up:
            return min(up, key=lambda one: (one.in_flight, one.last_used))
        return min(among, key=lambda one: (one.in_flight, one.probe_at or 0, one.last_used))

    def _any_for(self, left: Sequence[_Endpoint]) -> bool:
        """Whether a request that has failed may go to one of these."""
        return any(one.probe_at is None or self._is_due(one) for one in left)

    def _is_due(self, one: _Endpoint) -> bool:
        return one.probe_at is not None and not one.probing and one.probe_at <= self._clock()


def spread(calls: Sequence[Call], endpoints: Endpoints | None = None) -> Call:
    """One call over several of the same model, each at an endpoint of its own.

    Raises the last endpoint's error. Put it inside of `retried`: a request waits only when no
    endpoint is left to call at once.
    """
    chosen = endpoints or Endpoints(len(calls))

    async def call(request: Request) -> Completion:
        return await chosen.call(request, lambda place: calls[place](request))

    return call


def spread_streams(streams: Sequence[StreamCall], endpoints: Endpoints) -> StreamCall:
    """The same for streamed calls; share the `endpoints` with the plain ones."""

    async def stream(request: Request, on_text: Callable[[str], None]) -> Completion:
        return await endpoints.call(request, lambda place: streams[place](request, on_text))

    return stream


@frozen
class Wire:
    """One address: whole answers, and streamed ones where it can."""

    call: Call
    stream: StreamCall | None
    check: Callable[[Request], object]


def one_of(wires: Sequence[Wire]) -> Wire:
    """Several addresses of one model as one."""
    endpoints = Endpoints(len(wires))
    streams = [wire.stream for wire in wires if wire.stream is not None]
    return Wire(
        spread([wire.call for wire in wires], endpoints),
        spread_streams(streams, endpoints) if streams else None,
        wires[0].check,
    )
