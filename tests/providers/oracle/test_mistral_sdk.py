"""Mistral's own SDK as the judge of what is sent and of how a reply is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from mistralai.client import Mistral as Sdk
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.mistral.provider import Mistral

KEY = "key"
REPLIES = Path(__file__).parent.parent / "replies" / "mistral"
MODEL = "mistral-small-latest"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
IMAGE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}
]
CALL = {"id": "D681PevKs", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANSWERED = [
    *HI,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "D681PevKs", "content": "42"},
]

CASES: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request(MODEL, HI, {}), {}),
    "system": (
        Request(MODEL, [{"role": "developer", "content": "Brief."}, *HI], {}),
        {"messages": [{"role": "system", "content": "Brief."}, *HI]},
    ),
    "sampling": (
        Request(MODEL, HI, {"temperature": 0.3, "top_p": 0.5, "max_tokens": 9, "stop": ["X"]}),
        {"temperature": 0.3, "top_p": 0.5, "max_tokens": 9, "stop": ["X"]},
    ),
    "seed": (Request(MODEL, HI, {"seed": 7, "n": 2}), {"random_seed": 7, "n": 2}),
    "penalties": (
        Request(MODEL, HI, {"presence_penalty": 0.5, "frequency_penalty": 0.1}),
        {"presence_penalty": 0.5, "frequency_penalty": 0.1},
    ),
    "tools": (
        Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "required"}),
        {"tools": [TOOL], "tool_choice": "required"},
    ),
    "tool_result": (Request(MODEL, ANSWERED, {}), {"messages": ANSWERED}),
    "image": (Request(MODEL, IMAGE, {}), {"messages": IMAGE}),
    "document": (
        Request(
            MODEL,
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {
                                "file_data": "data:application/pdf;base64,JVBERg==",
                                "filename": "a.pdf",
                            },
                        }
                    ],
                }
            ],
            {},
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document_url",
                            "document_url": "data:application/pdf;base64,JVBERg==",
                            "document_name": "a.pdf",
                        }
                    ],
                }
            ]
        },
    ),
    "audio": (
        Request(
            MODEL,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
                    ],
                }
            ],
            {},
        ),
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": "UklG"}]}
            ]
        },
    ),
    "schema": (
        Request(
            MODEL,
            HI,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "reasoning": (
        Request("magistral-small", HI, {"prompt_mode": "reasoning", "reasoning_effort": "high"}),
        {"prompt_mode": "reasoning", "reasoning_effort": "high"},
    ),
}


@asynccontextmanager
async def answered(body: bytes, content_type: str = "application/json") -> AsyncIterator[Server]:
    """A server that gives this one answer."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": content_type})

    async with serve(answer) as server:
        yield server


def recorded(*, streamed: bool) -> list[Any]:
    """The recorded replies that are answers, by name."""
    found = {path.name: orjson.loads(path.read_bytes()) for path in sorted(REPLIES.glob("*.json"))}
    return [
        pytest.param(case, id=name)
        for name, case in found.items()
        if "expect" in case and name.endswith(".stream.json") == streamed
    ]


def ours(url: str = "https://api.mistral.ai") -> Mistral:
    return Mistral(Settings("mistral", f"{url}/v1", KEY))


def said(value: Any) -> Any:
    """The value without what says nothing: nulls, and `false` for what is false by default."""
    if isinstance(value, dict):
        kept = {name: said(inner) for name, inner in value.items()}
        return {
            name: inner
            for name, inner in kept.items()
            if inner is not None
            and not (name in ("stream", "prefix", "strict", "index") and not inner)
        }
    return [said(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
async def test_the_sdk_sends_the_same(name: str) -> None:
    """The SDK, asked for the same, sends the same request as we do."""
    request, asked = CASES[name]
    body = orjson.dumps(orjson.loads((REPLIES / "ok.json").read_bytes())["body"])
    async with (
        answered(body) as server,
        Sdk(api_key=KEY, server_url=server.url, timeout_ms=20_000) as sdk,
    ):
        await sdk.chat.complete_async(**{"model": request.model, "messages": HI, **asked})
        theirs = server.exchanges[0]
        wire = ours(server.url).build(request)
    assert (theirs.method, server.url + theirs.path) == (wire.method, wire.url)
    assert said(orjson.loads(theirs.body)) == said(orjson.loads(wire.body))
    for header in ("authorization", "content-type", "accept"):
        assert theirs.header(header) == wire.headers[header]


async def test_the_sdk_asks_for_a_stream_the_same() -> None:
    """The SDK, asked for a stream, sends the same request as we do."""
    data = orjson.loads((REPLIES / "ok.stream.json").read_bytes())["stream"].encode()
    async with (
        answered(data, "text/event-stream") as server,
        Sdk(api_key=KEY, server_url=server.url, timeout_ms=20_000) as sdk,
    ):
        stream = await sdk.chat.stream_async(model=MODEL, messages=HI)
        texts = [event.data.choices[0].delta.content async for event in stream]
        theirs = server.exchanges[0]
    wire = ours(server.url).build(Request(MODEL, HI, {}, stream=True))
    assert server.url + theirs.path == wire.url
    assert said(orjson.loads(theirs.body)) == said(orjson.loads(wire.body))
    reader = ours().stream(Request(MODEL, HI, {}, stream=True), {})
    assert reader.feed(data) == "".join(text for text in texts if isinstance(text, str))


@pytest.mark.parametrize("case", recorded(streamed=False))
async def test_the_sdk_reads_the_same(case: Any) -> None:
    """The SDK and we find the same in the same reply."""
    body = orjson.dumps(case["body"])
    async with (
        answered(body) as server,
        Sdk(api_key=KEY, server_url=server.url, timeout_ms=20_000) as sdk,
    ):
        reply = await sdk.chat.complete_async(model=MODEL, messages=HI)
    completion = ours().parse(Request(MODEL, HI, {}), WireReply(200, {}, body))
    first = reply.choices[0]
    assert first.message is not None
    content = first.message.content
    if isinstance(content, list):
        content = "".join(part.text for part in content if part.type == "text")
    assert completion.text == content
    assert completion.native_finish_reason == first.finish_reason
    assert (completion.response_id, completion.model) == (reply.id, reply.model)
    calls = first.message.tool_calls or []
    assert [call["id"] for call in completion.tool_calls] == [call.id for call in calls]
    assert completion.usage is not None
    assert completion.usage.total_tokens == reply.usage.total_tokens
