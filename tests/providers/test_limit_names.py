"""The limit of an answer has two names with OpenAI: what each wire makes of them."""

import json

import pytest
from providers.test_any_row import ENVIRON

from llmbatch_cli.core.types import Request
from llmbatch_cli.engine.calls import merged
from llmbatch_cli.providers.registry import Access, resolve

HI = [{"role": "user", "content": "hi"}]
MODERN, OLD = "max_completion_tokens", "max_tokens"


def sent(model: str, name: str, base_url: str | None = None) -> dict[str, object]:
    target = resolve(model, Access(base_url, environ=ENVIRON))
    body: dict[str, object] = json.loads(
        target.provider.build(Request(target.model, HI, {name: 5})).body
    )
    return body


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("openai/gpt-4o", None),
        ("openai/m", "http://localhost:8000/v1"),
        ("perplexity/sonar", None),
        ("azure/deployed", None),
    ],
)
def test_a_server_gets_the_name_that_was_written(model: str, base_url: str | None) -> None:
    """It may know only that one (BerriAI/litellm 13381, vercel/ai 7863)."""
    body = sent(model, MODERN, base_url)
    assert (body.get(MODERN), body.get(OLD)) == (5, None)


@pytest.mark.parametrize(
    "model",
    [
        *("anthropic/claude-opus-5-5", "bedrock/anthropic.claude-sonnet-4-6", "ollama/llama"),
        *("vertex/gemini-3-pro", "cohere/command-a-03-2025", "gemini/gemini-2.5-flash"),
        *("mistral/mistral-large", "openai/gpt-5-pro"),
    ],
)
def test_an_api_with_a_name_of_its_own_gets_that(model: str) -> None:
    """Either name is the limit there."""
    assert sent(model, MODERN) == sent(model, OLD)
    assert MODERN not in sent(model, MODERN)


@pytest.mark.parametrize(("under", "over"), [(OLD, MODERN), (MODERN, OLD), (OLD, OLD)])
def test_a_rows_own_limit_wins_under_either_name(under: str, over: str) -> None:
    """Only one of the two goes out."""
    assert merged({under: 1, "seed": 2}, {over: 3}) == {"seed": 2, over: 3}
