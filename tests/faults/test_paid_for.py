"""The whole program keeps every answer that is paid for, and asks for none twice."""

import asyncio
import json
from collections import Counter

import pytest
from support import program
from support.chat import completion, last_text
from support.scripted import Exchange, serve


def body(text: str = "hello") -> bytes:
    return json.dumps(completion(text)).encode()


def stream(*events: bytes) -> bytes:
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":"STOP"}]}\n\n'
    )
    return b"".join(events) + chunk + b"data: [DONE]\n\n"


def head(kind: str = "application/json", *more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"content-type: {kind}", *more, "", ""]).encode()


def reply(content: bytes, kind: str = "application/json", *more: str) -> bytes:
    return head(kind, *more, f"content-length: {len(content)}") + content


REPLIES = {
    "done": reply(body() + b"\n\ndata: [DONE]\n\n", "text/event-stream"),
    "stream": reply(stream(), "text/event-stream"),
    "mislabelled": reply(stream(b": OPENROUTER PROCESSING\n\n"), "application/json"),
    "nan": reply(body().replace(b"null", b"-Infinity")),
    "utf-8": reply(body().replace(b"hello", b"hel\xfflo")),
    "surrogate": reply(body().replace(b"hello", b"hello\\ud83d")),
    "tab": reply(body().replace(b"hello", b"hel\tlo")),
    "bom": reply(b"\xef\xbb\xbf" + body()),
    "header": reply(body(), "application/json", f"x-trace: {'y' * 9000}"),
    "headers": reply(body(), "application/json", *(f"x-{n}: y" for n in range(300))),
    "created": reply(body()).replace(b"200 OK", b"201 Created"),
    "error": reply(body().replace(b'{"id"', b'{"error": {"message": ""}, "id"')),
    "no end": head("application/json", "content-length: 9999", "connection: close") + body(),
    "stream without end": head("text/event-stream", "transfer-encoding: chunked")
    + b"%x\r\n%b\r\n" % (len(stream()), stream()),
    "chunked": head("application/json", "content-length: 9", "transfer-encoding: chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body()), body()),
}
"""Answers to the row of the same text."""


@pytest.mark.parametrize("options", [["batch"], ["batch", "--http", "httpx"], ["race", "--stream"]])
async def test_each_answer_is_kept_and_asked_for_once(options: list[str]) -> None:
    """In one run, by both clients, streamed and not: decolua/9router 3492, sgl-project/sglang 4097,
    bentoml/BentoML 4346, QwenLM/qwen-code 9882."""
    asked: Counter[str] = Counter()

    async def handler(exchange: Exchange) -> None:
        text = last_text(exchange)
        asked[text] += 1
        await exchange.raw(REPLIES[text])
        if "end" in text:
            exchange.writer.close()

    command, *more = options
    model = ["-m", "m"] if command == "batch" else ["-m", "m,n", "--hedge", "30"]
    async with serve(handler) as server:
        done = await program.run(
            *(command, *model, "--base-url", f"{server.url}/v1", *more),
            stdin=program.jsonl(list(REPLIES)),
        )
    assert done.status == 0, done.err
    assert asked == dict.fromkeys(REPLIES, 1)
    texts = {row["id"]: row["text"].replace("\ufffd", "").replace("\t", "") for row in done.rows}
    assert texts == dict.fromkeys(range(len(REPLIES)), "hello")
    assert all(row["finish_reason"] == "stop" and row["attempts"] == 1 for row in done.rows)


async def test_what_a_refusal_has_cost_is_in_its_row() -> None:
    """Usage and maybe_billed of the failed attempt, and the summary's tokens."""
    refused = completion("")
    refused["choices"] = [{"index": 0, "finish_reason": "content_filter"}]

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(reply(json.dumps(refused).encode()))
        await asyncio.sleep(0)

    async with serve(handler) as server:
        done = await program.run(
            "batch", "-m", "m", "--base-url", f"{server.url}/v1", stdin=b'"hi"\n'
        )
    (row,) = done.rows
    assert (done.status, row["error"]["type"], row["attempts"]) == (1, "refused", 1)
    assert row["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert row["failed_attempts"][0]["maybe_billed"]
    assert row["failed_attempts"][0]["usage"] == row["usage"]
    assert "5 tokens" in done.err


async def test_empty_answers_are_counted() -> None:
    """Thoughts without a text are an answer, and the summary says how many."""
    message = {"role": "assistant", "content": None, "reasoning_content": "It is 4."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    empty = json.dumps(completion("", choices=[choice])).encode()

    async def handler(exchange: Exchange) -> None:
        await exchange.raw(reply(body() if last_text(exchange) == "full" else empty))

    async with serve(handler) as server:
        done = await program.run(
            *("batch", "-m", "m", "--base-url", f"{server.url}/v1"),
            stdin=program.jsonl(["full", "none", "none either"]),
        )
    assert done.status == 0
    assert "2 empty" in done.err
