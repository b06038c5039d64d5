"""Google's own SDK as the judge of what is sent to Gemini and of how its reply is read."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from google import genai
from google.genai import types
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.gemini.body import CONFIG_FIELDS
from llmbatch_cli.providers.gemini.provider import Gemini
from llmbatch_cli.providers.gemini.reply import EMPTY_ANSWERS
from llmbatch_cli.providers.wire.answers import finish_reason

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
KEY = "a-key"
OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
REPLIES = Path(__file__).parent.parent / "replies" / "gemini"
OK = orjson.dumps(orjson.loads((REPLIES / "ok.json").read_bytes())["body"])
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
DECLARED = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="f", description="d", parameters_json_schema=SCHEMA)
    ]
)
SIGNATURE = base64.b64encode(b"signed").decode()


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def content(*parts: types.Part, role: str = "user") -> types.Content:
    return types.Content(role=role, parts=list(parts))


def text(words: str) -> types.Part:
    return types.Part(text=words)


def calling(**fields: Any) -> types.FunctionCallingConfig:
    return types.FunctionCallingConfig(**fields)


def tools(**fields: Any) -> dict[str, Any]:
    chosen = types.ToolConfig(function_calling_config=calling(**fields))
    return {"tools": [DECLARED], "tool_config": chosen}


TURNS: list[dict[str, Any]] = [
    *HI,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":"1"}'},
                "extra_content": {"google": {"thought_signature": SIGNATURE}},
            },
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"b": 2}'},
    {"role": "tool", "tool_call_id": "c2", "content": "three"},
]
TURN_CONTENTS = [
    content(text("Hi")),
    content(
        types.Part(
            function_call=types.FunctionCall(id="c1", name="f", args={"a": "1"}),
            thought_signature=b"signed",
        ),
        types.Part(function_call=types.FunctionCall(id="c2", name="f", args={})),
        role="model",
    ),
    content(
        types.Part(function_response=types.FunctionResponse(id="c1", name="f", response={"b": 2})),
        types.Part(
            function_response=types.FunctionResponse(
                id="c2", name="f", response={"output": "three"}
            )
        ),
    ),
]

CASES: dict[str, tuple[Request, Any, dict[str, Any]]] = {
    "plain": (Request(OLD, HI, {}), [content(text("Hi"))], {}),
    "system": (
        Request(
            OLD,
            [{"role": "system", "content": "A"}, *HI, {"role": "developer", "content": "B"}],
            {},
        ),
        [content(text("Hi"))],
        {"system_instruction": content(text("A"), text("B"))},
    ),
    "turns": (
        Request(OLD, [*HI, {"role": "assistant", "content": "Ho"}, *HI], {}),
        [content(text("Hi")), content(text("Ho"), role="model"), content(text("Hi"))],
        {},
    ),
    "sampling": (
        Request(
            OLD,
            HI,
            {
                "temperature": 0.2,
                "top_p": 0.9,
                "max_tokens": 64,
                "stop": "END",
                "seed": 7,
                "n": 2,
                "presence_penalty": 0.5,
                "frequency_penalty": -0.5,
                "extra_body": {"top_k": 40},
            },
        ),
        [content(text("Hi"))],
        {
            "temperature": 0.2,
            "top_p": 0.9,
            "max_output_tokens": 64,
            "stop_sequences": ["END"],
            "seed": 7,
            "candidate_count": 2,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "top_k": 40,
        },
    ),
    "logprobs": (
        Request(OLD, HI, {"logprobs": True, "top_logprobs": 3}),
        [content(text("Hi"))],
        {"response_logprobs": True, "logprobs": 3},
    ),
    "image": (
        Request(
            OLD,
            user(
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ),
            {},
        ),
        [
            content(
                text("Look"),
                types.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png"),
            )
        ],
        {},
    ),
    "image_url": (
        Request(
            OLD,
            user({"type": "image_url", "image_url": {"url": "https://example.com/a.png?b"}}),
            {},
        ),
        [
            content(
                types.Part.from_uri(file_uri="https://example.com/a.png?b", mime_type="image/png")
            )
        ],
        {},
    ),
    "detail": (
        Request(
            NEW,
            user(
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
                }
            ),
            {},
        ),
        [
            content(
                types.Part(
                    inline_data=types.Blob(data=base64.b64decode(PNG), mime_type="image/png"),
                    media_resolution=types.PartMediaResolution(
                        level=types.PartMediaResolutionLevel.MEDIA_RESOLUTION_LOW
                    ),
                )
            )
        ],
        {},
    ),
    "pdf_and_audio": (
        Request(
            OLD,
            user(
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                },
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ),
            {},
        ),
        [
            content(
                types.Part.from_bytes(data=b"%PD", mime_type="application/pdf"),
                types.Part.from_bytes(data=b"\0\0\0", mime_type="audio/wav"),
            )
        ],
        {},
    ),
    "tools": (Request(OLD, HI, {"tools": [TOOL]}), [content(text("Hi"))], {"tools": [DECLARED]}),
    "tool_required": (
        Request(OLD, HI, {"tools": [TOOL], "tool_choice": "required"}),
        [content(text("Hi"))],
        tools(mode=types.FunctionCallingConfigMode.ANY),
    ),
    "tool_named": (
        Request(
            OLD,
            HI,
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        [content(text("Hi"))],
        tools(mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["f"]),
    ),
    "tool_none": (
        Request(OLD, HI, {"tools": [TOOL], "tool_choice": "none"}),
        [content(text("Hi"))],
        tools(mode=types.FunctionCallingConfigMode.NONE),
    ),
    "own_tool": (
        Request(OLD, HI, {"tools": [{"googleSearch": {}}]}),
        [content(text("Hi"))],
        {"tools": [types.Tool(google_search=types.GoogleSearch())]},
    ),
    "tool_results": (Request(NEW, TURNS, {}), TURN_CONTENTS, {}),
    "json": (
        Request(OLD, HI, {"response_format": {"type": "json_object"}}),
        [content(text("Hi"))],
        {"response_mime_type": "application/json"},
    ),
    "json_schema": (
        Request(
            OLD,
            HI,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
                }
            },
        ),
        [content(text("Hi"))],
        {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
    ),
    "budget": (
        Request(OLD, HI, {"reasoning_effort": "medium"}),
        [content(text("Hi"))],
        {"thinking_config": types.ThinkingConfig(thinking_budget=8192)},
    ),
    "level": (
        Request(
            NEW,
            HI,
            {
                "reasoning_effort": "low",
                "extra_body": {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
            },
        ),
        [content(text("Hi"))],
        {
            "thinking_config": types.ThinkingConfig(
                thinking_level=types.ThinkingLevel.LOW, include_thoughts=True
            )
        },
    ),
    "safety": (
        Request(
            OLD,
            HI,
            {
                "extra_body": {
                    "safetySettings": [
                        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
                    ]
                }
            },
        ),
        [content(text("Hi"))],
        {
            "safety_settings": [
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_NONE,
                )
            ]
        },
    ),
    "tuned": (Request("tunedModels/mine-1", HI, {}), [content(text("Hi"))], {}),
}


@asynccontextmanager
async def recorder(
    body: bytes = OK, kind: str = "application/json"
) -> AsyncIterator[tuple[Server, genai.Client]]:
    """A server that answers all with this body, and the SDK pointed at it."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": kind, "connection": "close"})
        exchange.writer.close()

    async with serve(answer) as server:
        options = types.HttpOptions(base_url=server.url, api_version="v1beta")
        client = genai.Client(api_key=KEY, http_options=options)
        try:
            yield server, client
        finally:
            await client.aio.aclose()
            client.close()


def config(fields: dict[str, Any]) -> types.GenerateContentConfig:
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(**fields, automatic_function_calling=off)


def ours(url: str, request: Request) -> tuple[str, str, str | None, Any]:
    wire = Gemini(Settings("gemini", f"{url}/v1beta", KEY)).build(request)
    body = orjson.loads(wire.body)
    if "systemInstruction" in body:
        body["systemInstruction"]["role"] = "user"  # the SDK says so, the API ignores it
    parts = urlsplit(wire.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return wire.method, path, wire.headers.get("x-goog-api-key"), body


def camel(value: Any) -> Any:
    """The value with its fields in camel case: the API takes both, the SDK sends a mixture."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    words = {name: re.sub(r"_(.)", lambda found: found[1].upper(), name) for name in value}
    return {words[name]: camel(inner) for name, inner in value.items()}


def theirs(exchange: Exchange) -> tuple[str, str, str | None, Any]:
    body = camel(orjson.loads(exchange.body))
    if body.get("generationConfig") == {}:
        del body["generationConfig"]
    return exchange.method, exchange.path, exchange.header("x-goog-api-key"), body


@pytest.mark.parametrize("name", CASES)
async def test_the_same_request(name: str) -> None:
    """What is sent is what Google's SDK sends when it is told the same."""
    request, contents, fields = CASES[name]
    async with recorder() as (server, client):
        await client.aio.models.generate_content(
            model=request.model, contents=contents, config=config(fields)
        )
        assert ours(server.url, request) == theirs(server.exchanges[0])


async def test_the_same_request_for_a_stream() -> None:
    """A streamed request goes where the SDK's goes."""
    data = orjson.loads((REPLIES / "basic.stream.json").read_bytes())["stream"].encode()
    async with recorder(data, "text/event-stream") as (server, client):
        stream = await client.aio.models.generate_content_stream(
            model=OLD, contents=[content(text("Hi"))], config=config({})
        )
        texts = [chunk.text or "" async for chunk in stream]
        request = Request(OLD, HI, {}, stream=True)
        assert ours(server.url, request) == theirs(server.exchanges[0])
        assert "".join(texts) == finished(data).text


def finished(data: bytes) -> Completion:
    provider = Gemini(Settings("gemini", "http://localhost/v1beta", KEY))
    stream = provider.stream(Request(OLD, HI, {}, stream=True), {})
    stream.feed(data)
    return stream.finish()


ANSWERS = ["ok", "parts", "thinking", "tools", "cut_off", "filtered_midway", "two_candidates"]


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_same_answer(name: str) -> None:
    """A reply is read as Google's SDK reads it: text, finish, usage, calls, model, id."""
    data = orjson.dumps(orjson.loads((REPLIES / f"{name}.json").read_bytes())["body"])
    provider = Gemini(Settings("gemini", "http://localhost/v1beta", KEY))
    mine = provider.parse(Request(OLD, HI, {}), WireReply(200, {}, data))
    async with recorder(data) as (_, client):
        found = await client.aio.models.generate_content(
            model=OLD, contents="Hi", config=config({})
        )
    candidate = (found.candidates or [])[0]
    calls = [
        (call.name, call.args)
        for part in (candidate.content and candidate.content.parts) or []
        if (call := part.function_call)
    ]
    assert mine.text == (found.text if not calls else None)
    assert mine.native_finish_reason == (candidate.finish_reason and candidate.finish_reason.value)
    assert (mine.model, mine.response_id) == (found.model_version, found.response_id)
    assert len(found.candidates or []) == max(1, len(mine.choices))
    functions = [call["function"] for call in mine.tool_calls]
    assert [(one["name"], orjson.loads(one["arguments"])) for one in functions] == calls
    counted, used = found.usage_metadata, mine.usage
    assert counted is not None
    assert used is not None
    assert used.prompt_tokens == counted.prompt_token_count
    assert used.total_tokens == counted.total_token_count
    assert used.cached_tokens == counted.cached_content_token_count
    assert used.reasoning_tokens == counted.thoughts_token_count
    answered = (counted.candidates_token_count or 0) + (counted.thoughts_token_count or 0)
    assert used.completion_tokens == answered


def test_every_finish_reason_is_known() -> None:
    """The tables of finish reasons hold all that the SDK knows."""
    values = {reason.value for reason in types.FinishReason}
    assert {value for value in values if finish_reason(value) is None} <= EMPTY_ANSWERS.keys()


def test_every_field_of_the_generation_config_is_known() -> None:
    """A field of generationConfig that the SDK knows finds its place, if it may be sent at all."""
    known = {field.alias for field in types.GenerationConfig.model_fields.values()}
    vertex_only = {"audioTimestamp", "modelSelectionConfig", "modelConfig", "routingConfig"}
    assert {str(name) for name in known} - vertex_only - CONFIG_FIELDS == set()
