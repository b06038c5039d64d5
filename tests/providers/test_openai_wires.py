"""Which of OpenAI's two wires a request goes over."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.registry import Access, resolve

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}]}
HOME = "https://api.openai.com/v1"
CHAT, RESPONSES = "/chat/completions", "/responses"


def asked(model: str, params: dict[str, Any], base_url: str = HOME, **access: Any) -> str:
    """The path that a request goes to, behind the base URL."""
    environ = {"OPENAI_API_KEY": "sk-key", "OPENAI_BASE_URL": base_url}
    target = resolve(f"openai/{model}", Access(environ=environ, **access))
    return target.provider.build(Request(model, HI, params)).url.removeprefix(base_url)


@pytest.mark.parametrize(
    ("model", "params", "path"),
    [
        ("gpt-4o", TOOLS, CHAT),
        ("gpt-5-pro", {}, RESPONSES),
        ("gpt-5.4", TOOLS, CHAT),
        ("gpt-5.4", {**TOOLS, "reasoning_effort": "low"}, RESPONSES),
        ("gpt-5.6-luna", {"seed": 1}, CHAT),
        ("gpt-5.6-luna", TOOLS, RESPONSES),
        ("gpt-5.6-luna", {**TOOLS, "reasoning_effort": "none"}, CHAT),
    ],
)
def test_each_request_by_itself(model: str, params: dict[str, Any], path: str) -> None:
    """The model and the request's own parameters choose the wire.

    Chat completions answer "Function tools with reasoning_effort are not supported ... use
    /v1/responses": openai-openapi issue 541, litellm pull request 34569 (read 2026-11-23).
    """
    assert asked(model, params) == path


@pytest.mark.parametrize("base_url", [HOME, f"{HOME}/", "https://eu.api.openai.com/v1"])
def test_openai_itself_by_any_of_its_addresses(base_url: str) -> None:
    """OpenAI is known by its host, however its address came here."""
    assert asked("gpt-5-pro", {}, base_url.rstrip("/")) == RESPONSES
    moved = Access(base_url=base_url, api_key="sk-key")
    provider = resolve("openai/o3-pro", moved).provider
    assert provider.build(Request("o3-pro", HI, {})).url.endswith("/v1/responses")


def test_another_server_speaks_chat() -> None:
    """A server that is not OpenAI's is asked for chat completions, whatever its model is called."""
    assert asked("gpt-5-pro", TOOLS, "http://localhost:8000/v1") == CHAT


@pytest.mark.parametrize(("api", "path"), [("chat", CHAT), ("responses", RESPONSES)])
def test_the_users_word_wins(api: str, path: str) -> None:
    """A wire that is asked for by name takes every request."""
    assert asked("gpt-5-pro", {}, api=api) == path
    assert asked("gpt-4o", {}, api=api) == path


@pytest.mark.parametrize("params", [{}, TOOLS])
def test_a_reply_is_read_as_it_was_asked_for(params: dict[str, Any]) -> None:
    """The reply, whole or streamed, is read in the words of the wire that its request took."""
    environ = {"OPENAI_API_KEY": "sk-key"}
    provider = resolve("openai/gpt-5.6-luna", Access(environ=environ)).provider
    request = Request("gpt-5.6-luna", HI, params)
    said = {"type": "message", "content": [{"type": "output_text", "text": "Yes"}]}
    response = {"status": "completed", "output": [said]}
    chat = {"choices": [{"message": {"content": "Yes"}, "finish_reason": "stop"}]}
    body = orjson.dumps(response if params else chat)
    assert provider.parse(request, WireReply(200, {}, body)).text == "Yes"
    event: dict[str, Any] = {"choices": [{"delta": {"content": "Yes"}, "finish_reason": "stop"}]}
    if params:
        event = {"type": "response.completed", "response": response}
    reader = provider.stream(Request("gpt-5.6-luna", HI, params, stream=True), {})
    reader.feed(b"data: %s\n\ndata: [DONE]\n\n" % orjson.dumps(event))
    assert reader.finish().text == "Yes"
