"""Where Vertex's requests go, with whose words, and with which token."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import UnknownModel, UnsupportedParameter, UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.vertex.provider import BASE_URL, Vertex, renewal_s

PROJECT = {"GOOGLE_CLOUD_PROJECT": "p-1"}
HI = [{"role": "user", "content": "Hi"}]


def provider(base_url: str = BASE_URL, **environ: str) -> Vertex:
    return Vertex(Settings("vertex", base_url, "ya29.token", {**PROJECT, **environ}))


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("", "https://aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
    ],
)
def test_every_location_has_its_host(location: str, host: str) -> None:
    """A request goes to its location's host, and names project, location and publisher."""
    wire = provider(GOOGLE_CLOUD_LOCATION=location).build(Request("gemini-2.5-flash", HI, {}))
    assert wire.url == (
        f"{host}/v1/projects/p-1/locations/{location or 'global'}"
        "/publishers/google/models/gemini-2.5-flash:generateContent"
    )
    assert wire.headers["authorization"] == "Bearer ya29.token"
    assert not {"x-goog-api-key", "x-api-key"} & wire.headers.keys()


def test_claude_speaks_as_at_home() -> None:
    """Claude's body is Anthropic's, with Vertex's version, and the model in the address."""
    params = {"reasoning_effort": "low", "max_tokens": 9}
    wire = provider().build(Request("claude-opus-4-6", HI, params, stream=True))
    assert wire.url.endswith("/publishers/anthropic/models/claude-opus-4-6:streamRawPredict")
    assert orjson.loads(wire.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 9,
        "messages": HI,
        "stream": True,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "low"},
    }
    assert wire.headers["authorization"] == "Bearer ya29.token"
    plain = provider().build(Request("claude-sonnet-4-5@20250929", HI, {}))
    assert plain.url.endswith("/models/claude-sonnet-4-5@20250929:rawPredict")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("anthropic/claude-opus-4-6", "publishers/anthropic/models/claude-opus-4-6:rawPredict"),
        ("google/gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro:generateContent"),
        (
            "publishers/google/models/gemini-2.5-pro",
            "publishers/google/models/gemini-2.5-pro:generateContent",
        ),
    ],
)
def test_the_publisher_may_be_named(model: str, path: str) -> None:
    """A model's publisher may stand before its name."""
    assert provider().build(Request(model, HI, {})).url.endswith(path)


def test_gemini_speaks_as_at_home() -> None:
    """Gemini's body is the same as on the Developer API."""
    wire = provider().build(Request("gemini-2.5-flash", HI, {"temperature": 0.5}, stream=True))
    assert wire.url.endswith(":streamGenerateContent?alt=sse")
    assert orjson.loads(wire.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"temperature": 0.5},
    }


def test_other_publishers_are_refused() -> None:
    """A publisher whose words are not known here is an error before anything is sent."""
    with pytest.raises(UsageError, match="meta"):
        provider().build(Request("meta/llama-4", HI, {}))
    with pytest.raises(UnsupportedParameter):
        provider().build(Request("claude-opus-4-6", HI, {"seed": 1}))


def test_another_address_is_taken_as_it_is() -> None:
    """A base URL that the user gave is not taken to the location's host."""
    wire = provider("http://localhost:1/v1", GOOGLE_CLOUD_LOCATION="eu").build(
        Request("claude-opus-4-6", HI, {})
    )
    assert wire.url.startswith("http://localhost:1/v1/projects/p-1/locations/eu/")


async def test_a_token_of_the_users_own() -> None:
    """A token that was given needs no google-auth, but a project it needs."""
    async with provider().serving(ignore) as send:
        assert send is None
    homeless = Vertex(Settings("vertex", BASE_URL, "ya29.token", {}))
    with pytest.raises(UsageError, match="no project"):
        async with homeless.serving(ignore):
            pass


def test_hints_are_of_vertex() -> None:
    """An unknown model's hint tells where Vertex lists models, not where Gemini's API does."""
    said: dict[str, Any] = {
        "error": {"code": 404, "message": "Model x not found", "status": "NOT_FOUND"}
    }
    for model in ("gemini-x", "claude-x"):
        with pytest.raises(UnknownModel) as caught:
            provider().parse(Request(model, HI, {}), WireReply(404, {}, orjson.dumps(said)))
        assert "Model Garden" in (caught.value.hint or "")


def test_tokens_stay_out_of_messages() -> None:
    """An error that repeats the token is shown without it."""
    said = {"error": {"code": 401, "message": "bad ya29.token", "status": "UNAUTHENTICATED"}}
    for model in ("gemini-x", "claude-x"):
        with pytest.raises(Exception, match="key") as caught:
            provider().parse(Request(model, HI, {}), WireReply(401, {}, orjson.dumps(said)))
        assert "ya29" not in str(caught.value)


def test_tokens_are_renewed_before_they_end() -> None:
    """A token is renewed five minutes before its end, and never oftener than twice a minute."""
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    end = now + timedelta(hours=1)
    assert renewal_s(end, now) == 3300.0
    assert renewal_s(end.replace(tzinfo=None), now) == 3300.0
    assert renewal_s(now, now) == 30.0
    assert renewal_s(None, now) == 30.0
