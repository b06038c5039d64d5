"""Cohere's own SDK as the judge of what is sent to it and of how its reply is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cohere
import httpx
import orjson
import pytest
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.cohere.provider import Cohere

KEY = "a-key"
MODEL, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"
REPLIES = Path(__file__).parent.parent / "replies" / "cohere"
OK = orjson.dumps(orjson.loads((REPLIES / "ok.json").read_bytes())["body"])
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "1"}'}}
TURNS: list[dict[str, Any]] = [
    *HI,
    {"role": "assistant", "tool_plan": "I will call f.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "two"},
]
NAMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

CASES: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request(MODEL, HI, {}), {"messages": HI}),
    "system": (
        Request(MODEL, [{"role": "developer", "content": "Brief."}, *HI], {}),
        {"messages": [{"role": "system", "content": "Brief."}, *HI]},
    ),
    "turns": (
        Request(MODEL, [*HI, {"role": "assistant", "content": "Ho"}, *HI], {}),
        {"messages": [*HI, {"role": "assistant", "content": "Ho"}, *HI]},
    ),
    "sampling": (
        Request(
            MODEL,
            HI,
            {
                "temperature": 0.2,
                "top_p": 0.9,
                "max_tokens": 64,
                "stop": "END",
                "seed": 7,
                "n": 1,
                "presence_penalty": 0.5,
                "extra_body": {"k": 40},
            },
        ),
        {
            "messages": HI,
            "temperature": 0.2,
            "p": 0.9,
            "max_tokens": 64,
            "stop_sequences": ["END"],
            "seed": 7,
            "presence_penalty": 0.5,
            "k": 40,
        },
    ),
    "frequency": (
        Request(MODEL, HI, {"frequency_penalty": 0.5, "stop": ["A", "B"]}),
        {"messages": HI, "frequency_penalty": 0.5, "stop_sequences": ["A", "B"]},
    ),
    "logprobs": (Request(MODEL, HI, {"logprobs": True}), {"messages": HI, "logprobs": True}),
    "image": (
        Request(
            MODEL,
            [{"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]}],
            {},
        ),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]}]},
    ),
    "tools": (Request(MODEL, HI, {"tools": [TOOL]}), {"messages": HI, "tools": [TOOL]}),
    "strict_tools": (
        Request(
            MODEL,
            HI,
            {
                "tools": [{"type": "function", "function": {**TOOL["function"], "strict": True}}],  # type: ignore[dict-item] # a literal of mixed values
                "tool_choice": "required",
            },
        ),
        {"messages": HI, "tools": [TOOL], "strict_tools": True, "tool_choice": "REQUIRED"},
    ),
    "tool_none": (
        Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "none"}),
        {"messages": HI, "tools": [TOOL], "tool_choice": "NONE"},
    ),
    "tool_auto": (
        Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True}),
        {"messages": HI, "tools": [TOOL]},
    ),
    "tool_results": (Request(MODEL, TURNS, {}), {"messages": TURNS}),
    "json": (
        Request(MODEL, HI, {"response_format": {"type": "json_object"}}),
        {"messages": HI, "response_format": {"type": "json_object"}},
    ),
    "json_schema": (
        Request(MODEL, HI, {"response_format": NAMED}),
        {"messages": HI, "response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    "thinking": (
        Request(
            THINKER,
            HI,
            {"reasoning_effort": "high", "extra_body": {"thinking": {"token_budget": 500}}},
        ),
        {"messages": HI, "thinking": cohere.Thinking(type="enabled", token_budget=500)},
    ),
    "no_thinking": (
        Request(THINKER, HI, {"reasoning_effort": "none"}),
        {"messages": HI, "thinking": cohere.Thinking(type="disabled")},
    ),
    "documents": (
        Request(MODEL, HI, {"extra_body": {"documents": ["A"], "safety_mode": "STRICT"}}),
        {"messages": HI, "documents": ["A"], "safety_mode": "STRICT"},
    ),
}


@asynccontextmanager
async def recorder(
    body: bytes = OK, kind: str = "application/json"
) -> AsyncIterator[tuple[Server, Any]]:
    """A server that answers all with this body, and the SDK pointed at it, its types unchecked."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": kind})

    async with serve(answer) as server, httpx.AsyncClient() as http:
        yield server, cohere.AsyncClientV2(KEY, base_url=server.url, httpx_client=http)


def ours(url: str, request: Request) -> tuple[str, str, str | None, Any]:
    wire = Cohere(Settings("cohere", f"{url}/v2", KEY)).build(request)
    path = wire.url.removeprefix(url)
    return wire.method, path, wire.headers.get("authorization"), orjson.loads(wire.body)


def theirs(exchange: Exchange) -> tuple[str, str, str | None, Any]:
    body = orjson.loads(exchange.body)
    return exchange.method, exchange.path, exchange.header("authorization"), body


@pytest.mark.parametrize("name", CASES)
async def test_the_same_request(name: str) -> None:
    """What is sent is what Cohere's SDK sends when it is told the same."""
    request, fields = CASES[name]
    async with recorder() as (server, client):
        await client.chat(model=request.model, **fields)
        assert ours(server.url, request) == theirs(server.exchanges[0])


STREAMS = ["basic.stream", "thinking.stream", "tools.stream", "citations.stream"]


@pytest.mark.parametrize("name", STREAMS)
async def test_the_same_stream(name: str) -> None:
    """A streamed request and its events mean the same to Cohere's SDK."""
    data = orjson.loads((REPLIES / f"{name}.json").read_bytes())["stream"].encode()
    request = Request(MODEL, HI, {}, stream=True)
    text = thinking = arguments = ""
    async with recorder(data, "text/event-stream") as (server, client):
        async for event in client.chat_stream(model=MODEL, messages=HI):
            if event.type == "content-delta":
                text += event.delta.message.content.text or ""
                thinking += event.delta.message.content.thinking or ""
            if event.type == "tool-call-delta":
                arguments += event.delta.message.tool_calls.function.arguments
        assert ours(server.url, request) == theirs(server.exchanges[0])
    stream = Cohere(Settings("cohere", "http://localhost", KEY)).stream(request, {})
    stream.feed(data)
    found = stream.finish()
    assert (found.text or "", found.reasoning or "") == (text, thinking)
    assert "".join(call["function"]["arguments"] for call in found.tool_calls) == arguments


ANSWERS = ["ok", "parts", "floats", "tools", "citations", "thinking", "logprobs", "cut_off"]


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_same_answer(name: str) -> None:
    """A reply is read as Cohere's SDK reads it: text, finish, usage, calls, citations, id."""
    data = orjson.dumps(orjson.loads((REPLIES / f"{name}.json").read_bytes())["body"])
    provider = Cohere(Settings("cohere", "http://localhost", KEY))
    mine = provider.parse(Request(MODEL, HI, {}), WireReply(200, {}, data))
    async with recorder(data) as (_, client):
        found = await client.chat(model=MODEL, messages=HI)
    blocks = found.message.content or []
    assert (mine.text or "") == "".join(b.text for b in blocks if b.type == "text")
    assert (mine.reasoning or "") == "".join(b.thinking for b in blocks if b.type == "thinking")
    assert (mine.native_finish_reason, mine.response_id) == (found.finish_reason, found.id)
    calls = [call.model_dump(exclude_none=True) for call in found.message.tool_calls or []]
    assert list(mine.tool_calls) == calls
    citations = mine.extras.get("citations", [])
    assert [one["text"] for one in citations] == [c.text for c in found.message.citations or []]
    assert found.usage
    assert found.usage.tokens
    assert mine.usage
    assert mine.usage.prompt_tokens == found.usage.tokens.input_tokens
    assert mine.usage.completion_tokens == found.usage.tokens.output_tokens
    assert mine.usage.cached_tokens == found.usage.cached_tokens
