"""The fence: once a process may send nothing more, nothing more is sent."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from support import chat
from support.scripted import Exchange, serve

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.options import Limits, Network, Sending
from llmbatch_cli.core.types import Prompt, Row, WireRequest
from llmbatch_cli.engine.fallback import WithFallbacks
from llmbatch_cli.engine.fence import Fenced
from llmbatch_cli.engine.run import Stop, run
from llmbatch_cli.models import open_models
from llmbatch_cli.models.options import CallOptions
from llmbatch_cli.transport import Connection, HttpClient, open_network

AT_ONCE = 4


class Right:
    """To send, until it is over."""

    is_over = False

    def check(self) -> None:
        if self.is_over:
            raise Fenced


async def rows(count: int) -> AsyncGenerator[Row, None]:
    for index in range(count):
        yield Prompt(index, [{"role": "user", "content": "?"}], index)


@pytest.mark.parametrize("streamed", [False, True])
async def test_rows_that_are_not_sent_are_dropped(streamed: bool) -> None:
    """They have no outcome, least of all a failure: another process answers them. The run ends."""
    right = Right()

    async def answer(exchange: Exchange) -> None:
        right.is_over = len(server.exchanges) >= 10
        await chat.echo(exchange)

    async with serve(answer) as server:
        network = Network(base_url=server.url, environ={"OPENAI_API_KEY": "k"})
        options = CallOptions.of(Sending(network=network, limits=Limits(concurrency=AT_ONCE)))
        async with open_models(replace(options, before_send=right.check), ignore) as pool:
            model = await pool.model_for("openai/m")
            if streamed:
                assert model.stream is not None
                stream = model.stream
                model = replace(model, call=lambda request: stream(request, lambda text: None))
            running = run(
                rows(50), WithFallbacks(model, pool.model_for),
                window=pool.window, most_open=50, stop=Stop(), observe=ignore,
            )  # fmt: skip
            async with aclosing(running):
                outcomes = [outcome async for outcome in running]
            assert pool.in_flight() == 0
    assert 10 <= len(server.exchanges) < 10 + AT_ONCE
    assert len(outcomes) == len(server.exchanges)
    assert all(outcome.error is None for outcome in outcomes)


@pytest.mark.parametrize("http", ["llhttp", "httpx"])
async def test_a_request_that_waited_for_its_connection_is_not_sent(http: HttpClient) -> None:
    """The right may end while a connection is made; one that is open is used as ever."""
    right = Right()
    connection = Connection(http=http, before_send=right.check)
    async with serve(chat.echo) as server, open_network(connection) as network:
        body = b'{"messages": [{"role": "user", "content": "?"}]}'
        request = WireRequest("POST", f"{server.url}/v1/chat/completions", {}, body)
        assert (await network.send(request)).status == 200
    right.is_over = True
    async with serve(chat.echo) as server, open_network(connection) as network:
        with pytest.raises(Fenced):
            await network.send(replace(request, url=f"{server.url}/v1/chat/completions"))
        with pytest.raises(Fenced):
            async with network.stream(replace(request, url=f"{server.url}/v1/chat/completions")):
                pass
    assert server.exchanges == []
