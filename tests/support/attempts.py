"""Calls that are made up by a test, and write their attempts as real ones do."""

import time
from collections.abc import Callable

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Call, Completion, Request, WireReply, WireRequest
from llmbatch_cli.engine.calls import Model, calling

WIRE = WireRequest("POST", "http://localhost", {})


def attempting(call: Call, clock: Callable[[], float] = time.monotonic) -> Call:
    """The innermost call, with `call` for its provider and its network."""

    async def attempt(request: Request) -> Completion:
        answers: list[Completion] = []

        async def send(wire: WireRequest) -> WireReply:
            answers.append(await call(request))
            return WireReply(200, {}, b"")

        inner = calling(lambda request: WIRE, lambda request, reply: answers[0], send, clock)
        return await inner(request)

    return attempt


def new(request: Request) -> Request:
    """The same request with an empty ledger."""
    return Request(request.model, request.messages, request.params)


async def no_other(name: str) -> Model:
    """A row's own model, where rows name none."""
    raise UsageError(f"no model {name}")
