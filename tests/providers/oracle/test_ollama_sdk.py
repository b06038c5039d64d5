"""Ollama's own Python client as the judge of what is sent to it and of how its reply is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ollama
import orjson
import pytest
from ollama._client import _parse_host
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.ollama.provider import OPTIONS, Ollama, address

MODEL = "llama3.2"
REPLIES = Path(__file__).parent.parent / "replies" / "ollama"
OK = orjson.dumps(orjson.loads((REPLIES / "ok.json").read_bytes())["body"])
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
NAMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "1"}'}}

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
                "frequency_penalty": 0.25,
                "extra_body": {"num_ctx": 8192, "top_k": 40},
            },
        ),
        {
            "messages": HI,
            "options": {
                "temperature": 0.2,
                "top_p": 0.9,
                "num_predict": 64,
                "stop": ["END"],
                "seed": 7,
                "presence_penalty": 0.5,
                "frequency_penalty": 0.25,
                "num_ctx": 8192,
                "top_k": 40,
            },
        },
    ),
    "options": (
        Request(MODEL, HI, {"seed": 1, "extra_body": {"options": {"num_gpu": 0}}}),
        {"messages": HI, "options": {"seed": 1, "num_gpu": 0}},
    ),
    "keep_alive": (
        Request(MODEL, HI, {"extra_body": {"keep_alive": "10m"}}),
        {"messages": HI, "keep_alive": "10m"},
    ),
    "logprobs": (
        Request(MODEL, HI, {"logprobs": True, "top_logprobs": 3}),
        {"messages": HI, "logprobs": True, "top_logprobs": 3},
    ),
    "image": (
        Request(
            MODEL,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                }
            ],
            {},
        ),
        {"messages": [{"role": "user", "content": "Look", "images": [PNG]}]},
    ),
    "tools": (
        Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "auto"}),
        {"messages": HI, "tools": [TOOL]},
    ),
    "tool_none": (Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "none"}), {"messages": HI}),
    "tool_results": (
        Request(
            MODEL,
            [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "two"},
            ],
            {},
        ),
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"a": "1"}}}],
                },
                {"role": "tool", "content": "two", "tool_name": "f"},
            ]
        },
    ),
    "json": (
        Request(MODEL, HI, {"response_format": {"type": "json_object"}}),
        {"messages": HI, "format": "json"},
    ),
    "json_schema": (
        Request(MODEL, HI, {"response_format": NAMED}),
        {"messages": HI, "format": SCHEMA},
    ),
    "think_off": (
        Request(MODEL, HI, {"reasoning_effort": "none"}),
        {"messages": HI, "think": False},
    ),
    "think_high": (
        Request(
            MODEL,
            [*HI, {"role": "assistant", "reasoning": "Hm.", "content": "Ho"}, *HI],
            {"reasoning_effort": "high"},
        ),
        {
            "messages": [*HI, {"role": "assistant", "content": "Ho", "thinking": "Hm."}, *HI],
            "think": "high",
        },
    ),
}


@asynccontextmanager
async def recorder(
    body: bytes = OK, kind: str = "application/json"
) -> AsyncIterator[tuple[Server, ollama.AsyncClient]]:
    """A server that answers all with this body, and the client pointed at it."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": kind})

    async with serve(answer) as server, ollama.AsyncClient(server.url) as client:
        yield server, client


def ours(url: str, request: Request) -> tuple[str, str, Any]:
    wire = Ollama(Settings("ollama", url)).build(request)
    body = orjson.loads(wire.body)
    # The server knows the ids of calls, this client does not.
    for message in body["messages"]:
        message.pop("tool_call_id", None)
        for call in message.get("tool_calls", ()):
            call.pop("id", None)
    return wire.method, wire.url.removeprefix(url), body


def theirs(exchange: Exchange) -> tuple[str, str, Any]:
    body = orjson.loads(exchange.body)
    if body.get("tools") == []:
        del body["tools"]
    for message in body["messages"]:
        message.setdefault("content", "")  # the client leaves an empty one out
    return exchange.method, exchange.path, body


@pytest.mark.parametrize("name", CASES)
async def test_the_same_request(name: str) -> None:
    """What is sent is what Ollama's client sends when it is told the same."""
    request, fields = CASES[name]
    async with recorder() as (server, client):
        await client.chat(model=request.model, **fields)
        assert ours(server.url, request) == theirs(server.exchanges[0])


@pytest.mark.parametrize("name", ["basic.stream", "thinking.stream", "tools.stream"])
async def test_the_same_stream(name: str) -> None:
    """A streamed request and its lines mean the same to Ollama's client."""
    data = orjson.loads((REPLIES / f"{name}.json").read_bytes())["stream"].encode()
    request = Request(MODEL, HI, {}, stream=True)
    text = thinking = ""
    called = 0
    async with recorder(data, "application/x-ndjson") as (server, client):
        async for piece in await client.chat(model=MODEL, messages=HI, stream=True):
            text += piece.message.content or ""
            thinking += piece.message.thinking or ""
            called += len(piece.message.tool_calls or ())
        assert ours(server.url, request) == theirs(server.exchanges[0])
    stream = Ollama(Settings("ollama", "http://localhost")).stream(request, {})
    stream.feed(data)
    found = stream.finish()
    assert (found.text or "", found.reasoning or "") == (text, thinking)
    assert len(found.tool_calls) == called


@pytest.mark.parametrize("name", ["ok", "thinking", "tools", "text_and_tools", "cut_off"])
async def test_the_same_answer(name: str) -> None:
    """A reply is read as Ollama's client reads it: text, thoughts, reason, counts, calls."""
    data = orjson.dumps(orjson.loads((REPLIES / f"{name}.json").read_bytes())["body"])
    provider = Ollama(Settings("ollama", "http://localhost"))
    mine = provider.parse(Request(MODEL, HI, {}), WireReply(200, {}, data))
    async with recorder(data) as (_, client):
        found = await client.chat(model=MODEL, messages=HI)
    assert (mine.text or "") == found.message.content
    assert mine.reasoning == found.message.thinking
    assert (mine.native_finish_reason, mine.model) == (found.done_reason, found.model)
    assert mine.usage
    assert mine.usage.prompt_tokens == found.prompt_eval_count
    assert mine.usage.completion_tokens == found.eval_count
    functions = [call["function"] for call in mine.tool_calls]
    calls = found.message.tool_calls or ()
    assert [(one["name"], orjson.loads(one["arguments"])) for one in functions] == [
        (call.function.name, call.function.arguments) for call in calls
    ]


def test_every_option_is_known() -> None:
    """Whatever the client takes as an option finds its place under options."""
    assert set(ollama.Options.model_fields) <= OPTIONS


@pytest.mark.parametrize(
    "host",
    [
        *("", "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4"),
        *("https://1.2.3.4:56789", "example.com", "example.com/", "example.com:56789/path"),
        *("example.com/path", "[0001:002:003:0004::1]", "[::1]:56789/path/", "https://[::1]"),
    ],
)
def test_the_same_address(host: str) -> None:
    """OLLAMA_HOST is read as the client reads it, but for the port that the scheme implies."""
    scheme, _, rest = _parse_host(host).partition("://")
    implied = {"http": ":80", "https": ":443"}[scheme]
    assert address(host) == f"{scheme}://{rest.removesuffix(implied)}"
