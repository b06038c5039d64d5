"""Anthropic's SDK for Vertex and google-auth as the judges of what is sent there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from support.later import Later
from support.scripted import Exchange, serve

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.vertex.provider import BASE_URL, Vertex

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Later("anthropic")

OK = Path(__file__).parent.parent / "replies" / "anthropic" / "ok.json"
MODEL = "claude-opus-5-5"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
ENVIRON = {"GOOGLE_CLOUD_PROJECT": "p-1", "GOOGLE_CLOUD_LOCATION": "us-east5"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_sdk_sends_the_same(stream: bool) -> None:
    """The SDK, asked for the same, sends the same request as we do."""
    body = orjson.dumps(orjson.loads(OK.read_bytes())["body"])

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": "application/json"})

    async with serve(answer) as server:
        async with anthropic.AsyncAnthropicVertex(
            region="us-east5",
            project_id="p-1",
            access_token="token",
            base_url=f"{server.url}/v1",
            max_retries=0,
            timeout=20,
        ) as client:
            await client.messages.create(
                model=MODEL,
                max_tokens=9,
                messages=HI,  # type: ignore[arg-type] # plain dicts
                system="Brief.",
                stream=stream,
                extra_body={"anthropic_version": "vertex-2023-10-16"},
            )
        theirs = server.exchanges[0]
        asked = Request(
            MODEL, [{"role": "system", "content": "Brief."}, *HI], {"max_tokens": 9}, stream
        )
        wire = Vertex(Settings("vertex", f"{server.url}/v1", "token", ENVIRON)).build(asked)
    assert (theirs.method, server.url + theirs.path) == (wire.method, wire.url)
    sent = orjson.loads(theirs.body)
    assert {**sent, "stream": stream} == {"stream": False, **orjson.loads(wire.body)}
    assert theirs.header("authorization") == wire.headers["authorization"]


@pytest.mark.parametrize("base_url", ["us-east5", "global", "eu", "us"])
def test_the_sdk_knows_the_same_hosts(base_url: str) -> None:
    """Every location's host is the one that the SDK takes."""
    client = anthropic.AnthropicVertex(region=base_url, project_id="p", access_token="t")
    environ = {**ENVIRON, "GOOGLE_CLOUD_LOCATION": base_url}
    ours = Vertex(Settings("vertex", BASE_URL, "t", environ))
    assert str(client.base_url).rstrip("/") == ours.base_url


def account(path: Path, token_uri: str) -> None:
    """A service account's file whose tokens come from this address."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {
        "type": "service_account",
        "project_id": "p-of-the-file",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "a@example.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(info))


async def test_a_token_is_fetched_while_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service account's token is fetched before the first request, its project taken."""

    async def answer(exchange: Exchange) -> None:
        said = b'{"access_token":"ya29.fresh","expires_in":3600,"token_type":"Bearer"}'
        await exchange.reply(said, headers={"content-type": "application/json"})

    path = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    async with serve(answer) as server:
        account(path, f"{server.url}/token")
        provider = Vertex(Settings("vertex", BASE_URL, None, {}))
        async with provider.serving(ignore):
            wire = provider.build(Request(MODEL, HI, {}))
    assert wire.headers["authorization"] == "Bearer ya29.fresh"
    assert "/projects/p-of-the-file/locations/global/" in wire.url


async def test_no_credentials_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no credentials, or Google gives no token, one message says so."""

    async def answer(exchange: Exchange) -> None:
        said = b'{"error":"invalid_grant","error_description":"Invalid JWT"}'
        await exchange.reply(said, 400, {"content-type": "application/json"})

    path = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    provider = Vertex(Settings("vertex", BASE_URL, None, ENVIRON))
    with pytest.raises(UsageError, match="no Google credentials"):
        async with provider.serving(ignore):
            pass
    async with serve(answer) as server:
        account(path, f"{server.url}/token")
        with pytest.raises(UsageError, match="no access token"):
            async with provider.serving(ignore):
                pass
