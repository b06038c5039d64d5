"""What is sent to Ollama, and what it does not support."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.ollama.provider import Ollama, address

MODEL = "qwen3:4b"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "description": "d"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def provider(base_url: str = "http://localhost:11434", key: str | None = None) -> Ollama:
    return Ollama(Settings("ollama", base_url, key))


def body(messages: Any = None, **params: Any) -> Any:
    request = Request(MODEL, HI if messages is None else messages, params)
    return orjson.loads(provider().build(request).body)


def test_the_plainest_request() -> None:
    """A prompt goes to /api/chat without a key, and asks for one reply."""
    wire = provider().build(Request(MODEL, HI, {}))
    assert (wire.method, wire.url) == ("POST", "http://localhost:11434/api/chat")
    assert {**wire.headers, "user-agent": ""} == {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "",
    }
    assert orjson.loads(wire.body) == {"model": MODEL, "messages": HI, "stream": False}


def test_the_cloud_has_a_key() -> None:
    """A key goes along as a bearer's, and a stream is asked for as such."""
    wire = provider("https://ollama.com/api", "a-key").build(
        Request(MODEL, HI, {"extra_headers": {"x-a": "b"}}, stream=True)
    )
    assert wire.url == "https://ollama.com/api/chat"
    assert (wire.headers["authorization"], wire.headers["x-a"]) == ("Bearer a-key", "b")
    assert orjson.loads(wire.body)["stream"] is True


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("gpu-box", "http://gpu-box:11434"),
        (" 0.0.0.0 ", "http://127.0.0.1:11434"),
        ("[::]:1", "http://[::1]:1"),
        ("http://localhost:11434/v1/", "http://localhost:11434"),
        ("https://ann:pw@example.com/ollama", "https://ann:pw@example.com/ollama"),
        ("localhost:eleven", "localhost:eleven"),
        ("ftp://x", "ftp://x"),
    ],
)
def test_addresses_beyond_the_clients(host: str, found: str) -> None:
    """A listening address means this machine, another API's path is taken off, nonsense stays."""
    assert address(host) == found


def test_messages_with_more_than_text() -> None:
    """Texts are lines, images are base64, calls carry objects, results their function's name."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
    texts = [{"type": "text", "text": "A"}, image, {"type": "text", "text": "B"}]
    found = body(
        [
            {"role": "user", "content": texts},
            {"role": "assistant", "content": "", "reasoning": "Hm.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ]
    )["messages"]
    assert found == [
        {"role": "user", "content": "A\nB", "images": ["iVBO"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "2", "tool_name": "f", "tool_call_id": "c1"},
    ]


def test_options_and_the_rest() -> None:
    """What Ollama knows as an option goes under options, by whichever way it comes."""
    found = body(
        num_ctx=4096,
        max_tokens=-1,
        truncate=False,
        extra_body={"min_p": 0.1, "options": {"num_ctx": 8192}, "keep_alive": 0},
    )
    assert found["options"] == {"num_ctx": 8192, "num_predict": -1, "min_p": 0.1}
    assert (found["truncate"], found["keep_alive"]) == (False, 0)


def test_logprobs_by_number() -> None:
    """A number asks for log probabilities and for so many alternatives."""
    found = body(logprobs=2)
    assert (found["logprobs"], found["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1},
        {"logit_bias": {}},
        {"parallel_tool_calls": True},
        {"tool_choice": "auto"},
        {"tools": [TOOL], "tool_choice": "none"},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_is_said_by_saying_nothing(params: Any) -> None:
    """A parameter that asks for what happens anyway adds nothing."""
    assert body(**params) == body()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logit_bias", {"1": 1}),
        ("parallel_tool_calls", False),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("response_format", {"type": "grammar"}),
        ("reasoning_effort", "minimal"),
        ("user", "ann"),
    ],
)
def test_unsupported(name: str, value: Any) -> None:
    """A parameter that Ollama does not support is named, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(**{name: value})
    assert caught.value.parameter == name
    assert "ollama" in caught.value.message


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "content": "x"},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA"}}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:,x", "detail": "high"}}],
        },
        {"role": "assistant", "content": "x", "function_call": {"name": "f"}},
    ],
)
def test_unsupported_messages(message: Any) -> None:
    """What has no place in Ollama's messages is a UsageError, never left out in silence."""
    with pytest.raises(UsageError):
        body([message])


def test_a_strict_function_is_not_promised() -> None:
    """Ollama does not hold a call to its schema, so a strict function is refused."""
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    with pytest.raises(UsageError, match="strict"):
        body(tools=[strict])


def test_an_image_by_address_tells_what_to_do() -> None:
    """An image that Ollama would have to fetch is refused with a way out."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    with pytest.raises(UsageError) as caught:
        body([{"role": "user", "content": [image]}])
    assert "data: URL" in (caught.value.hint or "")
