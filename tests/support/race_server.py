"""A loopback chat server that keeps book of who is answered and who hangs up.

`python race_server.py` prints its port on standard output and serves until it is ended. The
model's name says when its answer comes: `after-0.1` answers 0.1 s after the request, `fails-0.1`
answers with status 400 then, `streams-0.1` begins to stream then and ends 0.2 s later.
The prompt is `RACE ...`: the races are told apart by it.

`GET /book` tells as JSON, for each race, when the first answer went out (`won`), when others
were hung up on (`closed`), and how many connections are open now.
"""

import asyncio
import json
import time
from typing import Any, Final

BACKLOG: Final = 4_096
STREAM_S: Final = 0.2


def completion(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "served",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def whole(body: dict[str, Any], status: int = 200) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "served"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


class Book:
    """What has happened to each race."""

    def __init__(self) -> None:
        self.won: dict[str, float] = {}
        self.closed: dict[str, list[float]] = {}
        self.requests = 0
        self.open = 0


class Answering(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._received = b""
        self._race = ""
        self._timers: list[asyncio.TimerHandle] = []
        self._busy = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._book.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._book.open -= 1
        for timer in self._timers:
            timer.cancel()
        if self._busy:
            self._book.closed.setdefault(self._race, []).append(time.monotonic())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self._transport.write(whole(vars(self._book)))
        else:
            self._ask(json.loads(body))

    def _ask(self, request: dict[str, Any]) -> None:
        self._book.requests += 1
        self._busy = True
        self._race = request["messages"][-1]["content"].split()[0]
        kind, _, seconds = request["model"].partition("-")
        if kind == "streams":
            self._later(float(seconds), self._begin_stream)
        elif kind == "fails":
            self._later(float(seconds), self._fail)
        else:
            self._later(float(seconds), lambda: self._answer(request["model"]))

    def _later(self, seconds: float, do: Any) -> None:
        self._timers = [asyncio.get_running_loop().call_later(seconds, do)]

    def _lead(self) -> None:
        self._book.won.setdefault(self._race, time.monotonic())

    def _answer(self, text: str) -> None:
        self._busy = False
        self._lead()
        self._transport.write(whole(completion(text)))

    def _fail(self) -> None:
        self._busy = False
        self._transport.write(whole({"error": {"message": "no"}}, 400))

    def _begin_stream(self) -> None:
        self._lead()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        self._transport.write(head + event({"content": "streamed"}))
        self._later(STREAM_S, self._end_stream)

    def _end_stream(self) -> None:
        self._busy = False
        self._transport.write(event({}, "stop") + b"data: [DONE]\n\n")
        self._transport.close()


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Listen on a free loopback port, print it, and serve until cancelled."""
    book = Book()
    server = await asyncio.get_running_loop().create_server(
        lambda: Answering(book), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
