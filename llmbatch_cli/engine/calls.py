"""What stands between a row and a provider: functions of one type, each around the next."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    NotFinished,
    ProviderError,
    RunStopped,
    Unsent,
    UsageError,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.ledger import CANCELLED, NOBODY, Ledger, Seller, lane_of
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
    Row,
    Send,
    WireReply,
    WireRequest,
)
from llmbatch_cli.engine.jobs import finished

if TYPE_CHECKING:
    from llmbatch_cli.engine.budget import Terms
    from llmbatch_cli.engine.cache.opening import KnownOf
    from llmbatch_cli.engine.shaped import Shaped
    from llmbatch_cli.providers.base import Provider

StreamCall = Callable[[Request, Callable[[str], None]], Awaitable[Completion]]
"""A Call that also passes on the answer's text as it arrives, and sets the ledger's `partial`
where it breaks off."""


Build = Callable[[Request], WireRequest]


@frozen
class Parts:
    """What a call is made of, for requests that are sent some other way, as in a job of many."""

    provider: "Provider"
    encode: Build
    """What `call` would send. Raises Unsent."""
    shaped: "Shaped | None"
    """What its answers have to be."""
    addresses: int = 1
    """At how many its requests are spread."""
    terms: "Terms | None" = None
    """What its requests cost, where the run has a cap and their price is known."""
    known: "KnownOf | None" = None
    """The answers that may be taken instead of sending a request."""


@frozen
class Model:
    """One model, ready to be called."""

    provider: str
    id: str
    """The model as its provider names it."""
    call: Call
    params: Params = field(default_factory=dict)
    """Model over run, merged; a row's own come on top."""
    key_hint: str | None = None
    """Which variable to look at when the key is refused."""
    stream: StreamCall | None = None
    """None where the provider's API cannot stream."""
    check: Callable[[Request], object] = lambda request: None
    """Raises Unsent for what cannot be encoded for the provider, as `call` would."""
    seller: Seller = NOBODY
    """Who bills for it."""
    tier: str | None = None
    """How its answers are bought, unless a row says otherwise; None is the usual way."""
    parts: Parts | None = None
    """None for a call that is nobody's."""

    name: str = field(init=False)
    """`provider/model`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider}/{self.id}")


ModelFor = Callable[[str], Awaitable[Model]]
"""A row's own model, by its name. Raises UsageError."""

ModelsFor = Callable[[Prompt], Awaitable[Sequence[Model]]]
"""The models that race for a row, in the order of preference. Raises UsageError."""

UNFORESEEN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)
"""What an unusual row or reply may raise in a provider's code; it must not end the run."""


def calling(
    build: Callable[[Request], WireRequest],
    parse: Callable[[Request, WireReply], Completion],
    send: Send,
    clock: Callable[[], float] = time.monotonic,
) -> Call:
    """The innermost call: build, send, parse. Each request that is sent is one attempt."""

    async def call(request: Request) -> Completion:
        wire, ledger = built(build, request), request.ledger
        ledger.begin(clock())
        try:
            try:
                reply = await send(wire)
                completion = read(parse, request, wire, reply)
            except Interrupted as broken:
                reply = broken.received
                completion = salvaged(broken, partial(read, parse, request, wire))
            except NotFinished as job:
                completion = await finished(job, send, partial(read, parse, request, wire))
        except ProviderError as error:
            record(ledger, error, clock())
            raise
        except asyncio.CancelledError:
            ledger.end(clock(), CANCELLED)
            raise
        answered(ledger, completion, reply.status, clock())
        return completion

    return call


def answered(ledger: Ledger, completion: Completion, status: int, now_s: float) -> None:
    """The attempt that began last has its answer."""
    ledger.end(
        now_s,
        None,
        status,
        usage=completion.usage,
        served=completion.model,
        reported_usd=completion.cost_usd,
    )


def salvaged(broken: Interrupted, read: Callable[[WireReply], Completion]) -> Completion:
    """The answer, where all of it had come before the connection broke. Raises `broken`."""
    reply: WireReply | None = broken.received
    if reply is not None and 200 <= reply.status < 300:
        with suppress(ProviderError):
            return read(reply)
    raise broken


def record(ledger: Ledger, error: ProviderError, now_s: float) -> None:
    """The attempt that began last has failed."""
    if error.sent:
        billed, used = error.maybe_billed, error.usage
        ledger.end(now_s, error.kind, error.status, maybe_billed=billed, usage=used)


def read(
    parse: Callable[[Request, WireReply], Completion],
    request: Request,
    wire: WireRequest,
    reply: WireReply,
) -> Completion:
    """The answer in the reply to `wire`. Raises ProviderError only, without a key that was sent.

    An error reply that repeats a key is parsed again with the key hidden: the message may quote
    only a part of it.
    """
    try:
        return parse(request, reply)
    except ProviderError:
        clean = reply_without_keys(reply, wire.headers)
        if clean is None:
            raise
    except UNFORESEEN as error:
        raise BadReply(_unreadable(error, wire), status=reply.status) from error
    return parse(request, clean)


def _unreadable(error: Exception, wire: WireRequest) -> str:
    return without_keys(f"the reply cannot be read: {error!r}", wire.headers)


def built(build: Callable[[Request], WireRequest], request: Request) -> WireRequest:
    """The HTTP request. Raises Unsent only, whatever the row holds: it fails alone."""
    try:
        return build(request)
    except UsageError as error:
        raise Unsent(error.message, hint=error.hint) from error
    except UNFORESEEN as error:
        raise Unsent(
            f"the row cannot be encoded for this provider: {error!r}",
            hint="check its messages, tools and parameters",
        ) from error


def request_for(prompt: Prompt, model: Model, system: Message | None) -> Request:
    """The row as a request to this model, with an empty ledger."""
    messages = prompt.messages
    if system is not None and messages[0].get("role") not in ("system", "developer"):
        messages = [system, *messages]
    params = merged(model.params, prompt.params) if prompt.params else model.params
    return Request(model.id, messages, params, False, ledger_of(model, params), prompt.repeat or 1)


def ledger_of(model: Model, params: Params) -> Ledger:
    """An empty one for a request to this model."""
    return Ledger(model.name, model.seller, lane_of(params, model.tier), params)


def with_params(build: Build, under: Params) -> Build:
    """`build`, with these parameters where a request has none of the name.

    They are no part of the request, so neither rows' keys nor the cache differ by them.
    """

    def built_with(request: Request) -> WireRequest:
        return build(replace(request, params=merged(under, request.params)))

    return built_with if under else build


def merged(under: Params, over: Params) -> dict[str, Any]:
    """Both, the second winning; `extra_body` and `extra_headers` are merged inside."""
    both = {**under, **over}
    if "max_tokens" in both and "max_completion_tokens" in both:  # two names of one parameter
        del both["max_completion_tokens" if "max_tokens" in over else "max_tokens"]
    for name in ("extra_body", "extra_headers"):
        if name in under and name in over:
            both[name] = {**_mapping(under[name]), **_mapping(over[name])}
    return both


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def failure_of(error: ProviderError, messages: Sequence[Message]) -> Failure:
    """The error as a row of output shows it; `messages` is what was sent."""
    message = error.message
    if error.hint:
        message = f"{message.removesuffix('.')}. hint: {error.hint}"
    return Failure(error.kind, message, error.status, error.retryable, messages, error.text)


def stopped(
    model_name: str, error: ProviderError, messages: Sequence[Message], key_hint: str | None
) -> RunStopped:
    """The end of a run in which every further row would fail like the row of these messages."""
    status = f" ({error.status})" if error.status is not None else ""
    return RunStopped(
        f"{model_name}: {error.kind}{status}: {without_prompt(error.message, messages)}",
        hint=error.hint or (key_hint if error.fatal else None),
    )


def unsent(prompt: Prompt, error: UsageError) -> Outcome:
    """The outcome of a row that cannot be sent."""
    message = error.message if prompt.line is None else f"{prompt.place}: {error.message}"
    return failed_row(prompt, Failure("invalid_row", message), prompt.model)


def failed_row(row: Row, failure: Failure, model: str | None = None) -> Outcome:
    """The outcome of a row of which nothing was sent."""
    return Outcome(
        row.index,
        row.id,
        model,
        None,
        None,
        failure,
        metadata=row.metadata,
        key=row.key,
        repeat=row.repeat,
    )
