"""Amazon's own SDK as the judge of what is sent and of how a reply is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from support.event_frames import event_frame
from support.scripted import Exchange, Server, serve

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.bedrock.provider import Bedrock

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
REPLIES = Path(__file__).parent.parent / "replies" / "bedrock"
OK = orjson.dumps(orjson.loads((REPLIES / "ok.json").read_bytes())["body"])
ENVIRON = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
}
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SAID = [{"role": "user", "content": [{"text": "Hi"}]}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
SPEC = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
PNG = b"\x89PNG\r\n\x1a\n"
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}}
USED = {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": "b"}}}

CASES: dict[str, tuple[Request, dict[str, Any]]] = {
    "plain": (Request(MODEL, HI, {}), {"messages": SAID}),
    "arn": (
        Request("arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.x", HI, {}),
        {"messages": SAID},
    ),
    "system": (
        Request(MODEL, [{"role": "system", "content": "Brief."}, *HI], {}),
        {"messages": SAID, "system": [{"text": "Brief."}]},
    ),
    "sampling": (
        Request(
            "amazon.nova-lite-v1:0",
            HI,
            {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["X"]},
        ),
        {
            "messages": SAID,
            "inferenceConfig": {
                "maxTokens": 9,
                "temperature": 0.5,
                "topP": 0.9,
                "stopSequences": ["X"],
            },
        },
    ),
    "image": (
        Request(MODEL, [{"role": "user", "content": [IMAGE]}], {}),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"image": {"format": "png", "source": {"bytes": PNG}}}],
                }
            ]
        },
    ),
    "tools": (
        Request(MODEL, HI, {"tools": [TOOL], "tool_choice": "required"}),
        {"messages": SAID, "toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ),
    "tool_result": (
        Request(
            MODEL,
            [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "t", "content": "1"},
            ],
            {"tools": [TOOL]},
        ),
        {
            "messages": [
                *SAID,
                {"role": "assistant", "content": [USED]},
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "1"}]}}],
                },
            ],
            "toolConfig": {"tools": [SPEC]},
        },
    ),
    "cache": (
        Request(
            MODEL,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ],
            {},
        ),
        {
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}, {"cachePoint": {"type": "default"}}]}
            ]
        },
    ),
    "thinking": (
        Request(MODEL, HI, {"reasoning_effort": "low"}),
        {
            "messages": SAID,
            "additionalModelRequestFields": {
                "thinking": {"type": "enabled", "budget_tokens": 4096}
            },
        },
    ),
    "schema": (
        Request(
            MODEL,
            HI,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA},
                }
            },
        ),
        {
            "messages": SAID,
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {"schema": orjson.dumps(SCHEMA).decode(), "name": "n"}
                    },
                }
            },
        },
    ),
}


@asynccontextmanager
async def answered(
    body: bytes, content_type: str = "application/json"
) -> AsyncIterator[tuple[Any, Server]]:
    """The SDK's client at a server that gives this one answer."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, headers={"content-type": content_type})

    async with serve(answer) as server:
        yield client_at(server.url), server


def client_at(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=ENVIRON["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRON["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=ENVIRON["AWS_SESSION_TOKEN"],
        config=Config(retries={"max_attempts": 1}, read_timeout=20),
    )


def ours(url: str = "http://127.0.0.1:1") -> Bedrock:
    return Bedrock(Settings("bedrock", url, None, ENVIRON))


@pytest.mark.parametrize("name", CASES)
async def test_the_sdk_sends_the_same(name: str) -> None:
    """The SDK, asked for the same, sends the same request as we do."""
    request, asked = CASES[name]
    async with answered(OK) as (client, server):
        await asyncio.to_thread(client.converse, modelId=request.model, **asked)
        theirs = server.exchanges[0]
        provider = ours(server.url)
        async with provider.serving(ignore):
            wire = provider.build(request)
    assert (theirs.method, server.url + theirs.path) == (wire.method, wire.url)
    assert orjson.loads(theirs.body) == orjson.loads(wire.body)
    for header in ("content-type", "x-amz-security-token"):
        assert theirs.header(header) == wire.headers[header]
    who = "Credential=AKIDEXAMPLE/"
    scope = "/us-east-1/bedrock/aws4_request"
    for signature in (theirs.header("authorization") or "", wire.headers["authorization"]):
        assert signature.startswith("AWS4-HMAC-SHA256 ")
        assert who in signature
        assert scope in signature


def agree(found: Any, completion: Completion) -> None:
    """Assert that both read the reply alike."""
    content = found["output"]["message"]["content"]
    assert completion.native_finish_reason == found["stopReason"]
    texts = [
        part["text"]
        for block in content
        for part in [block, *block.get("citationsContent", {}).get("content", [])]
        if "text" in part
    ]
    assert (completion.text or "") == "".join(texts)
    uses = [block["toolUse"] for block in content if "toolUse" in block]
    assert [
        (call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"]))
        for call in completion.tool_calls
    ] == [(use["toolUseId"], use["name"], use["input"]) for use in uses]
    usage, counted = found["usage"], completion.usage
    assert counted is not None
    assert counted.completion_tokens == usage["outputTokens"]
    assert counted.total_tokens == usage["totalTokens"]
    assert counted.cached_tokens == usage.get("cacheReadInputTokens")


@pytest.mark.parametrize("path", sorted(REPLIES.glob("*.json")), ids=lambda path: str(path.stem))
async def test_the_sdk_reads_the_same(path: Path) -> None:
    """The SDK and we find the same in the same reply."""
    case = orjson.loads(path.read_bytes())
    if "expect" not in case:
        return
    body = orjson.dumps(case["body"])
    async with answered(body) as (client, _):
        found = await asyncio.to_thread(client.converse, modelId=MODEL, messages=SAID)
    agree(found, ours().parse(Request(MODEL, HI, {}), WireReply(200, {}, body)))


async def test_the_sdk_reads_the_same_frames() -> None:
    """The SDK finds the same events in our frames as our reader does."""
    cases = orjson.loads((REPLIES.parent.parent / "bedrock_streams.json").read_bytes())
    frames = cases["tools"]["frames"]
    data = b"".join(event_frame(headers, payload) for headers, payload in frames)
    async with answered(data, "application/vnd.amazon.eventstream") as (client, _):

        def read() -> list[Any]:
            reply = client.converse_stream(modelId=MODEL, messages=SAID)
            return list(reply["stream"])

        events = await asyncio.to_thread(read)
    kinds = [next(iter(event)) for event in events]
    assert kinds == [headers[":event-type"] for headers, _ in frames]
    reader = ours().stream(Request(MODEL, HI, {}, stream=True), {})
    reader.feed(data)
    completion = reader.finish()
    typed = "".join(
        event["contentBlockDelta"]["delta"]["toolUse"]["input"]
        for event in events
        if "toolUse" in event.get("contentBlockDelta", {}).get("delta", {})
    )
    arguments = completion.tool_calls[0]["function"]["arguments"]
    assert orjson.loads(arguments) == orjson.loads(typed)


async def test_requests_are_signed_as_the_sdk_signs_them() -> None:
    """Without a bearer key a request bears the signature of the AWS credentials in force."""
    provider = ours("https://bedrock.example.com")
    async with provider.serving(ignore):
        wire = provider.build(Request(MODEL, HI, {}))
    assert wire.headers["x-amz-security-token"] == "token"
    signature = wire.headers["authorization"]
    assert "AKIDEXAMPLE" in signature
    assert "/us-east-1/bedrock/aws4_request" in signature
    signed = [name for name in wire.headers if name in signature.lower() or name == "x-amz-date"]
    kept = {name: wire.headers[name] for name in signed if name != "authorization"}
    again = AWSRequest("POST", wire.url, headers=kept, data=wire.body)
    again.context["timestamp"] = wire.headers["x-amz-date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret", "token"), "bedrock", "us-east-1")
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert signature.endswith(expected)
