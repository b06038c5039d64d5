"""What is sent to the Messages API, and what its errors mean."""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import BadReply, UnknownModel, UnsupportedParameter, UsageError
from llmbatch_cli.core.types import RateInfo, Request, WireReply
from llmbatch_cli.providers.anthropic.models import claude, is_retired
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.wire.limits import rate_info

KEY = "sk-ant-api03-secret"
OLD, MIDDLE, NEW = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-5-5"
HI = [{"role": "user", "content": "Hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjc="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def provider(base_url: str = "https://api.anthropic.com/v1") -> Anthropic:
    return Anthropic(Settings("anthropic", base_url, KEY))


def body(messages: Any = None, model: str = NEW, stream: bool = False, **params: Any) -> Any:
    asked = Request(model, HI if messages is None else messages, params, stream)
    return orjson.loads(provider().build(asked).body)


def said(model: str = NEW, **params: Any) -> dict[str, Any]:
    """What the parameters add to the body."""
    found = body(model=model, **params)
    for name in ("model", "messages"):
        del found[name]
    if "max_tokens" not in params:
        del found["max_tokens"]
    return dict(found)


def test_the_plainest_request() -> None:
    """A prompt is sent with the version, the key, and the most that the model may answer."""
    wire = provider().build(Request(NEW, HI, {}))
    assert (wire.method, wire.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert {**wire.headers, "user-agent": ""} == {
        "content-type": "application/json",
        "accept": "application/json",
        "anthropic-version": "2023-06-01",
        "user-agent": "",
        "x-api-key": KEY,
    }
    assert orjson.loads(wire.body) == {
        "model": NEW,
        "max_tokens": 21_333,
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_the_sdks_base_url_is_understood() -> None:
    """ANTHROPIC_BASE_URL may end before the version, as the SDKs have it."""
    for base_url in ("http://localhost:1/anthropic", "http://localhost:1/anthropic/v1/"):
        wire = provider(base_url).build(Request(NEW, HI, {}))
        assert wire.url == "http://localhost:1/anthropic/v1/messages"


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-2.1", 4_096),
        ("claude-instant-1.2", 4_096),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-4-opus-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-sonnet-4-5-20250929", 64_000),
        ("claude-haiku-4-5@20251001", 64_000),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", 64_000),
        ("claude-opus-4-6", 128_000),
        ("claude-haiku-5-5", 128_000),
        ("claude-mythos-preview", 128_000),
        ("claude-fable-7", 128_000),
        ("smollm2", 8_192),
    ],
)
def test_the_bound_on_answers(model: str, most: int) -> None:
    """max_tokens, which the API requires, is the documented most of the model's family.

    Without a stream it is what ten minutes allow, if that is less; what the user says is said.
    """
    at_once = min(most, 21_333)
    assert body(model=model, stream=True)["max_tokens"] == most
    assert body(model=model)["max_tokens"] == at_once
    assert body(model=model, max_tokens=-1)["max_tokens"] == at_once
    assert body(model=model, max_tokens=64_000)["max_tokens"] == 64_000
    assert body(model=model, max_tokens=7)["max_tokens"] == 7


def test_system_prompts_are_lifted_out() -> None:
    """System and developer messages, wherever they stand, become the system prompt."""
    one = body([{"role": "system", "content": "Be brief."}, *HI])
    assert (one["system"], one["messages"]) == ("Be brief.", HI)
    cached = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}
    several = body(
        [{"role": "system", "content": [cached]}, *HI, {"role": "developer", "content": "Brief."}]
    )
    assert several["system"] == [cached, {"type": "text", "text": "Brief."}]
    assert several["messages"] == HI


def test_adjacent_roles_are_merged() -> None:
    """No two neighbouring turns have one role, and nothing is lost by it."""
    found = body(
        [
            {"role": "user", "content": "One"},
            {"role": "user", "content": [{"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": "Three"},
            {"role": "assistant", "content": "Four"},
            {"role": "user", "content": "Five", "cache_control": {"type": "ephemeral"}},
        ]
    )["messages"]
    assert found == [
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("One", "Two")]},
        {"role": "assistant", "content": [{"type": "text", "text": t} for t in ("Three", "Four")]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Five", "cache_control": {"type": "ephemeral"}}],
        },
    ]


def test_images_and_files() -> None:
    """Images and documents go by address, as base64, as plain text, or by the file's id."""
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {
            "type": "image_url",
            "image_url": {"url": PNG, "detail": "auto"},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "image_url", "image_url": {"url": PDF}},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:text/plain,Grass%20is%20green"}},
        {"type": "file", "file": {"file_id": "file_01"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    ]
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjc="}
    assert body([{"role": "user", "content": parts}])["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "document", "source": pdf},
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Grass is green"},
        },
        {"type": "document", "source": {"type": "file", "file_id": "file_01"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    ]


def test_text_in_base64_is_text() -> None:
    """A text file in base64 is sent as the text that it is."""
    data = base64.b64encode("Straße".encode()).decode()
    part = {"type": "file", "file": {"file_data": f"data:text/markdown;base64,{data}"}}
    found = body([{"role": "user", "content": [part]}])["messages"][0]["content"]
    assert found[0]["source"] == {"type": "text", "media_type": "text/plain", "data": "Straße"}


def test_tool_calls_and_their_results() -> None:
    """Calls are the assistant's, all results are one turn of the user, before his own words."""
    call = {"name": "get_weather", "arguments": '{"city":"Rome"}'}
    messages = [
        *HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "a", "type": "function", "function": call},
                {"id": "b", "type": "function", "function": {"name": "now", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "18 C"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "image_url", "image_url": {"url": PNG}}],
        },
        {"role": "user", "content": "And?"},
    ]
    found = body(messages)["messages"]
    assert found[1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "b", "name": "now", "input": {}},
    ]
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert found[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "18 C"},
            {
                "type": "tool_result",
                "tool_use_id": "b",
                "content": [{"type": "image", "source": image}],
            },
            {"type": "text", "text": "And?"},
        ],
    }


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://a/b"}}]},
        {"role": "user", "content": [{"type": "image_url"}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}],
        },
        {"role": "user", "content": "Hi", "images": ["AA"]},
        {"role": "assistant", "content": "Hi", "name": "ann"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"},
        {"role": "assistant", "content": "Hi", "thinking_blocks": [{"type": "text", "text": "x"}]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:video/mp4;base64,AA"}}],
        },
        {"role": "user", "content": [{"type": "file", "file": {}}]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}],
        },
        {"role": "user", "content": [5]},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1]"}}],
        },
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}],
        },
        {"role": "system", "content": "Alone"},
    ],
)
def test_what_no_message_can_say(message: Any) -> None:
    """A message that the wire does not support is an error before anything is sent."""
    with pytest.raises(UsageError):
        body([message])


def test_fields_that_hold_nothing_are_no_fields() -> None:
    """A field that is null or empty says nothing, so every message may have it."""
    assert body([{"role": "user", "content": "Hi", "name": None, "images": []}])["messages"] == HI


def test_thinking_goes_back_as_it_came() -> None:
    """Thinking stands before text and calls, with its signature; its text alone need not leave."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "WaUj"}
    hidden = {"type": "redacted_thinking", "data": "EmwK"}
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "thinking_blocks": [thought, hidden],
        "tool_calls": [{"id": "a", "function": {"name": "now", "arguments": "{}"}}],
    }
    use = {"type": "tool_use", "id": "a", "name": "now", "input": {}}
    assert body([*HI, message])["messages"][1]["content"] == [thought, hidden, use]


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "examples": [1]}},
        {"type": "function", "function": {"name": "f"}, "defer_loading": True},
    ],
)
def test_what_no_tool_can_say(tool: Any) -> None:
    """A function's field that has no form here is told; the provider's own tools go as they are."""
    with pytest.raises(UsageError, match=r"examples|defer_loading"):
        body(tools=[tool])


def test_sampling() -> None:
    """Sampling goes to the models that take it, under the provider's own names."""
    assert said("claude-sonnet-4-0", temperature=1, top_p=0.5, stop="END", user="u1", top_k=5) == {
        "temperature": 1,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "top_k": 5,
    }
    assert said(NEW, temperature=1, stop=["A", "B"], n=1, logprobs=False) == {
        "temperature": 1,
        "stop_sequences": ["A", "B"],
    }
    assert body(stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"temperature": 0, "top_p": 1}, {"temperature": 0}),
        ({"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 1, "top_p": 1}, {}),
        ({"temperature": 1}, {"temperature": 1}),
    ],
)
def test_one_way_of_sampling(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """Where temperature and top_p exclude each other, the one that says nothing is left out.

    "`temperature` and `top_p` cannot both be specified for this model": opencommit issue 520
    (read 2026-11-23).
    """
    assert said("claude-opus-4-1", **given) == kept
    assert said("claude-sonnet-4-0", **given) == given


@pytest.mark.parametrize(
    ("model", "params", "name"),
    [
        (OLD, {"n": 2}, "n"),
        (OLD, {"seed": 1}, "seed"),
        (OLD, {"presence_penalty": 0.1}, "presence_penalty"),
        (OLD, {"frequency_penalty": 0.1}, "frequency_penalty"),
        (OLD, {"logit_bias": {"1": 1}}, "logit_bias"),
        (OLD, {"logprobs": True}, "logprobs"),
        (OLD, {"top_logprobs": 2}, "top_logprobs"),
        (OLD, {"response_format": {"type": "json_object"}}, "response_format"),
        (NEW, {"temperature": 0}, "temperature"),
        ("claude-opus-4-7", {"top_p": 0.9}, "top_p"),
        ("claude-mythos-preview", {"temperature": 0.5}, "temperature"),
        (OLD, {"temperature": 0, "reasoning_effort": "low"}, "temperature"),
        (OLD, {"temperature": 0, "top_p": 0.9}, "top_p"),
        (MIDDLE, {"temperature": 0, "reasoning_effort": "low"}, "temperature"),
        (OLD, {"top_p": 0.9, "reasoning_effort": "low"}, "top_p"),
        (OLD, {"reasoning_effort": "xhigh"}, "reasoning_effort"),
        (OLD, {"reasoning_effort": "low", "max_tokens": 1024}, "reasoning_effort"),
        (MIDDLE, {"reasoning_effort": "xhigh"}, "reasoning_effort"),
        (NEW, {"reasoning_effort": "none"}, "reasoning_effort"),
        ("claude-3-5-haiku-20241022", {"reasoning_effort": "low"}, "reasoning_effort"),
        (NEW, {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        (OLD, {"tool_choice": "required", "reasoning_effort": "low"}, "tool_choice"),
        (OLD, {"tool_choice": "sometimes"}, "tool_choice"),
        (OLD, {"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ],
)
def test_unsupported(model: str, params: dict[str, Any], name: str) -> None:
    """What Claude does not support is refused by its name, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(model=model, **params)
    assert caught.value.parameter == name
    assert caught.value.hint


def enabled(budget: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def adaptive(effort: str) -> dict[str, Any]:
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": effort},
    }


@pytest.mark.parametrize(
    ("model", "params", "fields"),
    [
        (NEW, {"reasoning_effort": "minimal"}, adaptive("low")),
        (NEW, {"reasoning_effort": "xhigh"}, adaptive("xhigh")),
        (MIDDLE, {"reasoning_effort": "max"}, adaptive("max")),
        (MIDDLE, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            "claude-sonnet-5-5",
            {"reasoning_effort": "none"},
            {"thinking": {"type": "between_tools"}},
        ),
        ("claude-haiku-5-5", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (OLD, {"reasoning_effort": "none", "temperature": 0}, {"temperature": 0}),
        (OLD, {"reasoning_effort": "medium"}, enabled(10_000)),
        (
            OLD,
            {"reasoning_effort": "high", "top_p": 0.95, "max_tokens": 64_000},
            {**enabled(32_000), "top_p": 0.95, "max_tokens": 64_000},
        ),
        (
            OLD,
            {"reasoning_effort": "high", "max_tokens": 8000},
            {**enabled(4000), "max_tokens": 8000},
        ),
        (
            OLD,
            {"reasoning_effort": "low", "max_tokens": 1500},
            {**enabled(1024), "max_tokens": 1500},
        ),
        ("claude-3-7-sonnet-20250219", {"reasoning_effort": "low"}, enabled(4096)),
    ],
)
def test_reasoning_effort(model: str, params: Any, fields: dict[str, Any]) -> None:
    """Effort is said as effort since 4.6, and before as a budget that leaves room to answer."""
    assert said(model, **params) == fields


def test_a_schema_for_the_answer() -> None:
    """A json_schema is sent in Anthropic's form, beside effort, its description inside."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    named = {"name": "city", "description": "A city", "schema": schema, "strict": True}
    fields = said(
        reasoning_effort="low", response_format={"type": "json_schema", "json_schema": named}
    )
    assert fields["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"description": "A city", **schema}},
    }
    assert said(response_format={"type": "text"}) == {}


def test_tools() -> None:
    """OpenAI's functions become Anthropic's tools; Anthropic's own tools pass as they are."""
    search = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
    cached = {**WEATHER, "cache_control": {"type": "ephemeral"}}
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    assert said(tools=[cached, bare, search], tool_choice="auto", parallel_tool_calls=False) == {
        "tools": [
            {
                "name": "get_weather",
                "description": "Weather",
                "input_schema": WEATHER["function"]["parameters"],  # type: ignore[index] # a literal
                "cache_control": {"type": "ephemeral"},
            },
            {"name": "now", "strict": True, "input_schema": {"type": "object", "properties": {}}},
            search,
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }


@pytest.mark.parametrize(
    ("params", "choice"),
    [
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(params: Any, choice: dict[str, Any]) -> None:
    """OpenAI's choices of tools have one each in Anthropic's words."""
    assert said(OLD, **params) == {"tool_choice": choice}


def test_extras_reach_the_wire() -> None:
    """extra_body wins over the body, adds to its option objects; extra_headers win too."""
    params = {
        "reasoning_effort": "low",
        "user": "u",
        "extra_body": {"output_config": {"effort": "max"}, "max_tokens": 5, "speed": "fast"},
        "extra_headers": {"anthropic-beta": "fast-mode-2026-02-01"},
    }
    wire = provider().build(Request(NEW, HI, params))
    sent = orjson.loads(wire.body)
    assert (sent["max_tokens"], sent["speed"]) == (5, "fast")
    assert sent["output_config"] == {"effort": "max"}
    assert sent["metadata"] == {"user_id": "u"}
    assert wire.headers["anthropic-beta"] == "fast-mode-2026-02-01"
    assert wire.headers["x-api-key"] == KEY


def test_the_request_is_left_alone() -> None:
    """Building changes nothing in the request, which may be asked of several models."""
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "A"}], "cache_control": {"a": 1}},
        {"role": "user", "content": "B"},
    ]
    before = orjson.dumps(asked)
    body(asked, tools=[WEATHER], extra_body={"metadata": {}}, user="u")
    assert orjson.dumps(asked) == before


def answer(status: int, error: dict[str, Any]) -> WireReply:
    return WireReply(status, {}, orjson.dumps({"type": "error", "error": error}))


@pytest.mark.parametrize(
    "model", ["claude-2", "claude-2.1", "claude-instant-1.2", "claude-3-opus-20240229"]
)
def test_retired_models_are_named_as_such(model: str) -> None:
    """A retired model's 404 says that it was retired and names one that is not."""
    with pytest.raises(UnknownModel) as caught:
        provider().parse(
            Request(model, HI, {}),
            answer(404, {"type": "not_found_error", "message": f"model: {model}"}),
        )
    assert "retired" in caught.value.message
    assert NEW in (caught.value.hint or "")


def test_current_models_are_not_retired() -> None:
    """No model that the provider serves is called retired."""
    for model in (NEW, OLD, MIDDLE, "claude-opus-4-1-20250805", "claude-haiku-4-5-20251001"):
        assert not is_retired(model)
    assert claude("claude-sonnet-4-5-20250929").version == (4, 5)


def test_keys_stay_out_of_messages() -> None:
    """A server that repeats the key in its error does not get it shown, nor much of itself."""
    for status in (200, 401):
        error = provider().error(
            answer(status, {"type": "authentication_error", "message": f"{KEY}\x1b[31m " * 900}),
            NEW,
        )
        assert "secret" not in error.message
        assert "\x1b" not in error.message
        assert len(error.message) <= 2000


def test_an_answer_without_content() -> None:
    """A 200 that is no message says what it holds instead."""
    with pytest.raises(BadReply, match=r"no content: \{\"id\""):
        provider().parse(Request(NEW, HI, {}), WireReply(200, {}, b'{"id":1,"role":2}'))


def test_counts_of_its_own() -> None:
    """What the provider counts by a name of its own is an extra, where it counted anything."""
    counted = {
        "cache_creation": {"ephemeral_1h_input_tokens": 7, "ephemeral_5m_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    }
    nothing = {"cache_creation": {"ephemeral_5m_input_tokens": 0}, "server_tool_use": None}
    for usage, extras in ((counted, counted), (nothing, {})):
        reply = orjson.dumps({"content": [], "usage": {"input_tokens": 1, **usage}})
        assert provider().parse(Request(NEW, HI, {}), WireReply(200, {}, reply)).extras == extras


def test_a_streamed_call_without_arguments() -> None:
    """A call that streams no arguments has an empty object, as one that is not streamed."""
    use = {"type": "tool_use", "id": "a", "name": "now", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": ""}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    reader = provider().stream(Request(NEW, HI, {}, stream=True), {})
    for event in events:
        reader.feed(b"data: %s\n\n" % orjson.dumps(event))
    (call,) = reader.finish().tool_calls
    assert call["function"] == {"name": "now", "arguments": "{}"}


def test_limits_in_headers() -> None:
    """The account's limits are read from the provider's headers, moments as seconds from now."""
    prefix = "anthropic-ratelimit-"
    headers = {
        f"{prefix}requests-limit": "50",
        f"{prefix}requests-remaining": "49",
        f"{prefix}requests-reset": "2026-11-22T12:00:01Z",
        f"{prefix}tokens-limit": "80000",
        f"{prefix}tokens-remaining": "79000",
        f"{prefix}tokens-reset": "2026-11-22T11:00:00Z",
        f"{prefix}input-tokens-limit": "40000",
    }
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert rate_info(headers, now) == RateInfo(50, 49, 1.0, 80000, 79000, 0.0, None)
    assert rate_info({f"{prefix}input-tokens-limit": "40000"}, now) == RateInfo(limit_tokens=40000)
    assert rate_info({"retry-after": "3"}, now) == RateInfo(retry_after_s=3.0)
    assert rate_info({f"{prefix}requests-limit": "many"}, now) is None
    assert rate_info({}) is None
