"""The innermost call: one row or one reply that nobody foresaw costs no more than itself."""

import asyncio
from typing import Any

import pytest

from llmbatch_cli.engine.stack import calling
from llmbatch_cli.errors import BadReply, ProviderError, Rejected
from llmbatch_cli.privacy import without_keys
from llmbatch_cli.types import Completion, Request, WireReply, WireRequest

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

    assert type(asked(build)) is Rejected


@pytest.mark.parametrize("error", UNFORESEEN, ids=repr)
def test_a_reply_that_no_wire_foresaw_is_a_bad_reply(error: Exception) -> None:
    """What reading raises is an error of this reply, with the prompt known that it may repeat."""

    def parse(request: Request, reply: WireReply) -> Completion:
        raise error

    found = asked(parse=parse)
    assert type(found) is BadReply
    assert found.asked == REQUEST.messages


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
