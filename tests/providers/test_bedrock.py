"""What is sent to Bedrock's Converse, and with which credentials."""

import struct
from typing import Any
from zlib import crc32

import orjson
import pytest
from support.event_frames import event_frame

from llmbatch_cli.core.errors import BadReply, UnsupportedParameter, UsageError
from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.bedrock.aws import Frames
from llmbatch_cli.providers.bedrock.provider import Bedrock

TEMPLATE = "https://bedrock-runtime.{region}.amazonaws.com"
REGION = {"AWS_REGION": "eu-central-1"}
CLAUDE, NEWEST, NOVA = (
    "us.anthropic.claude-opus-4-6-v1",
    "anthropic.claude-opus-5-5",
    "amazon.nova-lite-v1:0",
)
OLDER = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HI = [{"role": "user", "content": "Hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
}


def provider(**environ: str) -> Bedrock:
    return Bedrock(Settings("bedrock", TEMPLATE, "bedrock-key", {**REGION, **environ}))


def body(messages: Any = None, model: str = NOVA, **params: Any) -> Any:
    return orjson.loads(provider().build(Request(model, messages or HI, params)).body)


def said(model: str = NOVA, **params: Any) -> dict[str, Any]:
    """What the parameters add to the body."""
    found: dict[str, Any] = body(model=model, **params)
    del found["messages"]
    return found


def test_the_plainest_request() -> None:
    """A prompt goes to the model's own address in the region, with the bearer key."""
    wire = provider().build(Request(NOVA, HI, {}))
    assert wire.method == "POST"
    assert wire.url == (
        "https://bedrock-runtime.eu-central-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse"
    )
    assert wire.headers["authorization"] == "Bearer bedrock-key"
    assert orjson.loads(wire.body) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    streaming = provider().build(Request("arn:aws:bedrock:a/b", HI, {}, stream=True))
    assert streaming.url.endswith("/model/arn%3Aaws%3Abedrock%3Aa%2Fb/converse-stream")


def test_the_region_is_wanted() -> None:
    """Without a region there is no address, and the error names the variable."""
    with pytest.raises(UsageError, match="region") as caught:
        Bedrock(Settings("bedrock", TEMPLATE, "k", {}))
    assert "AWS_REGION" in (caught.value.hint or "")
    moved = Bedrock(Settings("bedrock", "http://localhost:1/", "k", {"AWS_DEFAULT_REGION": "x"}))
    assert moved.base_url == "http://localhost:1"


def test_messages() -> None:
    """System prompts are lifted out, neighbours merged, and every part has its block."""
    messages = [
        {
            "role": "system",
            "content": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": PNG}},
                {
                    "type": "file",
                    "file": {
                        "file_data": "data:application/pdf;base64,JVBERg==",
                        "filename": "a_b.pdf",
                    },
                },
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "image_url", "image_url": {"url": "data:video/mp4;base64,AAAA"}},
                {"guardContent": {"text": {"text": "x"}}},
            ],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t", "content": "1"},
        {"role": "developer", "content": "B"},
        {
            "role": "user",
            "content": "And?",
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ]
    found = body(messages)
    assert found["system"] == [{"text": "A"}, {"cachePoint": {"type": "default"}}, {"text": "B"}]
    assert found["messages"] == [
        {
            "role": "user",
            "content": [
                {"text": "Look"},
                {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
                {
                    "document": {
                        "format": "pdf",
                        "name": "a b pdf",
                        "source": {"bytes": "JVBERg=="},
                    }
                },
                {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}},
                {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
                {"guardContent": {"text": {"text": "x"}}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t", "content": [{"text": "1"}]}},
                {"text": "And?"},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
            ],
        },
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:font/woff;base64,AA=="}}],
        },
        {"role": "user", "content": [{"type": "video_url"}]},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}],
        },
        {"role": "user", "content": "Hi", "images": ["AA"]},
        {"role": "assistant", "content": "Hi", "name": "ann"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"},
        {"role": "assistant", "content": "Hi", "thinking_blocks": "Hm"},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "function", "content": "1"},
        {"role": "tool", "content": "1"},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
    ],
)
def test_what_no_message_can_say(message: Any) -> None:
    """A message that Converse does not support is an error before anything is sent."""
    with pytest.raises(UsageError):
        body([message])


def test_thinking_goes_back_as_it_came() -> None:
    """Thinking stands before the calls, with its signature, in Converse's own words."""
    message = {
        "role": "assistant",
        "content": "",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm.", "signature": "EqoB"},
            {"type": "redacted_thinking", "data": "AAAA"},
        ],
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
    }
    assert body([*HI, message])["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "EqoB"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
    ]


def test_what_no_tool_can_say() -> None:
    """A function's field that has no form here is told, not dropped."""
    with pytest.raises(UsageError, match="examples"):
        body(tools=[{"type": "function", "function": {"name": "f", "examples": [1]}}])


def test_parameters() -> None:
    """Sampling, tools and a schema are said in Converse's own form; extra_body adds to them."""
    schema = {"type": "object", "properties": {}}
    found = said(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop="X",
        n=1,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        extra_body={
            "additionalModelRequestFields": {"top_k": 3},
            "inferenceConfig": {"maxTokens": 8},
        },
    )
    spec = {
        "name": "f",
        "description": "d",
        "strict": True,
        "inputSchema": {"json": {"type": "object"}},
    }
    structure = {"jsonSchema": {"schema": orjson.dumps(schema).decode(), "name": "n"}}
    assert found == {
        "inferenceConfig": {
            "maxTokens": 8,
            "temperature": 0.5,
            "topP": 0.9,
            "stopSequences": ["X"],
        },
        "toolConfig": {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "f"}}},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}},
        "additionalModelRequestFields": {"top_k": 3},
    }
    assert said(max_tokens=-1) == {}
    assert said(tool_choice="required") == {"toolConfig": {"toolChoice": {"any": {}}}}
    assert said(response_format={"type": "text"}) == {}


def test_thinking() -> None:
    """Claude thinks here as it does at home, said among the model's own parameters."""
    assert said(CLAUDE, reasoning_effort="high") == {
        "additionalModelRequestFields": {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
        }
    }
    assert said(OLDER, reasoning_effort="low", max_tokens=5000) == {
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2500}},
        "inferenceConfig": {"maxTokens": 5000},
    }
    assert said(OLDER, reasoning_effort="none") == {}


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (NOVA, {"n": 2}),
        (NOVA, {"seed": 1}),
        (NOVA, {"presence_penalty": 1}),
        (NOVA, {"frequency_penalty": 1}),
        (NOVA, {"logit_bias": {"1": 2}}),
        (NOVA, {"logprobs": True}),
        (NOVA, {"top_logprobs": 1}),
        (NOVA, {"user": "u"}),
        (NOVA, {"parallel_tool_calls": False}),
        (NOVA, {"reasoning_effort": "low"}),
        (NOVA, {"tool_choice": "none"}),
        (NOVA, {"response_format": {"type": "json_object"}}),
        (NEWEST, {"temperature": 0}),
        (NEWEST, {"top_p": 0.5}),
        (OLDER, {"top_p": 0.5, "temperature": 0}),
        (NEWEST, {"tool_choice": "required"}),
    ],
)
def test_unsupported(model: str, params: dict[str, Any]) -> None:
    """What Converse does not support is refused by its name, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(model=model, **params)
    assert caught.value.parameter == next(iter(params))


def test_extra_headers_reach_the_wire() -> None:
    """extra_headers stand among the headers, and the key stays."""
    wire = provider().build(Request(NOVA, HI, {"extra_headers": {"x-a": "b"}}))
    assert (wire.headers["x-a"], wire.headers["authorization"]) == ("b", "Bearer bedrock-key")


async def test_a_key_needs_no_credentials() -> None:
    """With a bearer key nothing else is looked for."""
    async with provider().serving(ignore) as send:
        assert send is None


def test_damaged_frames_are_noticed() -> None:
    """A frame whose sum is wrong, or that is none, is a bad reply, not a wrong answer."""
    good = event_frame({":message-type": "event"}, {"a": 1})
    assert Frames().feed(good)[0].payload == b'{"a":1}'
    for place in (0, 9, 20, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(BadReply):
            Frames().feed(bytes(bad))


def test_headers_of_every_type_are_passed_over() -> None:
    """Headers that are no texts do not hide those behind them."""
    head = b"".join(
        [
            b"\x01a\x00",
            b"\x01b\x02\x01",
            b"\x01c\x04\x00\x00\x00\x01",
            b"\x01d\x06\x00\x02xy",
            b"\x01e\x09" + bytes(16),
            b"\x01f\x07\x00\x03yes",
        ]
    )
    prelude = struct.pack(">II", 16 + len(head), len(head))
    frame = prelude + struct.pack(">I", crc32(prelude)) + head
    frame += struct.pack(">I", crc32(frame))
    assert Frames().feed(frame)[0].headers == {"f": "yes"}
    for kind in (b"\x0b", b""):
        bad = b"\x01a" + kind
        prelude = struct.pack(">II", 16 + len(bad), len(bad))
        broken = prelude + struct.pack(">I", crc32(prelude)) + bad
        with pytest.raises(BadReply, match="broken header"):
            Frames().feed(broken + struct.pack(">I", crc32(broken)))
