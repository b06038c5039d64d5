"""Base URLs and keys as people write them: what is taken, what is mended, what is refused."""

import pytest

from llmbatch_cli.core.errors import MissingKey, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.addresses import with_query
from llmbatch_cli.providers.registry import Access, Target, resolve

ASKED = Request("m", [{"role": "user", "content": "?"}], {})


def sent_to(model: str, access: Access) -> str:
    """The URL that a request to this model goes to."""
    provider = resolve(model, access).provider
    return with_query(provider.build, provider.query)(ASKED).url


@pytest.mark.parametrize(
    ("model", "base_url", "url"),
    [
        # the query was sent in the middle of the path
        ("m", "http://h/v1?api-version=1", "http://h/v1/chat/completions?api-version=1"),
        ("m", "http://h/v1/?a=b&c", "http://h/v1/chat/completions?a=b&c"),
        ("m", ' "http://h/v1" ', "http://h/v1/chat/completions"),
        ("claude-x", "http://h?a=b", "http://h/chat/completions?a=b"),
        ("anthropic/m", "http://h?a=b", "http://h/v1/messages?a=b"),
        ("cohere/m", "http://h/v2?a=b", "http://h/v2/chat?a=b"),
        ("gemini/m", "http://h?a=b", "http://h/v1beta/models/m:generateContent?a=b"),
        ("mistral/m", "http://h/v1?a=b", "http://h/v1/chat/completions?a=b"),
        ("ollama/m", "http://h:1/?a=b", "http://h:1/api/chat?a=b"),
        ("groq/m", "http://h/openai/v1?a=b", "http://h/openai/v1/chat/completions?a=b"),
        (
            "azure/m",
            "https://h/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "https://h/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ),
        ("m", "https://h.services.ai.azure.com/models?api-version=1",
         "https://h.services.ai.azure.com/models/chat/completions?api-version=1"),
    ],
)  # fmt: skip
def test_a_base_url_and_its_query(model: str, base_url: str, url: str) -> None:
    """The query goes behind the path, on every wire; so it does from a variable."""
    assert sent_to(model, Access(base_url, "k")) == url


@pytest.mark.parametrize(
    ("model", "base_url", "endpoint", "right"),
    [
        ("m", "http://h/v1/chat/completions", "/chat/completions", "http://h/v1"),
        ("m", "http://h/v1/chat/completions/", "/chat/completions", "http://h/v1"),
        ("m", "http://h/v1/chat/completions?key=secret", "/chat/completions", "http://h/v1"),
        ("m", "http://h/v1/completions", "/completions", "http://h/v1"),
        ("m", "http://h/v1/responses", "/responses", "http://h/v1"),
        ("m", "http://h/v1/embeddings", "/embeddings", "http://h/v1"),
        ("m", "http://h/v1/models", "/models", "http://h/v1"),
        ("anthropic/m", "https://h/v1/messages", "/messages", "https://h/v1"),
        ("cohere/m", "https://h/v2/chat", "/chat", "https://h/v2"),
        ("ollama/m", "http://h:11434/api/chat", "/api/chat", "http://h:11434"),
        ("gemini/m", "https://h/v1beta/models/m:generateContent", "/models/m:generateContent",
         "https://h/v1beta"),
        ("bedrock/m", "https://h/model/m/converse", "/model/m/converse", "https://h"),
        ("m", "https://h/openai/deployments/d/chat/completions?api-version=1",
         "/chat/completions", "https://h/openai/deployments/d; for Azure set AZURE_OPENAI"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["option", "variable"])
def test_an_endpoint_is_no_base_url(
    model: str, base_url: str, endpoint: str, right: str, by: str
) -> None:
    """It was sent to .../chat/completions/chat/completions. The hint has the URL to write, and
    nothing of a query."""
    provider = model.partition("/")[0] if "/" in model else "openai"
    variable = f"{provider.upper()}_BASE_URL"
    environ = {variable: base_url, "AWS_REGION": "r"} if by == "variable" else {"AWS_REGION": "r"}
    with pytest.raises(UsageError) as caught:
        resolve(model, Access(base_url if by == "option" else None, "k", environ=environ))
    assert f"ends in an endpoint, {endpoint}" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"write {right}")
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"
    assert (variable in caught.value.message) == (by == "variable")


@pytest.mark.parametrize("empty", ["", " ", '""'])
def test_an_empty_base_url_is_not_the_providers_own(empty: str) -> None:
    """`--base-url "$SERVER"` without that variable sent the prompts to api.openai.com."""
    for model in ("m", "openai/m", "anthropic/m"):
        with pytest.raises(UsageError, match="is empty") as caught:
            resolve(model, Access(empty, "k"))
        assert "--base-url" in (caught.value.hint or "")


def test_an_unspecified_address_is_this_machine() -> None:
    """`vllm serve --host 0.0.0.0` tells of http://0.0.0.0:8000; the key is not withheld there."""
    for host in ("0.0.0.0", "[::]"):
        assert header(Access(f"http://{host}:1/v1", environ={"OPENAI_API_KEY": "k"})) == "Bearer k"


def header(access: Access, model: str = "openai/m") -> str | None:
    """The authorization that is sent."""
    found: str | None = resolve(model, access).provider.build(ASKED).headers.get("authorization")
    return found


@pytest.mark.parametrize(
    "written",
    [
        '"sk-abc"', "'sk-abc'", " sk-abc\n", "sk-abc\r\n",
        "\u201csk-abc\u201d", "\u2018sk-abc\u2019",
        "Bearer sk-abc", '"Bearer sk-abc"', "bearer  sk-abc", "Bearer 'sk-abc'", "\ufeffsk-abc",
        "Authorization: Bearer sk-abc", "`sk-abc`", "\u200bsk-abc\u00a0",
    ],
)  # fmt: skip
def test_a_key_loses_what_was_copied_along(written: str) -> None:
    """From a variable, and from Python; it was sent with its quotes (letta-ai/letta 1946,
    topoteretes/cognee 1721)."""
    assert header(Access(environ={"OPENAI_API_KEY": written})) == "Bearer sk-abc"
    assert header(Access(api_key=written)) == "Bearer sk-abc"
    assert header(Access(environ={"GROQ_API_KEY": written}), "groq/m") == "Bearer sk-abc"


@pytest.mark.parametrize(
    "written", ["sk-abc def", "sk-\u200babc", "sk-\nabc", "sk-\x00", "schlüssel"]
)
def test_what_no_key_is_is_refused_by_its_variable(written: str) -> None:
    """The value is not shown."""
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        resolve("openai/m", Access(environ={"OPENAI_API_KEY": written}))
    assert written not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("written", ['""', "Bearer ", " ", "''"])
def test_nothing_in_quotes_is_no_key(written: str) -> None:
    """The variable counts as not set."""
    with pytest.raises(MissingKey):
        resolve("openai/m", Access(environ={"OPENAI_API_KEY": written}))


def test_a_bearer_in_a_key_is_its_own() -> None:
    """Only a whole word in front is taken away."""
    assert header(Access(api_key="bearer-1")) == "Bearer bearer-1"


def test_no_key_sends_none() -> None:
    """The real key went to a local server; --no-key keeps it, at any address."""
    environ = {"OPENAI_API_KEY": "k"}
    for base_url in ("http://localhost:1/v1", None):
        access = Access(base_url, no_key=True, environ=environ)
        assert header(access) is None
        assert resolve("openai/m", access).key_hint == "no key was sent, as --no-key says"
    assert header(Access("http://localhost:1/v1", environ=environ)) == "Bearer k"


def named(model: str, **environ: str) -> str:
    """The provider of a name, and where it is."""
    target: Target = resolve(model, Access(environ=environ))
    return f"{target.provider.name} {target.provider.base_url} {target.model}"


def test_a_server_of_ones_own_by_its_variable() -> None:
    """With OPENAI_BASE_URL a name of any kind goes there, as with --base-url; a name of a
    known family goes to its provider where there is a key for it."""
    own = {"OPENAI_BASE_URL": "http://h/v1"}
    assert named("my-model", **own) == "openai http://h/v1 my-model"
    assert named("Qwen/Qwen3-8B", **own) == "openai http://h/v1 Qwen/Qwen3-8B"
    assert named("deepseek-r1", **own) == "openai http://h/v1 deepseek-r1"
    assert named("deepseek-chat", **own, DEEPSEEK_API_KEY="k").startswith("deepseek https://api")
    assert named("claude-x", **own, ANTHROPIC_BASE_URL="http://a").startswith("anthropic http://a")
    assert named("vllm/my-model", **own, VLLM_BASE_URL="http://v/v1").startswith("vllm http://v/v1")
    with pytest.raises(UsageError, match="unknown model"):
        named("my-model")
