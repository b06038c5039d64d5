"""The networks under test: both ways to send, of every client, on both loops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import get_args

import pytest
from support.certificates import write_certificate
from support.sending import streamed

from llmbatch_cli.core.types import Send
from llmbatch_cli.loops import loop_factory
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """Each test runs on uvloop, as the program does, where there is one; else on asyncio's.

    Those marked `both_loops` run on asyncio's, too: Windows has no other.
    """
    fast = loop_factory()
    if fast is None:
        return {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("both_loops"):
        return {"uvloop": fast, "asyncio": asyncio.new_event_loop}
    return {"uvloop": fast}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out httpx on asyncio's loop where it has been tested on uvloop: the loop is its own
    matter."""
    left_out = [item for item in items if "[asyncio-" in item.name and "httpx" in item.name]
    if loop_factory() is not None and left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(params=get_args(HttpClient))
def http(request: pytest.FixtureRequest) -> HttpClient:
    """The name of a client."""
    client: HttpClient = request.param
    return client


@pytest.fixture
async def network(http: HttpClient) -> AsyncIterator[Network]:
    """A network that gives up soon."""
    async with open_network(Connection(http=http, connect_timeout_s=2.0)) as opened:
        yield opened


@pytest.fixture(params=["whole", "streamed"])
def send(request: pytest.FixtureRequest, network: Network) -> Send:
    """Both ways to send keep the same promises."""
    return network.send if request.param == "whole" else streamed(network)


@pytest.fixture(scope="session")
def loopback_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback, with its key."""
    path = tmp_path_factory.mktemp("certificates") / "server.pem"
    write_certificate(path)
    return path


@pytest.fixture
def pem(loopback_pem: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, and it is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(loopback_pem))
    return loopback_pem
