"""The most tokens of a request: never fewer than a provider may count, and few more."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import Unsent
from llmbatch_cli.core.types import Message, Request, WireRequest
from llmbatch_cli.engine.bounds import Bounds, bounds_of
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.bedrock.provider import Bedrock
from llmbatch_cli.providers.cohere.provider import Cohere
from llmbatch_cli.providers.gemini.provider import Gemini
from llmbatch_cli.providers.mistral.provider import Mistral
from llmbatch_cli.providers.ollama.provider import Ollama
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.responses.provider import Responses

PROVIDERS: list[tuple[str, Callable[[Settings], Provider], str]] = [
    ("openai", OpenAI, "https://api.openai.com/v1"),
    ("openai", Responses, "https://api.openai.com/v1"),
    ("anthropic", Anthropic, "https://api.anthropic.com/v1"),
    ("gemini", Gemini, "https://generativelanguage.googleapis.com/v1beta"),
    ("mistral", Mistral, "https://api.mistral.ai/v1"),
    ("cohere", Cohere, "https://api.cohere.com/v2"),
    ("ollama", Ollama, "https://ollama.com"),
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def asked(content: Any, **params: Any) -> Request:
    return Request("m", [{"role": "user", "content": content}], params)


def sent(request: Request, **more: Any) -> WireRequest:
    body = {"messages": request.messages, **request.params, **more}
    return WireRequest("POST", "http://localhost", {}, orjson.dumps(body))


def bounds(request: Request, context: int | None = None, answer: int | None = None) -> Bounds:
    return bounds_of(request, sent(request), context, answer)


@given(st.text(max_size=400), st.none() | st.integers(1, 5000))
def test_no_text_has_more_tokens_than_its_bytes(text: str, context: int | None) -> None:
    """A token is a byte at least; the context window is the end of any prompt."""
    found = bounds(asked(text), context).input_tokens
    size = len(text.encode(errors="replace"))
    assert found >= min(size, context or size)
    assert context is None or found <= context


@pytest.mark.parametrize(("name", "wire", "url"), PROVIDERS)
def test_every_wire_says_how_long_an_answer_may_be(
    name: str, wire: Callable[[Settings], Provider], url: str
) -> None:
    """Where it has the limit of an answer is known here; one without a limit has no bound, but
    for Claude, which is always sent one."""
    provider = wire(Settings(name, url, "key"))
    for parameter in ("max_tokens", "max_completion_tokens"):
        request = asked("?", **{parameter: 77})
        assert bounds_of(request, provider.build(request), None, None).output_tokens == 77
    request = asked("?")
    unlimited = bounds_of(request, provider.build(request), None, None).output_tokens
    assert (unlimited is None) != (name == "anthropic")
    assert bounds_of(request, provider.build(request), None, 9).output_tokens == (
        9 if unlimited is None else unlimited
    )


def test_bedrock_says_so_too() -> None:
    """In a body of its own."""
    settings = Settings("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com", "key")
    request = asked("?", max_tokens=77)
    assert bounds_of(request, Bedrock(settings).build(request), None, None).output_tokens == 77


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": 10, "n": True}, 10),
        ({"max_tokens": -1}, 500),
        ({}, 500),
        ({"max_tokens": 10, "max_completion_tokens": 12}, 12),
        ({"options": {"num_predict": 5}}, 5),
        ({"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 10),
        ({"n": 2}, 1000),
    ],
)
def test_the_answer_counts_as_often_as_it_is_asked_for(params: dict[str, Any], tokens: int) -> None:
    """By what the body says in the end, whoever has put it there; else by the model's own."""
    assert bounds(asked("?", **params), 9_000, 500).output_tokens == tokens
    assert bounds(asked("?"), 9_000).output_tokens == 9_000


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 999_000}}


def test_a_picture_counts_by_no_bytes() -> None:
    """A small file may be a large picture, and a large one counts no more than any."""
    small = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for part in (IMAGE, small):
        found = bounds(asked([{"type": "text", "text": "?"}, part])).input_tokens
        assert 50_000 <= found < 51_000
        assert bounds(asked([part]), 32_000).input_tokens == 32_000
    nested: Message = {"role": "user", "content": [{"type": "tool_result", "content": [IMAGE]}]}
    request = Request("m", [nested], {})
    assert bounds_of(request, sent(request), None, None).input_tokens >= 50_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    ],
)
def test_what_is_no_text_needs_the_context_window(part: dict[str, Any]) -> None:
    """A few bytes may be many pages or hours."""
    assert bounds(asked([part]), 32_000).input_tokens == 32_000
    with pytest.raises(Unsent, match="context window is not known"):
        bounds(asked([part]))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("tools", [{"type": "web_search_20250305", "name": "web_search"}], "web_search_20250305"),
        ("tools", [TOOL, {"type": "code_interpreter"}], "code_interpreter"),
        ("tools", [{"googleSearch": {}}], "googleSearch"),
        ("web_search_options", {}, "web_search_options"),
        ("plugins", [{"id": "web"}], "plugins"),
    ],
)
def test_a_tool_of_the_providers_own_has_no_bound(field: str, value: Any, named: str) -> None:
    """It reads pages, and may be billed by the call."""
    with pytest.raises(Unsent, match=named):
        bounds(asked("?", **{field: value}), 9_000, 9_000)


@pytest.mark.parametrize(
    "tool",
    [
        TOOL,
        {"name": "f", "input_schema": {}},
        {"functionDeclarations": [{"name": "f"}]},
        {"type": "bash_20250124", "name": "bash"},
    ],
)
def test_a_tool_that_runs_here_is_text(tool: dict[str, Any]) -> None:
    """With the instruction that the provider adds for it."""
    plain = bounds(asked("?")).input_tokens
    assert plain + 1_000 < bounds(asked("?", tools=[tool])).input_tokens < plain + 1_200
