"""The scripted server in a thread of its own, for functions that block the caller's loop."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.chat import answer, completion, error
from support.scripted import Exchange, Server, serve

from llmbatch_cli.loops import iterate


@dataclass
class Model:
    """How the server answers for one model."""

    after_s: float = 0.0
    status: int = 200
    chunks: tuple[str, ...] = ("HEL", "LO")
    """A streamed answer's texts."""
    between_s: float = 0.0
    """The time between two chunks."""
    breaks: bool = False
    """Whether a stream ends without its end mark."""
    body: dict[str, Any] = field(default_factory=lambda: completion("HELLO"))


class Loopback:
    """What the server knows, and its address."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.closed: dict[str, float] = {}
        """When the client gave up on an answer, by model."""
        self.in_flight = self.most_in_flight = 0
        self.server: Server = Server("")

    @property
    def api_base(self) -> str:
        return f"{self.server.url}/v1"

    def called(self) -> list[str]:
        """The models of the requests, as they came."""
        return [json.loads(exchange.body)["model"] for exchange in self.server.exchanges]

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(exchange.body) for exchange in self.server.exchanges]

    def keys(self) -> dict[str, str | None]:
        """The Authorization header that each model was called with."""
        return {
            json.loads(exchange.body)["model"]: exchange.header("authorization")
            for exchange in self.server.exchanges
        }

    def wait_closed(self, model: str) -> float:
        """When the client closed the model's socket. Fails after two seconds."""
        deadline = time.monotonic() + 2
        while model not in self.closed:
            assert time.monotonic() < deadline, f"the socket of {model} is still open"
            time.sleep(0.005)
        return self.closed[model]

    async def handle(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        model = self.models.get(body["model"], Model())
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            if await self._gone(exchange, body["model"], model.after_s):
                return
            if model.status != 200:
                await answer(exchange, error(f"{body['model']} failed"), model.status)
            elif body.get("stream"):
                await self._stream(exchange, body["model"], model)
            else:
                await answer(exchange, {**model.body, "model": body["model"]})
        finally:
            self.in_flight -= 1

    async def _gone(self, exchange: Exchange, name: str, wait_s: float) -> bool:
        """Wait; whether the client has closed its end meanwhile."""
        if wait_s == 0:
            return False
        try:
            await asyncio.wait_for(exchange.until_closed(), wait_s)
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        self.closed[name] = time.monotonic()
        exchange.writer.close()
        return True

    async def _stream(self, exchange: Exchange, name: str, model: Model) -> None:
        await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                           b"connection: close\r\n\r\n")  # fmt: skip
        for text in model.chunks:
            await exchange.raw(event({"delta": {"content": text}, "finish_reason": None}))
            if await self._gone(exchange, name, model.between_s):
                return
        if not model.breaks:
            end = event({"delta": {}, "finish_reason": "stop"})
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            await exchange.raw(end + data({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        exchange.writer.close()


def event(choice: dict[str, Any]) -> bytes:
    return data({"choices": [{"index": 0, **choice}]})


def data(fields: dict[str, Any]) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**chunk, **fields}).encode() + b"\n\n"


@contextmanager
def running(known: Loopback) -> Iterator[Loopback]:
    """The server, up for the time of a `with`."""

    async def up() -> AsyncGenerator[Server, None]:
        async with serve(known.handle) as server:
            yield server
            await asyncio.Event().wait()

    with iterate(up) as servers:
        known.server = next(servers)
        yield known


async def texts(chunks: AsyncIterator[Any]) -> list[str]:
    """The contents of a stream's chunks."""
    return [chunk.choices[0].delta.content or "" async for chunk in chunks]
