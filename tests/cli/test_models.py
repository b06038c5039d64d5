"""`llmbatch models`: each provider's own list, over a socket, page by page."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chat import answer, error
from support.program import run
from support.scripted import Exchange, serve

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import WireReply
from llmbatch_cli.providers.listing import LISTINGS, UNLISTED, listing_of, read, request
from llmbatch_cli.providers.registry import PROVIDERS, Access, resolve

KEY = "sk-for-the-list-only"
LISTS: Mapping[str, tuple[str, str, dict[str | None, Any], list[str]]] = {
    # provider: what is behind the server's address, the path asked, pages by cursor, the ids
    "openai": (
        "/v1",
        "/v1/models",
        {None: {"object": "list", "data": [{"id": "gpt-4o"}, {"id": "o3"}, {"id": "o3"}]}},
        ["gpt-4o", "o3"],
    ),
    "together": ("/v1", "/v1/models", {None: [{"id": "a/b", "type": "chat"}]}, ["a/b"]),
    "github": (
        "/inference",
        "/catalog/models",
        {None: [{"id": "openai/gpt-4.1", "name": "OpenAI GPT-4.1"}]},
        ["openai/gpt-4.1"],
    ),
    "anthropic": (
        "",
        "/v1/models",
        {
            None: {"data": [{"id": "claude-b"}], "has_more": True, "last_id": "claude-b"},
            "claude-b": {"data": [{"id": "claude-a"}], "has_more": False, "last_id": "claude-a"},
        },
        ["claude-b", "claude-a"],
    ),
    "gemini": (
        "/v1beta",
        "/v1beta/models",
        {
            None: {
                "models": [
                    {"name": "models/g-1", "supportedGenerationMethods": ["generateContent"]},
                    {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
                ],
                "nextPageToken": "p/2=",
            },
            "p/2=": {"models": [{"name": "tunedModels/mine"}]},
        },
        ["g-1", "tunedModels/mine"],
    ),
    "cohere": (
        "/v2",
        "/v1/models",
        {
            None: {"models": [{"name": "command-a"}], "next_page_token": "2"},
            "2": {"models": [{"name": "command-r"}], "next_page_token": ""},
        },
        ["command-a", "command-r"],
    ),
    "ollama": (
        "",
        "/api/tags",
        {None: {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 9}]}},
        ["llama3.2:latest"],
    ),
}
CURSORS = {"anthropic": "after_id", "gemini": "pageToken", "cohere": "page_token"}


def key_in(exchange: Exchange) -> str | None:
    sent = [exchange.header(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
    return next((one.removeprefix("Bearer ") for one in sent if one), None)


@pytest.mark.parametrize("name", LISTS)
async def test_a_provider_lists_its_models(name: str) -> None:
    """Every page is asked for with the provider's own key, and each model printed once."""
    tail, path, pages, ids = LISTS[name]

    async def handler(exchange: Exchange) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        (cursor,) = query.get(CURSORS.get(name, ""), [None])
        await exchange.reply(orjson.dumps(pages[cursor]), 200, {"content-type": "application/json"})

    async with serve(handler) as server:
        env = {PROVIDERS[name].key_variables[0]: KEY}
        at = ["--base-url", server.url + tail]
        done = await run("models", name, *at, env=env)
        assert (done.status, done.err) == (0, "")
        assert done.out.decode().splitlines() == ids
        assert {(one.method, urlsplit(one.path).path) for one in server.exchanges} == {
            ("GET", path)
        }
        assert {key_in(one) for one in server.exchanges} == {KEY}
        assert all(one.body == b"" for one in server.exchanges)
        if name == "anthropic":
            assert server.exchanges[0].header("anthropic-version")
        told = await run("models", name, "--json", *at, env=env)
    assert [(row["provider"], row["id"]) for row in told.rows] == [(name, one) for one in ids]
    assert all(row["details"] for row in told.rows)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, error("Incorrect API key provided", "invalid_api_key"), "OPENAI_API_KEY"),
        (403, error("Not allowed"), "Not allowed"),
        (404, error("Not found"), "no list of models"),
        (429, error("Slow down"), "Slow down"),
        (503, error("Overloaded"), "Overloaded"),
        (200, {"error": {"message": "inside a 200"}}, "inside a 200"),
        (200, {"models": 5}, "not a list of models"),
    ],
)
async def test_a_failure_is_told_as_elsewhere(
    status: int, body: dict[str, Any], words: str
) -> None:
    """The wire's own errors, in words, with a hint where there is one: exit 3, nothing printed."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, body, status)

    async with serve(handler) as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{server.url}/v1"}
        done = await run("models", "openai", env=env)
    assert (done.status, done.out) == (3, b"")
    assert "openai: " in done.err
    assert words in done.err
    assert KEY not in done.err
    assert "Traceback" not in done.err


async def test_a_key_is_not_carried_through_a_redirect() -> None:
    """A reply that points elsewhere is an error; the other address is never asked."""
    async with serve(lambda exchange: answer(exchange, {"data": []})) as other:

        async def handler(exchange: Exchange) -> None:
            await exchange.reply(b"", 307, {"location": f"{other.url}/v1/models"})

        async with serve(handler) as server:
            done = await run(
                "models", "openai", "--base-url", server.url, env={"OPENAI_API_KEY": KEY}
            )
        assert other.exchanges == []
    assert done.status == 3


async def test_silence_has_an_end() -> None:
    """--timeout bounds a server that never answers; one that is not there is told at once."""

    async def handler(exchange: Exchange) -> None:
        await exchange.until_closed()

    async with serve(handler) as server:
        done = await run("models", "vllm", "--base-url", server.url, "--timeout", "0.3")
    assert done.status == 3
    assert "no answer within 0.3 s" in done.err
    gone = await run("models", "vllm", "--base-url", server.url)
    assert gone.status == 3
    assert "Traceback" not in gone.err


async def test_pages_without_end_are_an_error() -> None:
    """A server that always points to the same next page is not followed for ever."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, {"models": [{"name": "m"}], "nextPageToken": "again"})

    async with serve(handler) as server:
        env = {"GEMINI_API_KEY": KEY}
        done = await run("models", "gemini", "--base-url", server.url, env=env)
        assert len(server.exchanges) == 2
    assert done.status == 3
    assert "does not end" in done.err


async def test_a_hostile_name_has_no_power() -> None:
    """Control characters in a model's name reach no terminal and make no second line."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, {"data": [{"id": "a\x1b[2J\nb"}, {"id": ""}, {"id": 5}, 7]})

    async with serve(handler) as server:
        done = await run("models", "vllm", "--base-url", server.url)
    assert done.out == b"a b\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("openia",), "did you mean openai"),
        (("azure",), "deployment"),
        (("bedrock",), "list-foundation-models"),
        (("local",), "local/smollm2"),
        (("openai",), "OPENAI_API_KEY is not set"),
        ((), "PROVIDER"),
    ],
)
async def test_what_cannot_be_asked_is_told(arguments: tuple[str, ...], words: str) -> None:
    """A slip, a provider without a list, a missing key: exit 2, in words, nothing sent."""
    done = await run("models", *arguments)
    assert (done.status, done.out) == (2, b"")
    assert words in done.err


def test_every_provider_has_a_list_or_says_why_not() -> None:
    """The tables name real providers only, and each other one is asked as OpenAI is."""
    assert {*LISTINGS, *UNLISTED} <= set(PROVIDERS)
    for name, entry in PROVIDERS.items():
        if name in UNLISTED:
            continue
        base_url = entry.base_url or "https://example.com/v1"
        provider = resolve(f"{name}/-", Access(base_url, "some-key")).provider
        wire = request(listing_of(name), provider)
        assert urlsplit(wire.url).hostname == urlsplit(base_url).hostname
        assert "some-key" in str(dict(wire.headers))
        assert "some-key" not in wire.url


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "models", "id", "name", "error", "last_id", "has_more"]), inner
        )
    ),
    max_leaves=9,
)


@given(
    st.sampled_from(sorted({*LISTINGS, "openai", "mistral"})), ANY, st.sampled_from([200, 401, 500])
)
def test_any_reply_is_a_page_or_a_provider_error(name: str, body: object, status: int) -> None:
    """Whatever JSON comes back: models with names, or a ProviderError, never another error."""
    provider = resolve(f"{name}/-", Access("http://localhost:1/v1", KEY)).provider
    try:
        page = read(listing_of(name), provider, WireReply(status, {}, orjson.dumps(body)))
    except ProviderError:
        return
    assert status == 200
    assert all(model.id for model in page.models)
