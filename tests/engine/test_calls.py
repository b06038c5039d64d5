"""The innermost call: one row or one reply that nobody foresaw costs no more than itself."""

import asyncio
from typing import Any

import pytest
from support.attempts import no_other

from llmbatch_cli.core.errors import (
    BadReply,
    OutOfQuota,
    ProviderError,
    RunStopped,
    Unauthorized,
    Unsent,
    UsageError,
)
from llmbatch_cli.core.privacy import without_keys
from llmbatch_cli.core.types import Completion, Outcome, Prompt, Request, WireReply, WireRequest
from llmbatch_cli.engine.calls import Model, calling
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.retry import RetryPolicy, retried

UNFORESEEN = (KeyError("x"), TypeError("x"), ValueError("x"), OverflowError("x"), RecursionError())
REQUEST = Request("m", [{"role": "user", "content": "hi"}], {})
KEY = "a-key-without-a-shape"


def asked(build: Any = None, parse: Any = None, body: bytes = b"{}") -> ProviderError:
    """The error of one call."""
    headers = {"authorization": f"Bearer {KEY}", "accept": "application/json"}

    async def send(wire: WireRequest) -> WireReply:
        return WireReply(200, {}, body)

    def plain(request: Request) -> WireRequest:
        return WireRequest("POST", "http://localhost", headers, b"")

    with pytest.raises(ProviderError) as caught:
        asyncio.run(_awaited(calling(build or plain, parse, send)(REQUEST)))
    return caught.value


async def _awaited(call: Any) -> Completion:
    found: Completion = await call
    return found


@pytest.mark.parametrize("error", UNFORESEEN, ids=repr)
def test_a_row_that_no_wire_foresaw_fails_alone(error: Exception) -> None:
    """What building raises is an error of this row, and not a traceback."""

    def build(request: Request) -> WireRequest:
        raise error

    assert type(asked(build)) is Unsent


@pytest.mark.parametrize("error", UNFORESEEN, ids=repr)
def test_a_reply_that_no_wire_foresaw_is_a_bad_reply(error: Exception) -> None:
    """What reading raises is an error of this reply, and not a traceback."""

    def parse(request: Request, reply: WireReply) -> Completion:
        raise error

    found = asked(parse=parse)
    assert type(found) is BadReply


@pytest.mark.parametrize("body", [b"<html>you sent %s", b"x" * 190 + b"%s"], ids=["page", "cut"])
def test_no_error_shows_the_key_that_was_sent(body: bytes) -> None:
    """A server that repeats the key does so in vain, even where the excerpt ends inside it."""

    def parse(request: Request, reply: WireReply) -> Completion:
        raise BadReply(f"no JSON: {reply.body[:200].decode()}", status=200)

    found = asked(parse=parse, body=body % KEY.encode())
    assert KEY[:5] not in found.message
    assert "[key]" in found.message


def test_what_is_too_short_for_a_key_is_left_in_place() -> None:
    """A key of few letters, as local servers take, does not mangle messages."""
    assert without_keys("no such model: o", {"authorization": "Bearer o"}) == "no such model: o"


async def test_what_was_never_sent_is_no_try() -> None:
    """A row that its wire cannot say has cost nothing: no try, no time, and nothing to pay."""

    def build(request: Request) -> WireRequest:
        raise UsageError("p takes no logit_bias")

    async def send(wire: WireRequest) -> WireReply:
        raise AssertionError("it was sent")

    call = calling(build, lambda request, reply: ANSWER, send)
    again = retried(call, RetryPolicy(), sleep=asyncio.sleep)

    (row,) = await WithFallbacks(Model("p", "m", again), no_other)(Prompt(0, REQUEST.messages, 0))
    assert row.error is not None
    assert row.error.kind == "rejected"
    assert (row.attempts, list(row.failed_attempts), row.latency_s) == (0, [], None)


async def _rows(*results: Completion | ProviderError) -> list[Outcome]:
    """A run of one model that replies so, row by row."""
    replies = iter(results)

    async def call(request: Request) -> Completion:
        result = next(replies)
        if isinstance(result, ProviderError):
            raise result
        return result

    work = WithFallbacks(Model("p", "m", call), no_other)
    return [
        (await work(Prompt(place, REQUEST.messages, place)))[0] for place in range(len(results))
    ]


ANSWER = Completion(text="yes")


def test_a_403_after_an_answer_costs_its_row_alone() -> None:
    """A key that has had an answer is not bad for all rows because one prompt is forbidden."""
    rows = asyncio.run(_rows(ANSWER, Unauthorized("this prompt", status=403), ANSWER))
    assert [row.error is None for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    "replies",
    [
        (Unauthorized("no", status=403),),
        (ANSWER, Unauthorized("no", status=401)),
        (ANSWER, OutOfQuota("no", status=403)),
    ],
    ids=["403 at first", "401 later", "no money"],
)
def test_what_holds_for_every_row_stops_the_run(replies: tuple[Any, ...]) -> None:
    """A key that is refused, or an account without money, ends the run at any time."""
    with pytest.raises(RunStopped):
        asyncio.run(_rows(*replies))
