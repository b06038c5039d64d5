"""Proxies, as they see and answer requests: CONNECT for https, whole URLs for http.

Which proxies the environment may name, and how their refusals are told: test_ways.py.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext

import pytest
from support.certificates import server_context, write_certificate
from support.scripted import Exchange, serve
from support.sending import post

from llmbatch_cli.core.errors import ProviderError, Unreachable
from llmbatch_cli.core.types import Send
from llmbatch_cli.transport import Connection, HttpClient, open_network

pytestmark = pytest.mark.both_loops

HOST = "llmbatch.invalid"
"""A host that only the proxy finds."""
USER = "us%20er:p%40ss%3Aword"
BASIC = f"Basic {b64encode(b'us er:p@ss:word').decode()}"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
def pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of the host, which is trusted; no proxy is named."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    path = tmp_path / "host.pem"
    write_certificate(path, host=HOST)
    trust(monkeypatch, path)
    return path


def trust(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """These certificates, all of them."""
    bundle = paths[0].with_suffix(".bundle")
    bundle.write_bytes(b"".join(path.read_bytes() for path in paths))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))


@dataclass
class Proxy:
    """A proxy that leads every tunnel to one port, and what it was asked."""

    port: int = 0
    target: int = 0
    connected: bytes = CONNECTED
    heads: list[bytes] = field(default_factory=list)

    async def tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer CONNECT, and pass on what follows."""
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.connected)
            there = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (OSError, RuntimeError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def tunnelling(proxy: Proxy, tls: SSLContext | None = None) -> AsyncIterator[Proxy]:
    async with await asyncio.start_server(proxy.tunnel, "127.0.0.1", 0, ssl=tls) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy


async def echo(exchange: Exchange) -> None:
    await exchange.reply(exchange.body)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize("by_tls", [False, True], ids=["http", "https"])
async def test_a_tunnel_carries_what_the_proxy_does_not_see(
    send: Send, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_tls: bool
) -> None:
    """The password goes to the proxy alone, the key to the server alone; the tunnel is kept."""
    own = tmp_path / "proxy.pem"
    write_certificate(own)
    trust(monkeypatch, pem, own)
    proxy = Proxy()
    async with (
        serve(echo, tls=server_context(pem)) as server,
        tunnelling(proxy, server_context(own) if by_tls else None),
        asyncio.timeout(20),
    ):
        proxy.target = port_of(server.url)
        scheme = "https" if by_tls else "http"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{USER}@127.0.0.1:{proxy.port}")
        for body in (b"1", b"22", bytes(300_000)):
            reply = await send(post(f"https://{HOST}/v1?a=b", body, authorization="Bearer secret"))
            assert reply.body == body
        (head,) = proxy.heads
        lines = head.decode().split("\r\n")
        assert lines[0] == f"CONNECT {HOST}:443 HTTP/1.1"
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        assert (fields["proxy-authorization"], fields["host"]) == (BASIC, f"{HOST}:443")
        assert "authorization" not in fields
        assert b"secret" not in head
        for seen in server.exchanges:
            assert seen.header("authorization") == "Bearer secret"
            assert seen.header("proxy-authorization") is None
            assert (seen.path, seen.header("host")) == ("/v1?a=b", HOST)


async def test_a_plain_request_names_its_whole_url_to_the_proxy(
    send: Send, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the password for the proxy; its connection is kept."""
    async with serve(echo) as proxy, asyncio.timeout(10):
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", f"://{USER}@"))
        for number in range(3):
            wire = post(f"http://{HOST}:81/v1?a=b", b"%d" % number, authorization="Bearer k")
            assert (await send(wire)).body == b"%d" % number
        assert proxy.connections == 1
        for seen in proxy.exchanges:
            assert seen.path == f"http://{HOST}:81/v1?a=b"
            assert seen.header("host") == f"{HOST}:81"
            assert seen.header("proxy-authorization") == BASIC
            assert seen.header("authorization") == "Bearer k"


async def test_a_host_of_no_proxy_is_asked_straight(
    send: Send, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by the proxy."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", f".example,{HOST}")
    with pytest.raises(Unreachable, match=HOST) as caught:
        await send(post(f"http://{HOST}/"))
    assert "proxy" not in caught.value.message


async def test_an_address_of_ipv6_is_bracketed(
    send: Send, http: HttpClient, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CONNECT and in Host; the certificate is checked for the address."""
    if http == "httpx":
        pytest.skip("httpx leaves the brackets out of CONNECT")
    own = tmp_path / "six.pem"
    write_certificate(own, host="2001:db8::1")
    trust(monkeypatch, own)
    proxy = Proxy()
    async with serve(echo, tls=server_context(own)) as server, tunnelling(proxy):
        proxy.target = port_of(server.url)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        reply = await asyncio.wait_for(send(post("https://[2001:db8::1]:8443/v1", b"x")), 10)
        assert reply.body == b"x"
        assert server.exchanges[0].header("host") == "[2001:db8::1]:8443"
    assert proxy.heads[0].startswith(b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n")


async def test_a_server_at_an_address_of_ipv6(send: Send) -> None:
    """Straight, too."""
    try:
        async with serve(echo, "::1") as server:
            assert (await send(post(server.url, b"x"))).body == b"x"
            host = server.url.removeprefix("http://")
            assert server.exchanges[0].header("host") == host
    except OSError:
        pytest.skip("there is no IPv6 here")


@pytest.mark.parametrize(
    "connected",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nvia: 1.1 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nproxy-agent: x\r\nconnection: keep-alive\r\n\r\n",
    ],
)
async def test_a_tunnel_is_open_however_the_proxy_says_so(
    send: Send, pem: Path, monkeypatch: pytest.MonkeyPatch, connected: bytes
) -> None:
    """2xx is enough."""
    proxy = Proxy(connected=connected)
    async with serve(echo, tls=server_context(pem)) as server, tunnelling(proxy):
        proxy.target = port_of(server.url)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        reply = await asyncio.wait_for(send(post(f"https://{HOST}/", b"x")), 10)
        assert reply.body == b"x"


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\n\r\n<no host>",
        b"HTTP/1.1 503 No\r\n\r\nuntil it is closed",
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"HTTP/1.1 200",
    ],
)
async def test_a_proxy_that_does_not_connect_is_unreachable(
    send: Send, http: HttpClient, pem: Path, monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    """Nothing has been sent to the server, whatever the proxy says; its name is told."""
    if http == "httpx" and says in (b"", b"HTTP/1.1 200"):
        pytest.skip("httpx does not tell whose connection has ended")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{USER}@127.0.0.1:{port}")
        with pytest.raises(ProviderError, match=f"proxy 127.0.0.1:{port}") as caught:
            await asyncio.wait_for(send(post(f"https://{HOST}/", authorization="Bearer k")), 10)
    assert not caught.value.maybe_billed
    assert "p@ss" not in caught.value.message
    assert caught.value.hopeless == says.startswith(b"SSH")  # no second try would help


async def test_a_proxy_that_is_silent_is_unreachable_in_time(
    http: HttpClient, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONNECT counts as connecting; no socket is left open."""
    if http == "httpx":
        pytest.skip("httpx has no time limit for CONNECT, but for each read")
    ended = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        ended.set()
        writer.close()

    connection = Connection(http=http, connect_timeout_s=0.2)
    async with (
        await asyncio.start_server(connected, "127.0.0.1", 0) as server,
        open_network(connection) as network,
    ):
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
            await asyncio.wait_for(network.send(post(f"https://{HOST}/")), 10)
        assert time.monotonic() - started < 5
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_request_cancelled_in_its_tunnel_closes_it(
    send: Send, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server behind the proxy sees the end."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        began.set()
        with suppress(ConnectionError):
            await exchange.until_closed()
        ended.set()

    proxy = Proxy()
    async with serve(handler, tls=server_context(pem)) as server, tunnelling(proxy):
        proxy.target = port_of(server.url)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        sending = asyncio.ensure_future(send(post(f"https://{HOST}/")))
        await asyncio.wait_for(began.wait(), 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(ended.wait(), 5)
