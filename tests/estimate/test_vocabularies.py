"""By which vocabulary a model's tokens are counted."""

import pytest

from llmbatch_cli.estimate.vocabularies import EXACT, counting_of, vocabulary_of

EXACTLY = {
    "gpt-4o-mini": "o200k_base",
    "gpt-4.1-2025-04-14": "o200k_base",
    "o3": "o200k_base",
    "gpt-5": "o200k_base",
    "ft:gpt-4o-mini-2024-07-18:me::1": "o200k_base",
    "openai/gpt-oss-120b": "o200k_base",
    "gpt-4-turbo": "cl100k_base",
    "gpt-3.5-turbo": "cl100k_base",
    "llama-3.3-70b-versatile": "llama3",
    "meta-llama/Llama-3.3-70B-Instruct-Turbo": "llama3",
    "deepseek-chat": "deepseek_v3",
}
NEARLY = {
    "gemini-2.5-flash": "gemma3",
    "models/gemini-2.5-pro": "gemma3",
    "mistral-large-latest": "mistral_v3",
    "Qwen/Qwen3-32B": "qwen3",
    "claude-haiku-4-5": "o200k_base",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "o200k_base",
    "command-a-03-2025": "o200k_base",
    "no-such-model": "o200k_base",
}


@pytest.mark.parametrize("model", EXACTLY)
def test_a_known_vocabulary_is_exact(model: str) -> None:
    """Whoever serves the model, whatever stands around its name."""
    found = vocabulary_of(model)
    assert (found.name, found.factor) == (EXACTLY[model], EXACT)


@pytest.mark.parametrize("model", NEARLY)
def test_another_has_a_stated_range(model: str) -> None:
    """The likely factor lies inside the range, and people are told."""
    found = vocabulary_of(model)
    assert found.name == NEARLY[model]
    assert found.factor.low < found.factor.likely < found.factor.high
    assert any(digit in found.of for digit in "0123456789")


def test_claude_s_new_vocabulary_has_more_tokens() -> None:
    """From 4.7 on a text has half as many tokens again as by o200k; a new version is like that."""
    factors = [
        vocabulary_of(name).factor.likely
        for name in ("claude-3-5-haiku-latest", "claude-opus-4-6", "claude-opus-4-8", "claude-x")
    ]
    assert factors == [1.2, 1.2, 1.5, 1.5]


@pytest.mark.parametrize("text", ["", "<|endoftext|>", "half \ud83d of a pair", "a" * 100_000])
def test_hostile_texts_are_counted(text: str) -> None:
    """A special token's name is text, and nothing is too odd to count."""
    found = counting_of("gpt-4o").count(text)
    assert found == 0 if not text else found > 1
