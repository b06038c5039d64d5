"""OpenAI's own SDK as the judge of what is sent and of how a reply is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.later import Later
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.openai.azure import Azure
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.responses.provider import Responses

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

KEY = "sk-test-key"
OFFICIAL = "https://api.openai.com/v1"
REPLIES = Path(__file__).parent.parent / "replies"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}}
ANSWERED = [
    *HI,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "42"},
]
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


IMAGE = user(
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
)
AUDIO = user({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}})
FILE = user({"type": "file", "file": PDF})

CHAT: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request("gpt-4o", HI, {}), {}),
    "sampling": (
        Request("gpt-4o", HI, {"temperature": 0.2, "top_p": 0.9, "seed": 7, "stop": ["X"], "n": 2}),
        {"temperature": 0.2, "top_p": 0.9, "seed": 7, "stop": ["X"], "n": 2},
    ),
    "bound": (Request("gpt-5", HI, {"max_tokens": 9}), {"max_completion_tokens": 9}),
    "penalties": (
        Request(
            "gpt-4o",
            HI,
            {"presence_penalty": 0.5, "frequency_penalty": 0.1, "logit_bias": {"50256": -100}},
        ),
        {"presence_penalty": 0.5, "frequency_penalty": 0.1, "logit_bias": {"50256": -100}},
    ),
    "logprobs": (
        Request("gpt-4o", HI, {"logprobs": True, "top_logprobs": 2}),
        {"logprobs": True, "top_logprobs": 2},
    ),
    "tools": (
        Request(
            "gpt-4o",
            HI,
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "tool_result": (Request("gpt-4o", ANSWERED, {}), {"messages": ANSWERED}),
    "schema": (
        Request("gpt-4o", HI, {"response_format": FORMAT}),
        {"response_format": FORMAT},
    ),
    "effort": (
        Request("o3", HI, {"reasoning_effort": "low", "user": "u"}),
        {"reasoning_effort": "low", "user": "u"},
    ),
    "image": (Request("gpt-4o", IMAGE, {}), {"messages": IMAGE}),
    "audio": (
        Request("gpt-audio-mini", AUDIO, {"modalities": ["text"]}),
        {"messages": AUDIO, "modalities": ["text"]},
    ),
    "file": (Request("gpt-4o", FILE, {}), {"messages": FILE}),
    "own_parameter": (
        Request("gpt-5", HI, {"verbosity": "low", "service_tier": "flex"}),
        {"verbosity": "low", "service_tier": "flex"},
    ),
    "extra": (
        Request("gpt-4o", HI, {"extra_body": {"novel": 1}, "extra_headers": {"x-novel": "2"}}),
        {"extra_body": {"novel": 1}, "extra_headers": {"x-novel": "2"}},
    ),
    "stream": (
        Request("gpt-4o", HI, {}, stream=True),
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
}
"""Our request, and what the SDK is asked beside model and messages."""

FLAT_TOOL = {"type": "function", **FUNCTION}
RESPONSES: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request("o3-pro", HI, {}), {}),
    "instructions": (
        Request("o3-pro", [{"role": "system", "content": "Be brief."}, *HI], {"max_tokens": 9}),
        {"instructions": "Be brief.", "max_output_tokens": 9},
    ),
    "later_system": (
        Request("o3-pro", [*HI, {"role": "developer", "content": "Now rhyme."}], {}),
        {"input": [*HI, {"role": "developer", "content": "Now rhyme."}]},
    ),
    "effort": (
        Request(
            "gpt-5-pro",
            HI,
            {"reasoning_effort": "high", "extra_body": {"reasoning": {"summary": "auto"}}},
        ),
        {"reasoning": {"effort": "high", "summary": "auto"}},
    ),
    "schema": (
        Request("gpt-5-pro", HI, {"response_format": FORMAT, "extra_body": {"verbosity": "low"}}),
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
                "verbosity": "low",
            }
        },
    ),
    "tools": (
        Request(
            "gpt-5-codex",
            HI,
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        {"tools": [FLAT_TOOL], "tool_choice": {"type": "function", "name": "f"}},
    ),
    "tool_result": (
        Request("gpt-5-codex", ANSWERED, {"tools": [TOOL]}),
        {
            "input": [
                *HI,
                {
                    "type": "function_call",
                    "call_id": "call_1",
                    "name": "f",
                    "arguments": '{"a":"b"}',
                },
                {"type": "function_call_output", "call_id": "call_1", "output": "42"},
            ],
            "tools": [FLAT_TOOL],
        },
    ),
    "image": (
        Request("o3-pro", IMAGE, {}),
        {
            "input": user(
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
            )
        },
    ),
    "file": (
        Request("o3-pro", FILE, {}),
        {"input": user({"type": "input_file", **PDF})},
    ),
    "logprobs": (
        Request("gpt-4o", HI, {"logprobs": True, "top_logprobs": 3, "temperature": 0}),
        {"include": ["message.output_text.logprobs"], "top_logprobs": 3, "temperature": 0},
    ),
    "own_tool": (
        Request(
            "o3-deep-research", HI, {"tools": [{"type": "web_search"}], "metadata": {"a": "b"}}
        ),
        {"tools": [{"type": "web_search"}], "metadata": {"a": "b"}},
    ),
    "stream": (Request("o3-pro", HI, {}, stream=True), {"stream": True}),
}


@asynccontextmanager
async def answered(body: bytes, content_type: str = "application/json") -> AsyncIterator[Server]:
    """A server that gives this one answer."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": content_type})

    async with serve(answer) as server:
        yield server


def client(server: Server) -> "openai.AsyncOpenAI":
    return openai.AsyncOpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0, timeout=20)


def recorded(wire: str, *, streamed: bool) -> list[Any]:
    """The recorded replies that are answers, by name."""
    found = sorted((REPLIES / wire).glob("*.json"))
    cases = {path.name.removesuffix(".json"): orjson.loads(path.read_bytes()) for path in found}
    return [
        pytest.param(case, id=name)
        for name, case in cases.items()
        if "expect" in case and name.endswith(".stream") == streamed
        if not (streamed and case["headers"]["content-type"] == "application/json")
    ]


def ok(wire: str) -> bytes:
    return orjson.dumps(orjson.loads((REPLIES / wire / "ok.json").read_bytes())["body"])


def same(exchange: Exchange, provider: Provider, request: Request, base_url: str) -> None:
    """Assert that the SDK has sent what we build, but for the host."""
    wire = provider.build(request)
    assert exchange.method == wire.method
    assert exchange.path == wire.url.removeprefix(base_url)
    assert orjson.loads(exchange.body) == orjson.loads(wire.body)
    for name, value in wire.headers.items():
        if name != "user-agent" and not (name == "accept" and request.stream):
            assert exchange.header(name) == value, name


@pytest.mark.parametrize("name", CHAT)
async def test_the_sdk_sends_the_same_chat(name: str) -> None:
    """The SDK, asked for the same chat completion, sends the same request as we do."""
    request, asked = CHAT[name]
    async with answered(ok("openai")) as server, client(server) as sdk:
        await sdk.chat.completions.create(
            **{"model": request.model, "messages": request.messages, **asked}
        )
        same(
            server.exchanges[0],
            OpenAI(Settings("openai", OFFICIAL, KEY)),
            request,
            OFFICIAL.removesuffix("/v1"),
        )


@pytest.mark.parametrize("name", RESPONSES)
async def test_the_sdk_sends_the_same_response(name: str) -> None:
    """The SDK, asked for the same response, sends the same request as we do."""
    request, asked = RESPONSES[name]
    async with answered(ok("responses")) as server, client(server) as sdk:
        await sdk.responses.create(**{"model": request.model, "input": HI, "store": False, **asked})
        same(
            server.exchanges[0],
            Responses(Settings("openai", OFFICIAL, KEY)),
            request,
            OFFICIAL.removesuffix("/v1"),
        )


@pytest.mark.parametrize("name", ["plain", "bound", "tools", "stream"])
async def test_the_sdk_reaches_azure_the_same(name: str) -> None:
    """The SDK's Azure client sends the same request to the same deployment as we do."""
    request, asked = CHAT[name]
    version = "2024-10-21"
    async with (
        answered(ok("azure")) as server,
        openai.AsyncAzureOpenAI(
            api_key=KEY, azure_endpoint=server.url, api_version=version, max_retries=0
        ) as sdk,
    ):
        await sdk.chat.completions.create(
            **{"model": request.model, "messages": request.messages, **asked}
        )
        settings = Settings("azure", server.url, KEY, {"AZURE_OPENAI_API_VERSION": version})
        same(server.exchanges[0], Azure(settings), request, server.url)


def agree(message: Any, completion: Completion) -> None:
    """Assert that both read the chat completion alike."""
    first = message.choices[0]
    if isinstance(first.message.content, str):
        assert completion.text == first.message.content
    assert completion.native_finish_reason == first.finish_reason
    assert (completion.response_id, completion.model) == (message.id, message.model)
    theirs = [
        call.function.name for call in first.message.tool_calls or () if call.type != "custom"
    ]
    if first.message.function_call is not None:
        theirs = [first.message.function_call.name]
    named = [call["function"]["name"] for call in completion.tool_calls if "function" in call]
    assert named == theirs
    counted, usage = completion.usage, message.usage
    assert (counted is None) == (usage is None)
    if counted is not None:
        found = (counted.prompt_tokens, counted.completion_tokens, counted.total_tokens)
        assert found == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        details = usage.prompt_tokens_details
        assert counted.cached_tokens == (details.cached_tokens if details else None)
        assert counted.cache_write_tokens == (details.cache_write_tokens if details else None)


@pytest.mark.parametrize("case", recorded("openai", streamed=False))
async def test_the_sdk_reads_the_same_chat(case: Any) -> None:
    """The SDK and we find the same in the same chat completion."""
    body = orjson.dumps(case["body"])
    async with answered(body) as server, client(server) as sdk:
        message = await sdk.chat.completions.create(model="m", messages=[])
    provider = OpenAI(Settings("openai", OFFICIAL, KEY))
    agree(message, provider.parse(Request("m", HI, {}), WireReply(200, {}, body)))


@pytest.mark.parametrize("case", recorded("openai", streamed=True))
async def test_the_sdk_reads_the_same_chat_stream(case: Any) -> None:
    """The SDK's chunks hold the text and the usage that we put together."""
    data = case["stream"].encode()
    async with answered(data, "text/event-stream") as server, client(server) as sdk:
        stream = await sdk.chat.completions.create(model="m", messages=[], stream=True)
        chunks = [chunk async for chunk in stream]
    deltas = [
        choice.delta.content or ""
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == 0
    ]
    provider = OpenAI(Settings("openai", OFFICIAL, KEY))
    reader = provider.stream(Request("m", HI, case.get("request", {}).get("params", {}), True), {})
    told = reader.feed(data)
    completion = reader.finish()
    if "".join(deltas):
        assert told == completion.text == "".join(deltas)
    counted = [chunk.usage for chunk in chunks if chunk.usage]
    assert (completion.usage is None) == (not counted)
    if completion.usage is not None:
        assert completion.usage.total_tokens == counted[-1].total_tokens


@pytest.mark.parametrize("case", recorded("responses", streamed=False))
async def test_the_sdk_reads_the_same_response(case: Any) -> None:
    """The SDK and we find the same in the same response."""
    body = orjson.dumps(case["body"])
    async with answered(body) as server, client(server) as sdk:
        response = await sdk.responses.create(model="m", input="Hi")
    provider = Responses(Settings("openai", OFFICIAL, KEY))
    completion = provider.parse(Request("m", HI, {}), WireReply(200, {}, body))
    assert (completion.text or "") == response.output_text
    assert (completion.response_id, completion.model) == (response.id, response.model)
    calls = [item for item in response.output if item.type == "function_call"]
    given = [call["function"] for call in completion.tool_calls if call["type"] == "function"]
    assert given == [{"name": call.name, "arguments": call.arguments} for call in calls]
    assert completion.usage is not None
    assert response.usage is not None
    assert completion.usage.prompt_tokens == response.usage.input_tokens
    assert completion.usage.completion_tokens == response.usage.output_tokens
    details = response.usage.output_tokens_details
    assert completion.usage.reasoning_tokens == details.reasoning_tokens


@pytest.mark.parametrize("case", recorded("responses", streamed=True))
async def test_the_sdk_reads_the_same_response_stream(case: Any) -> None:
    """The SDK's events hold the text that we put together."""
    data = case["stream"].encode()
    async with answered(data, "text/event-stream") as server, client(server) as sdk:
        stream = await sdk.responses.create(model="m", input="Hi", stream=True)
        events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    reader = Responses(Settings("openai", OFFICIAL, KEY)).stream(Request("m", HI, {}, True), {})
    assert reader.feed(data) == "".join(deltas)
    assert (reader.finish().text or "") == "".join(deltas)
