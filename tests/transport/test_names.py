"""Hosts' names: a resolver that is slow, or does not answer at all."""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.sending import post

from llmbatch_cli.core.errors import Unreachable
from llmbatch_cli.loops import loop_factory
from llmbatch_cli.transport import Connection, open_network


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The resolver knows no name, and does not say so before this is set."""
    told = threading.Event()

    def stuck(*host: Any, flags: int = 0, **rest: Any) -> list[Any]:
        if not flags:
            told.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    yield told
    told.set()


@pytest.mark.parametrize("loop", [None, loop_factory()])
def test_a_resolver_without_answer_does_not_hold_the_end(
    answer: threading.Event, loop: Any
) -> None:
    """Nobody waits for it: neither the request, after its time, nor the loop that closes."""

    async def main() -> None:
        async with open_network(Connection(connect_timeout_s=0.1)) as network:
            with pytest.raises(Unreachable, match=r"name\.invalid: cannot connect: no answer"):
                await network.send(post("http://name.invalid/"))

    began = time.monotonic()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert time.monotonic() - began < 5
    assert not answer.is_set()


@pytest.mark.parametrize("loop", [None, loop_factory()])
def test_an_answer_that_nobody_waits_for_is_no_news(answer: threading.Event, loop: Any) -> None:
    """Else asyncio prints a traceback for it."""
    said: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, news: said.append(news))
        async with open_network(Connection(connect_timeout_s=0.1)) as network:
            with pytest.raises(Unreachable):
                await network.send(post("http://name.invalid/"))
            answer.set()
            await asyncio.sleep(0.05)
        del network

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
        gc.collect()
    assert not said
