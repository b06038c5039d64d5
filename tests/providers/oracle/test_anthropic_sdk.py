"""Anthropic's own SDK as the judge of what is sent and of how a reply is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.later import Later
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.anthropic.models import MAX_TOKENS_AT_ONCE
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Settings

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Later("anthropic")

KEY = "sk-ant-key"
OLD, NEW = "claude-haiku-4-5", "claude-opus-5-5"
REPLIES = Path(__file__).parent.parent / "replies" / "anthropic"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
PNG = "iVBORw0KGgo="
PNG_SOURCE = {"type": "base64", "media_type": "image/png", "data": PNG}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": SCHEMA},
}


def parts(*found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(found)}]


CASES: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request(NEW, HI, {"max_tokens": 9}), {"messages": HI, "max_tokens": 9}),
    "default_bound": (Request(NEW, HI, {}), {"messages": HI, "max_tokens": 21_333}),
    "system": (
        Request(NEW, [{"role": "system", "content": "Brief."}, *HI], {"max_tokens": 9}),
        {"messages": HI, "system": "Brief.", "max_tokens": 9},
    ),
    "two_systems": (
        Request(
            OLD,
            [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, *HI],
            {"max_tokens": 9},
        ),
        {
            "messages": HI,
            "system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
            "max_tokens": 9,
        },
    ),
    "sampling": (
        Request(OLD, HI, {"temperature": 0.2, "top_p": 1, "stop": ["X"], "max_tokens": 9}),
        {
            "messages": HI,
            "stop_sequences": ["X"],
            "max_tokens": 9,
            "extra_body": {"temperature": 0.2},
        },
    ),
    "user": (
        Request(OLD, HI, {"user": "u", "max_tokens": 9}),
        {"messages": HI, "metadata": {"user_id": "u"}, "max_tokens": 9},
    ),
    "image_base64": (
        Request(
            NEW,
            parts({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
            {"max_tokens": 9},
        ),
        {"messages": parts({"type": "image", "source": PNG_SOURCE}), "max_tokens": 9},
    ),
    "image_url": (
        Request(
            NEW,
            parts({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
            {"max_tokens": 9},
        ),
        {
            "messages": parts(
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
            ),
            "max_tokens": 9,
        },
    ),
    "pdf": (
        Request(
            NEW,
            parts(
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a"},
                }
            ),
            {"max_tokens": 9},
        ),
        {
            "messages": parts(
                {
                    "type": "document",
                    "source": {
                        "type": "base64",
                        "media_type": "application/pdf",
                        "data": "JVBERg==",
                    },
                    "title": "a",
                }
            ),
            "max_tokens": 9,
        },
    ),
    "cache": (
        Request(
            NEW,
            parts({"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}),
            {"max_tokens": 9},
        ),
        {
            "messages": parts(
                {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}
            ),
            "max_tokens": 9,
        },
    ),
    "tools": (
        Request(
            OLD,
            HI,
            {
                "tools": [OPENAI_TOOL],
                "tool_choice": "required",
                "parallel_tool_calls": False,
                "max_tokens": 9,
            },
        ),
        {
            "messages": HI,
            "tools": [TOOL],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "max_tokens": 9,
        },
    ),
    "tool_result": (
        Request(
            OLD,
            [
                *HI,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "t",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"a": "b"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "t", "content": "1"},
            ],
            {"tools": [OPENAI_TOOL], "max_tokens": 9},
        ),
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}],
                },
            ],
            "tools": [TOOL],
            "max_tokens": 9,
        },
    ),
    "adaptive_thinking": (
        Request(NEW, HI, {"reasoning_effort": "high", "max_tokens": 9}),
        {
            "messages": HI,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "high"},
            "max_tokens": 9,
        },
    ),
    "budgeted_thinking": (
        Request(OLD, HI, {"reasoning_effort": "low", "max_tokens": 10_000}),
        {
            "messages": HI,
            "thinking": {"type": "enabled", "budget_tokens": 4096},
            "max_tokens": 10_000,
        },
    ),
    "schema": (
        Request(
            OLD,
            HI,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                },
                "max_tokens": 9,
            },
        ),
        {
            "messages": HI,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            "max_tokens": 9,
        },
    ),
    "stream": (
        Request(NEW, HI, {"max_tokens": 9}, stream=True),
        {"messages": HI, "max_tokens": 9, "stream": True},
    ),
}


@asynccontextmanager
async def answered(
    body: bytes, content_type: str = "application/json"
) -> AsyncIterator[tuple["anthropic.AsyncAnthropic", Server]]:
    """The SDK's client, at a server that gives this one answer."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": content_type})

    async with (
        serve(answer) as server,
        anthropic.AsyncAnthropic(
            api_key=KEY,
            base_url=server.url,
            max_retries=0,
            timeout=20,
            default_headers={"anthropic-version": "2023-06-01"},
        ) as client,
    ):
        yield client, server


def ours(url: str = "http://127.0.0.1:1") -> Anthropic:
    return Anthropic(Settings("anthropic", url, KEY))


def recorded(suffix: str) -> list[Any]:
    """The recorded replies that are answers, by name."""
    found = {path.name: orjson.loads(path.read_bytes()) for path in sorted(REPLIES.glob("*.json"))}
    return [
        pytest.param(case, id=name)
        for name, case in found.items()
        if "expect" in case and name.endswith(".stream.json") == (suffix == "stream")
    ]


def test_the_sdk_bounds_what_is_not_streamed_alike() -> None:
    """The default bound of a request that is not streamed is the most that the SDK sends so."""
    client = anthropic.Anthropic(api_key="sk-ant-key")
    client._calculate_nonstreaming_timeout(MAX_TOKENS_AT_ONCE, None)
    with pytest.raises(ValueError, match="Streaming is required"):
        client._calculate_nonstreaming_timeout(MAX_TOKENS_AT_ONCE + 1, None)


@pytest.mark.parametrize("name", CASES)
async def test_the_sdk_sends_the_same(name: str) -> None:
    """The SDK, asked for the same, sends the same request as we do."""
    request, asked = CASES[name]
    reply = (REPLIES / "ok.json").read_bytes()
    async with answered(orjson.dumps(orjson.loads(reply)["body"])) as (client, server):
        await client.messages.create(model=request.model, **asked)
        theirs = server.exchanges[0]
        wire = ours(server.url).build(request)
    assert (theirs.method, server.url + theirs.path) == (wire.method, wire.url)
    assert orjson.loads(theirs.body) == orjson.loads(wire.body)
    for header in ("anthropic-version", "content-type", "accept"):
        assert theirs.header(header) == wire.headers[header]
    # The SDK has sent the key as a bearer token since 2.0; the API takes both, x-api-key first.
    assert theirs.header("authorization") == f"Bearer {wire.headers['x-api-key']}"


def agree(message: "anthropic.types.Message", completion: Completion) -> None:
    """Assert that both read the reply alike."""
    texts = [block.text for block in message.content if block.type == "text"]
    assert (completion.text or "") == "".join(texts)
    assert completion.native_finish_reason == message.stop_reason
    assert (completion.response_id, completion.model) == (message.id, message.model)
    uses = [block for block in message.content if block.type == "tool_use"]
    called = [(call["id"], call["function"]["name"]) for call in completion.tool_calls]
    assert called == [(use.id, use.name) for use in uses]
    if message.stop_reason == "tool_use":
        given = [orjson.loads(call["function"]["arguments"]) for call in completion.tool_calls]
        assert given == [use.input for use in uses]
    usage, counted = message.usage, completion.usage
    assert counted is not None
    assert counted.completion_tokens == usage.output_tokens
    assert counted.cached_tokens == usage.cache_read_input_tokens
    assert counted.cache_write_tokens == usage.cache_creation_input_tokens
    cache = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert counted.prompt_tokens == usage.input_tokens + cache
    thought = usage.output_tokens_details
    assert counted.reasoning_tokens == (thought.thinking_tokens if thought else None)


@pytest.mark.parametrize("case", recorded("whole"))
async def test_the_sdk_reads_the_same(case: Any) -> None:
    """The SDK and we find the same in the same reply."""
    body = orjson.dumps(case["body"])
    async with answered(body) as (client, _):
        message = await client.messages.create(model=NEW, max_tokens=9, messages=[])
    completion = ours().parse(Request(NEW, HI, {}), WireReply(200, {}, body))
    agree(message, completion)


@pytest.mark.parametrize("case", recorded("stream"))
async def test_the_sdk_reads_the_same_stream(case: Any) -> None:
    """The SDK and we put the same message together from the same stream."""
    data = case["stream"].encode()
    async with (
        answered(data, "text/event-stream") as (client, _),
        client.messages.stream(model=NEW, max_tokens=9, messages=[]) as stream,
    ):
        message = await stream.get_final_message()
    reader = ours().stream(Request(NEW, HI, {}, stream=True), {})
    reader.feed(data)
    agree(message, reader.finish())
