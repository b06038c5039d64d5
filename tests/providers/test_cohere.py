"""What is sent to Cohere, and what it does not support."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.cohere.provider import Cohere

MODEL = "command-nightly"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def provider(base_url: str = "https://api.cohere.com/v2", key: str | None = "a-key") -> Cohere:
    return Cohere(Settings("cohere", base_url, key))


def body(messages: Any = None, **params: Any) -> Any:
    request = Request(MODEL, HI if messages is None else messages, params)
    return orjson.loads(provider().build(request).body)


def said(message: Any) -> Any:
    return body([message])["messages"][0]


def test_the_plainest_request() -> None:
    """A prompt goes to version 2 of the chat, with the key as a bearer's."""
    wire = provider().build(Request(MODEL, HI, {}))
    assert (wire.method, wire.url) == ("POST", "https://api.cohere.com/v2/chat")
    assert {**wire.headers, "user-agent": ""} == {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "",
        "authorization": "Bearer a-key",
    }
    assert orjson.loads(wire.body) == {"model": MODEL, "messages": HI, "stream": False}


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v2", "/v2/"])
def test_the_address_with_and_without_its_version(tail: str) -> None:
    """An address in Cohere's own SDK's form, or with a version, means the same."""
    wire = provider(f"https://cohere.example.com/x{tail}", None).build(
        Request(MODEL, HI, {"extra_headers": {"x-a": "b"}}, stream=True)
    )
    assert wire.url == "https://cohere.example.com/x/v2/chat"
    assert "authorization" not in wire.headers
    assert wire.headers["x-a"] == "b"
    assert orjson.loads(wire.body)["stream"] is True


def test_messages_with_more_than_text() -> None:
    """Images keep their detail, thoughts become content, Cohere's own parts go as they are."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a", "detail": "low"}}
    assert said({"role": "user", "content": [image]})["content"] == [image]
    answer = {"role": "assistant", "reasoning": "Hm.", "content": "Ho", "citations": [{"start": 0}]}
    assert said(answer) == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Ho"}],
        "citations": [{"start": 0}],
    }
    assert said({"role": "assistant", "content": None, "tool_calls": [CALL]}) == {
        "role": "assistant",
        "tool_calls": [CALL],
    }
    document = {"type": "document", "document": {"data": "x"}}
    result = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": [document]}
    assert said(result) == {"role": "tool", "tool_call_id": "c1", "content": [document]}
    assert said({"role": "assistant", "refusal": "No."})["content"] == "No."


def test_own_parameters_are_passed_on() -> None:
    """Cohere's own names go as they are; top_k, as others call it, is k."""
    found = body(priority=1, extra_body={"top_k": 5, "citation_options": {"mode": "OFF"}})
    assert (found["priority"], found["k"]) == (1, 5)
    assert found["citation_options"] == {"mode": "OFF"}


def test_a_function_without_parameters() -> None:
    """Cohere demands parameters, so a function without any has an empty object of them."""
    assert body(tools=[{"type": "function", "function": {"name": "f", "strict": False}}])[
        "tools"
    ] == [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
        }
    ]


def test_the_format_of_the_answer() -> None:
    """A schema goes along with json_object, its description inside."""
    schema = {"type": "object"}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    plain = {"type": "json_object", "json_schema": schema}
    assert body(response_format=named)["response_format"] == plain
    assert body(response_format={"type": "json_object", "schema": schema})[
        "response_format"
    ] == plain  # fmt: skip
    named["json_schema"]["description"] = "An x"  # type: ignore[index] # a literal of mixed values
    assert body(response_format=named)["response_format"]["json_schema"] == {
        "description": "An x",
        **schema,
    }


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1},
        {"max_tokens": -1},
        {"top_logprobs": 0},
        {"logit_bias": {}},
        {"parallel_tool_calls": True},
        {"tool_choice": "auto"},
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
        ("logprobs", 3),
        ("top_logprobs", 3),
        ("parallel_tool_calls", False),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("response_format", {"type": "grammar"}),
        ("reasoning_effort", "low"),
        ("user", "ann"),
    ],
)
def test_unsupported(name: str, value: Any) -> None:
    """A parameter that Cohere does not support is named, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(**{name: value})
    assert caught.value.parameter == name
    assert "cohere" in caught.value.message


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "content": "x"},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]},
        {"role": "assistant", "content": "x", "audio": {"id": "a"}},
    ],
)
def test_unsupported_messages(message: Any) -> None:
    """What has no place in Cohere's messages is a UsageError, never left out in silence."""
    with pytest.raises(UsageError):
        body([message])


def test_a_trial_keys_limits() -> None:
    """A trial key's calls of this minute are read from Cohere's own headers."""
    answer = {"message": {"content": "Hi"}, "finish_reason": "COMPLETE"}
    headers = {"x-trial-endpoint-call-limit": "20", "x-trial-endpoint-call-remaining": "19"}
    found = provider().parse(Request(MODEL, HI, {}), WireReply(200, headers, orjson.dumps(answer)))
    assert found.limits
    assert (found.limits.limit_requests, found.limits.remaining_requests) == (20, 19)
