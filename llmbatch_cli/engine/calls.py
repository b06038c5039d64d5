"""What stands between a row and a provider: functions of one type, each around the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    ProviderError,
    RunStopped,
    Unauthorized,
    Unsent,
    UsageError,
)
from llmbatch_cli.core.ledger import Attempt
from llmbatch_cli.core.privacy import reply_without_keys, without_keys, without_prompt
from llmbatch_cli.core.types import (
    Call,
    Completion,
    Failure,
    Message,
    Outcome,
    Params,
    Prompt,
    Request,
    Send,
    WireReply,
    WireRequest,
    Work,
)


@dataclass(frozen=True, slots=True)
class Model:
    """One model, ready to be asked: what it is called and the stack that calls it."""

    provider: str
    model: str
    call: Call
    params: Params = field(default_factory=dict)
    """Model over run, merged; a row's own come on top."""
    key_hint: str | None = None
    """Which variable to look at when the key is refused."""
    stream: "StreamCall | None" = None
    """The same, told piece by piece; None for a wire that cannot."""
    check: Callable[[Request], object] = lambda request: None
    """Raises Unsent for what the wire has no words for, as `call` would."""

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.provider}/{self.model}"


UNFORESEEN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)
"""What a row or a reply that nobody has thought of may end in; it must not end the run."""

StreamCall = Callable[[Request, Callable[[str], None]], Awaitable[Completion]]
"""A Call that also tells the answer's text as it arrives, and sets `partial` on an error."""

ModelFor = Callable[[str | None], Awaitable[Model]]
"""The lane of a row's own model, or with None the run's. Raises UsageError."""


class CancelledInFlight(asyncio.CancelledError):
    """A call was cancelled when its request was on the way, so that it may be billed."""

    attempts: Sequence[Attempt] = ()
    """The tries before that one."""
    request_s: float | None = None
    """Seconds since it was sent, where that is known."""

    def __init__(self, partial: str | None = None) -> None:
        """`partial`: what had come of a streamed answer."""
        super().__init__()
        self.partial = partial


def calling(
    build: Callable[[Request], WireRequest],
    parse: Callable[[Request, WireReply], Completion],
    send: Send,
) -> Call:
    """The innermost call: build, send, parse."""

    async def call(request: Request) -> Completion:
        wire = built(build, request)
        try:
            reply = await send(wire)
        except asyncio.CancelledError as cancelled:
            raise CancelledInFlight from cancelled
        try:
            return read(parse, request, wire, reply)
        except ProviderError as error:
            error.asked = request.messages
            raise

    return call


def read(
    parse: Callable[[Request, WireReply], Completion],
    request: Request,
    wire: WireRequest,
    reply: WireReply,
) -> Completion:
    """The answer in the reply to `wire`. Raises ProviderError only, without a key that was sent.

    A reply that is an error is read again with its keys covered, so that none is cut in two.
    """
    try:
        return parse(request, reply)
    except ProviderError:
        covered = reply_without_keys(reply, wire.headers)
        if covered is None:
            raise
    except UNFORESEEN as error:
        raise BadReply(_unreadable(error, wire), status=reply.status) from error
    return parse(request, covered)


def _unreadable(error: Exception, wire: WireRequest) -> str:
    return without_keys(f"the reply cannot be read: {error!r}", wire.headers)


def built(build: Callable[[Request], WireRequest], request: Request) -> WireRequest:
    """The request for the wire. Raises Unsent, whatever the row holds: it fails alone."""
    try:
        return build(request)
    except UsageError as error:
        raise Unsent(error.message, hint=error.hint) from error
    except UNFORESEEN as error:
        raise Unsent(
            f"the row cannot be put into the provider's words: {error!r}",
            hint="look at its messages, tools and parameters",
        ) from error


def solo(model_for: ModelFor, clock: Callable[[], float], system: Message | None = None) -> Work:
    """Each row to one model: its own, or the run's.

    A failure that holds for every row stops the run. Where it comes from a row's own model,
    it does so only before the first answer; later that model is not asked again.
    """
    gone: dict[str, ProviderError] = {}
    answered: set[str] = set()

    async def work(prompt: Prompt) -> tuple[Outcome, ...]:
        try:
            lane = await model_for(prompt.model)
        except UsageError as error:
            return (unsent(prompt, error),)
        if prompt.model is not None and lane.name in gone:
            return (unasked(prompt, lane, gone[lane.name]),)
        started = clock()
        result: Completion | ProviderError
        try:
            result = await lane.call(request_for(prompt, lane, system))
            answered.add(lane.name)
        except ProviderError as error:
            fatal = holds_for_all(error, answered=lane.name in answered)
            if fatal and (prompt.model is None or not answered):
                raise stopped(lane, error) from error
            if fatal:
                gone[lane.name] = error
            result = error.without_frames()
        return (outcome_of(prompt, lane, result, clock() - started),)

    return work


def holds_for_all(error: ProviderError, *, answered: bool) -> bool:
    """Whether the model fails every row like this one.

    A 403 from a model that has answered speaks of this prompt, and not of the key.
    """
    return error.fatal and not (
        answered and isinstance(error, Unauthorized) and error.status == 403
    )


def outcome_of(
    prompt: Prompt, lane: Model, result: Completion | ProviderError, latency_s: float
) -> Outcome:
    """The row's end."""
    failed = result.attempts
    completion = failure = None
    took_s: float | None = latency_s if result.latency_s is None else result.latency_s
    if isinstance(result, Completion):
        completion = result
    else:
        failure = failure_of(result, prompt.messages)
        took_s = took_s if result.tries else None
    return Outcome(
        prompt.index,
        prompt.id,
        lane.model,
        lane.provider,
        completion,
        failure,
        took_s,
        len(failed) + 1 if isinstance(result, Completion) else result.tries,
        prompt.metadata,
        (),
        failed,
        key=prompt.key,
    )


def unasked(prompt: Prompt, lane: Model, error: ProviderError) -> Outcome:
    """The outcome of a row whose own model has said that it will answer none."""
    outcome = outcome_of(prompt, lane, error, 0.0)
    outcome.latency_s, outcome.attempts, outcome.failed_attempts = None, 0, ()
    return outcome


def request_for(prompt: Prompt, lane: Model, system: Message | None) -> Request:
    """What this lane is asked for this row."""
    messages = prompt.messages
    if system is not None and messages[0].get("role") not in ("system", "developer"):
        messages = [system, *messages]
    params = merged(lane.params, prompt.params) if prompt.params else lane.params
    return Request(lane.model, messages, params)


def merged(under: Params, over: Params) -> dict[str, Any]:
    """Both, the second winning; `extra_body` and `extra_headers` are merged inside."""
    both = {**under, **over}
    for name in ("extra_body", "extra_headers"):
        if name in under and name in over:
            both[name] = {**_mapping(under[name]), **_mapping(over[name])}
    return both


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def failure_of(error: ProviderError, messages: Sequence[Message]) -> Failure:
    """The error as the output row of these messages tells it."""
    message = f"{error.message}. hint: {error.hint}" if error.hint else error.message
    return Failure(error.kind, message, error.status, error.retry, error.asked or messages)


def stopped(lane: Model, error: ProviderError) -> RunStopped:
    """The end of a run that no further row can mend."""
    status = f" ({error.status})" if error.status is not None else ""
    return RunStopped(
        f"{lane.name}: {error.kind}{status}: {without_prompt(error.message, error.asked)}",
        hint=error.hint or (lane.key_hint if error.fatal else None),
    )


def unsent(prompt: Prompt, error: UsageError) -> Outcome:
    """The outcome of a row that asks for what cannot be sent."""
    message = error.message if prompt.line is None else f"{prompt.place}: {error.message}"
    return Outcome(
        index=prompt.index,
        id=prompt.id,
        model=prompt.model,
        provider=None,
        error=Failure("invalid_row", message),
        metadata=prompt.metadata,
        key=prompt.key,
    )
