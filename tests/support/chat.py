"""A scripted server's answers in the shape of chat completions."""

import asyncio
import json
from typing import Any

from support.scripted import Exchange


def completion(text: str, **changes: Any) -> dict[str, Any]:
    """A chat.completion as in OpenAI's API reference (read 2026-11-22)."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "served-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        **changes,
    }


def error(message: str, code: str | None = None, kind: str | None = None) -> dict[str, Any]:
    """An error body as in OpenAI's error guide (read 2026-11-22)."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def last_text(exchange: Exchange) -> str:
    """The text of the last message that was sent."""
    content = json.loads(exchange.body)["messages"][-1]["content"]
    parts = [content] if isinstance(content, str) else [one.get("text", "") for one in content]
    return "".join(parts)


async def answer(exchange: Exchange, body: dict[str, Any], status: int = 200) -> None:
    """Reply with JSON."""
    await exchange.reply(json.dumps(body).encode(), status, {"content-type": "application/json"})


async def echo(exchange: Exchange) -> None:
    """Answer with the last message in capitals."""
    await answer(exchange, completion(last_text(exchange).upper()))


async def stream(exchange: Exchange, *pieces: str, end: bool = True, pause_s: float = 0) -> None:
    """Answer as server-sent events, as in OpenAI's streaming guide (read 2026-11-22)."""
    await exchange.raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    )
    for piece in pieces:
        await exchange.raw(event({"content": piece}))
        await asyncio.sleep(pause_s)
    if end:
        await exchange.raw(event({}, "stop") + b"data: [DONE]\n\n")
    exchange.writer.close()


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """One chunk of a streamed completion."""
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "served-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
