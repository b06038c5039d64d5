"""A loopback chat server with an account's limits, for seeing how near to them a client comes.

`python limits_server.py LAW` prints its port on standard output and serves until it is ended.
LAW is a JSON object of `rpm`, `tpm`, `at_once`, `capacity_s`, `headers` as in support.simulated,
all optional; `change` (more of the first three) comes into force `change_after_s` after the
first request. A prompt counts a token for four bytes of body, an answer 60 on average.

`GET /counts?since=SECONDS` tells as JSON how many requests it has let in and how many it has
refused, and the tokens let in, from so many seconds after the first request on.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.simulated import MEDIAN_S, REFUSAL_S, SIGMA, Law

SEED = 1
BACKLOG = 4_096
REFUSED = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit"}}


class Account:
    """One law and what has happened under it."""

    def __init__(self, law: dict[str, Any]) -> None:
        self._change = law.pop("change", {})
        self._change_after_s = law.pop("change_after_s", math.inf)
        self.law = Law(time.monotonic, **law)
        self._dice = random.Random(SEED)
        self._began: float | None = None
        self._seen: list[tuple[float, int]] = []
        """When, and the tokens; 0 for a request that was refused."""

    async def answer(self, body_bytes: int) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and body, when the time for them has come."""
        answer_tokens = round(self._dice.lognormvariate(math.log(60), 0.3))
        tokens = body_bytes // 4 + answer_tokens
        elapsed_s = self._elapsed_s()
        if elapsed_s >= self._change_after_s:
            self._change_after_s = math.inf
            self.law.change(self._change)
        wait_s = self.law.arrive(tokens)
        self._seen.append((elapsed_s, 0 if wait_s is not None else tokens))
        if wait_s is not None:
            await self._pause(REFUSAL_S)
            headers = {"retry-after": str(math.ceil(wait_s))} if self.law.headers else {}
            return 429, headers | self._told(), REFUSED
        try:
            await self._pause(MEDIAN_S)
        finally:
            self.law.leave()
        return 200, self._told(), completion(tokens, answer_tokens)

    def counts(self, query: dict[str, float]) -> dict[str, float]:
        """What was let in and refused since then."""
        since_s = query.get("since", 0.0)
        seen = [tokens for at, tokens in self._seen if at >= since_s]
        refused = seen.count(0)
        spent_s = self._elapsed_s() - since_s
        accepted = len(seen) - refused
        return {"accepted": accepted, "refused": refused, "tokens": sum(seen), "spent_s": spent_s}

    def _elapsed_s(self) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return now - self._began

    def _told(self) -> dict[str, str]:
        info = self.law.told()
        if info is None:
            return {}
        values = {
            "limit-requests": info.limit_requests,
            "remaining-requests": info.remaining_requests,
            "reset-requests": info.reset_requests_s,
            "limit-tokens": info.limit_tokens,
            "remaining-tokens": info.remaining_tokens,
            "reset-tokens": info.reset_tokens_s,
        }
        return {f"x-ratelimit-{k}": _text(v) for k, v in values.items() if v is not None}

    async def _pause(self, median_s: float) -> None:
        await asyncio.sleep(self._dice.lognormvariate(math.log(median_s), SIGMA))


class Answers(Protocol):
    """What answers the requests of all connections."""

    async def answer(self, body_bytes: int) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and body, when the time for them has come."""

    def counts(self, query: dict[str, float]) -> dict[str, float]:
        """What was seen so far."""


class Answering(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, account: Answers) -> None:
        self._account = account
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's is no subclass of asyncio.Transport, so no check."""
        self._transport = transport  # type: ignore[assignment]  # duck-typed, see above

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, and takes nothing up any more."""
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; answer when it is the last one."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _content_length(head):
            self._received = b""
            self._task = asyncio.get_running_loop().create_task(self._answer(head, len(body)))

    async def _answer(self, head: bytes, body_bytes: int) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if method == "GET":
            query = {name: float(value) for name, value in parse_qsl(urlsplit(target).query)}
            self._write(200, {}, self._account.counts(query))
        else:
            self._write(*await self._account.answer(body_bytes))

    def _write(self, status: int, headers: dict[str, str], body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Whatever", "content-type: application/json"]
        lines += [f"content-length: {len(data)}", *(f"{k}: {v}" for k, v in headers.items())]
        assert self._transport is not None
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + data)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _text(value: float) -> str:
    return f"{value:.3f}s" if isinstance(value, float) else str(value)


def completion(tokens: int, answer_tokens: int) -> dict[str, Any]:
    """A chat completion of so many tokens, its prompt's included."""
    message = {"role": "assistant", "content": "Paris."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "bench-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": tokens - answer_tokens,
            "completion_tokens": answer_tokens,
            "total_tokens": tokens,
        },
    }


async def serve(make: Callable[[], Answers]) -> None:
    """Listen on a free loopback port, print it, and serve until cancelled."""
    account = make()
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(account), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(lambda: Account(json.loads(sys.argv[1]))))
