"""What a row has held is free when it ends, and does not wait for the garbage collector.

A reply may have 64 MiB. Errors lead to the calls that they came through, whose variables hold the
reply, and sometimes the error itself.
"""

import gc
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from support import chat
from support.client import batch, client, race
from support.scripted import Exchange, abort, serve

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.options import Retries
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.engine.race_work import Rules

ROWS = 8
HELD = (ProviderError, WireReply, WireRequest)


async def answered(exchange: Exchange) -> None:
    await chat.echo(exchange)


async def rejected(exchange: Exchange) -> None:
    await chat.answer(exchange, chat.error("no such thing"), 400)


async def overloaded(exchange: Exchange) -> None:
    await exchange.reply(b"busy", 503, {"retry-after-ms": "1"})


async def limited(exchange: Exchange) -> None:
    if len(exchange.body) % 2:
        await exchange.reply(b"{}", 429, {"retry-after-ms": "1"})
    else:
        await chat.echo(exchange)


async def spoilt(exchange: Exchange) -> None:
    await exchange.reply(b"{'choices'", 200)


async def reset(exchange: Exchange) -> None:
    abort(exchange)


async def cut_short(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
    abort(exchange)


async def silent(exchange: Exchange) -> None:
    await exchange.until_closed()


FAULTS = [answered, rejected, overloaded, limited, spoilt, reset, cut_short, silent]


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What of a run only the garbage collector finds, which is held back until asked."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-at-all")

    def found() -> list[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return [repr(one) for one in gc.garbage if isinstance(one, HELD)]

    gc.collect()
    gc.disable()
    try:
        yield found
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


RETRIES = Retries(max_attempts=2, timeout_s=0.3)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
async def test_a_row_leaves_nothing(
    fault: Callable[[Exchange], Awaitable[None]],
    uncollected: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(fault) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        prompts = [f"row {'x' * number}" for number in range(ROWS)]
        one = client(environ=os.environ, retries=RETRIES)
        assert len(await batch(one, prompts, "openai/m", fallback=["openai/n"])) == ROWS
    assert uncollected() == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
async def test_a_race_leaves_nothing(
    fault: Callable[[Exchange], Awaitable[None]],
    stream: bool,
    uncollected: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def first_fails(exchange: Exchange) -> None:
        await (fault if b'"bad"' in exchange.body else chat.echo)(exchange)

    async with serve(first_fails) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        prompts = [f"row {'x' * number}" for number in range(ROWS)]
        one = client(environ=os.environ, retries=RETRIES)
        models = ["openai/bad", "openai/good"]
        assert len(await race(one, prompts, models, rules=Rules(stream=stream))) == ROWS
    assert uncollected() == []
