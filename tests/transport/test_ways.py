"""The way to a server: certificates that are trusted, and proxies, on both HTTP clients."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest
from support.certificates import write_certificate
from support.program import jsonl, run

from llmbatch_cli.core.errors import Blocked, ProviderError, Unreachable, UsageError
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.transport import Connection, HttpClient, check_way, open_network

ELSEWHERE = "http://llmbatch.invalid/v1"
"""A host that only a proxy may find."""
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in VARIABLES or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


@pytest.fixture(params=get_args(HttpClient))
def http(request: pytest.FixtureRequest) -> HttpClient:
    client: HttpClient = request.param
    return client


async def send(http: HttpClient, url: str) -> WireReply:
    """The reply to one request; or the error of it, raised in a stream as well."""
    wire = WireRequest("POST", url, {}, b"{}")
    async with open_network(Connection(http=http, connect_timeout_s=5)) as network:
        try:
            return await network.send(wire)
        except ProviderError as error:
            with pytest.raises(type(error)):
                async with network.stream(wire):
                    pass
            raise


@asynccontextmanager
async def replying(reply: bytes, pem: Path | None = None) -> AsyncIterator[int]:
    """A server that says this to every request, over TLS with a certificate; yields its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(1) != b"\x16":  # which begins TLS
                await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    tls = None
    if pem is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


# Certificates


@pytest.mark.parametrize("variable", VARIABLES)
async def test_an_authority_of_ones_own_is_trusted_by_each_variable(
    http: HttpClient, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE was not looked at (ricklamers/shell-ai 16). A folder has links by the
    certificates' hashes, as c_rehash makes them."""
    pem = tmp_path / "server.pem"
    write_certificate(pem)
    named = pem
    if variable == "SSL_CERT_DIR":
        named = tmp_path / "folder"
        named.mkdir()
        context = ssl.create_default_context(cafile=str(pem))
        assert context.get_ca_certs() or context.cert_store_stats()["x509"]
        command = ("openssl", "x509", "-hash", "-noout", "-in", str(pem))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        found, _ = await process.communicate()
        (named / f"{found.decode().strip()}.0").write_bytes(pem.read_bytes())
    monkeypatch.setenv(variable, str(named))
    async with replying(OK, pem) as port:
        assert (await send(http, f"https://127.0.0.1:{port}/")).status == 200


@pytest.mark.parametrize(
    ("host", "days", "words", "hint"),
    [
        ("127.0.0.1", 1, "self-signed certificate", "SSL_CERT_FILE"),
        ("127.0.0.1", -1, "certificate has expired", "clock"),
        ("127.0.0.2", 1, "mismatch", "host in the base URL"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_hopeless(
    http: HttpClient, host: str, days: int, words: str, hint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The reason is told with what to do; waiting would not help."""
    pem = tmp_path / "server.pem"
    write_certificate(pem, host=host, days=days)
    if days != 1 or host != "127.0.0.1":
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    async with replying(OK, pem) as port:
        with pytest.raises(Blocked, match=words) as caught:
            await send(http, f"https://127.0.0.1:{port}/")
    assert f"127.0.0.1:{port}: its certificate is not trusted" in caught.value.message
    assert hint in (caught.value.hint or "")


async def test_https_to_a_port_for_http_is_hopeless(http: HttpClient) -> None:
    """The hint has the other scheme."""
    async with replying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as port:
        with pytest.raises(Blocked) as caught:
            await send(http, f"https://127.0.0.1:{port}/")
    assert "http://" in (caught.value.hint or "")


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_names_no_certificates_is_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent, with its name; where only http is spoken it does not matter."""
    monkeypatch.setenv(variable, str(tmp_path / "gone.pem"))
    with pytest.raises(UsageError, match=f"{variable} names .*gone.pem, which does not exist"):
        check_way("https://llmbatch.invalid/v1")
    check_way("http://llmbatch.invalid/v1")
    if variable != "SSL_CERT_DIR":
        (tmp_path / "gone.pem").write_text("not a certificate")
        with pytest.raises(UsageError, match="has no certificates"):
            check_way("https://llmbatch.invalid/v1")


# Proxies


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://u:secret@h:1080", "ALL_PROXY names a socks5 proxy"),
        ("all_proxy", "socks5h://u:secret@h:1080", "all_proxy names a socks5h proxy"),
        ("HTTP_PROXY", "socks4://h", "HTTP_PROXY names a socks4 proxy"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY is not the URL of a proxy"),
        ("HTTP_PROXY", "http://u:secret@h:port", "HTTP_PROXY is not the URL of a proxy"),
        ("HTTP_PROXY", "a proxy", "HTTP_PROXY is not the URL of a proxy"),
    ],
)
def test_a_proxy_that_is_not_spoken_to_is_refused(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent, without the password, and with what to do
    (open-webui/open-webui 15683). A host of NO_PROXY needs none."""
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words) as caught:
        check_way(ELSEWHERE)
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"
    assert caught.value.hint
    monkeypatch.setenv("NO_PROXY", "llmbatch.invalid")
    check_way(ELSEWHERE)


@pytest.mark.parametrize("form", ["http://u:secret@{}", "u:secret@{}", '"http://{}"'])
async def test_a_proxy_in_any_form_is_used(
    http: HttpClient, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scheme or without, in quotes or not."""
    async with replying(OK) as port:
        monkeypatch.setenv("HTTP_PROXY", form.format(f"127.0.0.1:{port}"))
        assert (await send(http, ELSEWHERE)).status == 200


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(407, Blocked, "requires a password"), (403, Blocked, "does not connect to llmbatch.invalid"),
     (503, Unreachable, "does not connect to llmbatch.invalid: 503 Service Unavailable")],
)  # fmt: skip
async def test_a_proxy_that_refuses_is_blamed_itself(
    http: HttpClient, status: int, kind: type[ProviderError], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And neither the provider's host nor its own password is shown."""
    async with replying(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://u:secret@127.0.0.1:{port}")
        monkeypatch.setenv("HTTP_PROXY", f"http://u:secret@127.0.0.1:{port}")
        for url in ("https://llmbatch.invalid/v1", *([ELSEWHERE] if status == 407 else [])):
            with pytest.raises(ProviderError, match=words) as caught:
                await send(http, url)
            assert type(caught.value) is kind
            assert f"the proxy 127.0.0.1:{port} (HTTP" in caught.value.message
            assert "secret" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("proxy", ["127.0.0.1:9", "no-such-proxy.invalid:3128"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_named(
    http: HttpClient, proxy: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the provider's host, with which nothing is wrong."""
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://u:secret@{proxy}")
    with pytest.raises(Unreachable) as caught:
        await send(http, f"{scheme}://llmbatch.invalid/v1")
    assert caught.value.message.startswith(f"the proxy {proxy} ({scheme.upper()}_PROXY): ")
    assert "llmbatch.invalid" not in caught.value.message
    assert "secret" not in caught.value.message


async def test_nothing_is_sent_where_the_way_is_barred(tmp_path: Path) -> None:
    """The command line: exit 2, no output, for a race and for a list of models, too."""
    out, rows = tmp_path / "out", jsonl(["a"])
    env = {"ALL_PROXY": "socks5h://127.0.0.1:9"}
    for command in (("batch", "-m"), ("race", "-m"), ("models",)):
        name = "openai" if command[0] == "models" else "m"
        there = ("--base-url", ELSEWHERE, *(("-o", str(out)) if name == "m" else ()))
        done = await run(*command, name, *there, stdin=rows, env=env)
        assert (done.status, done.out, out.exists()) == (2, b"", False), done.err
        assert "ALL_PROXY names a socks5h proxy" in done.err
