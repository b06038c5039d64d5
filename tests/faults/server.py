"""A loopback chat server that fails as a script says, in a process of its own.

`python server.py --script JSON` prints its port on standard output and serves until it is
ended. A row is told by the first word of its prompt; its answer is that word. The script:

    {"rows": {"row-1": ["503", "ok"]}, "default": ["ok"]}
        the fault of each try; the last one stands for all further tries. Without a list of
        its own a row takes the default.
    {"mixture": ["503", "cut"], "share": 0.2, "seed": 7, "tries": 3}
        a row without a list fails at each of its first `tries` tries with this share's
        odds, with one of these faults; the same seed makes the same choices.
    {"wait_s": 0.02}
        every reply comes after a random time up to this.

`GET /_counts` tells as JSON what has happened: `log`, for each row one `[fault, moment]` for
each of its requests, by time.time; `hung_up`, how many clients left before their reply was
whole; `connections`; `keys`, which credentials were seen.
"""

import argparse
import asyncio
import gzip
import json
import random
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Final

BACKLOG: Final = 4_096
MEBIBYTE: Final = 2**20
BOMB_MIB: Final = 10_240
ASKED_WAIT_S: Final = 1
"""What `Retry-After` asks for in seconds; as a date it is between this and twice as much."""
ASKED_WAIT_MS: Final = 300
DRIP_S: Final = 1.0


def completion(text: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "served",
        "choices": [choice],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    return json.dumps(body).encode()


def whole(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole reply; underscores in the headers' names stand for hyphens."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def failed(status: int, **headers: str) -> bytes:
    error = {"message": f"scripted {status}", "type": None, "param": None, "code": None}
    return whole(json.dumps({"error": error}).encode(), status, **headers)


class Book:
    """What has happened."""

    def __init__(self) -> None:
        self.log: dict[str, list[tuple[str, float]]] = {}
        self.hung_up = 0
        self.connections = 0
        self.keys: list[str] = []


class Script:
    """Which fault comes next."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.wait_s: float = told.get("wait_s", 0.0)
        self.elsewhere = ""
        self._rows: Mapping[str, list[str]] = told.get("rows", {})
        self._default: list[str] = told.get("default", ["ok"])
        self._mixture: list[str] = told.get("mixture", [])
        self._share: float = told.get("share", 0.2)
        self._seed: int = told.get("seed", 0)
        self._tries: int = told.get("tries", 3)

    def fault(self, row: str, tries: int) -> str:
        """The fault of this try, `tries` having gone before."""
        faults = self._rows.get(row, self._default)
        if not self._mixture or row in self._rows:
            return faults[min(tries, len(faults) - 1)]
        dice = random.Random(f"{self._seed} {row} {tries}")
        if tries < self._tries and dice.random() < self._share:
            return dice.choice(self._mixture)
        return "ok"


class Serving(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, book: Book, script: Script) -> None:
        self.script = script
        self.row = ""
        self.key = ""
        """The credentials of the last request."""
        self.prompt = ""
        self._book = book
        self._received = b""
        self._busy = False
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._book.connections += 1
        self._room.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._book.hung_up += self._busy
        self._busy = False
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET /_counts"):
            self._transport.write(whole(json.dumps(vars(self._book)).encode()))
        else:
            self._note_key(head)
            self._ask(body)

    def _note_key(self, head: bytes) -> None:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            key = value.strip().decode("latin-1")
            if name.lower() in (b"authorization", b"x-api-key"):
                self.key = key
                if key not in self._book.keys:
                    self._book.keys.append(key)

    def _ask(self, body: bytes) -> None:
        self.prompt = json.loads(body)["messages"][-1]["content"]
        self.row = self.prompt.split()[0]
        told = self._book.log.setdefault(self.row, [])
        fault = self.script.fault(self.row, len(told))
        told.append((fault, time.time()))
        self._busy = True
        if self.script.wait_s:
            wait_s = random.uniform(0, self.script.wait_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, FAULTS[fault], self)
        else:
            FAULTS[fault](self)

    def reply(self, data: bytes, *, close: bool = False) -> None:
        """All that this request is answered."""
        self._busy = False
        self._transport.write(data)
        if close:
            self._transport.close()

    def begin(self, data: bytes) -> None:
        """The first part of what is never whole."""
        self._transport.write(data)

    def reset(self) -> None:
        """Close the connection with a reset."""
        self._busy = False
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def pour(self, head: bytes, piece: bytes, pieces: int, pause_s: float = 0) -> None:
        """Send the same piece again and again, as fast as it is taken."""

        async def pouring() -> None:
            self.begin(head)
            for _ in range(pieces):
                await self._room.wait()
                self.begin(piece)
                await asyncio.sleep(pause_s)
            self._busy = False

        self._task = asyncio.create_task(pouring())


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def head(length: int | None = None, **headers: str) -> bytes:
    """The beginning of a good reply."""
    lines = ["HTTP/1.1 200 OK", "content-type: application/json"]
    if length is not None:
        lines.append(f"content-length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


# The faults


def ok(to: Serving) -> None:
    to.reply(whole(completion(to.row)))


def gzipped(to: Serving) -> None:
    to.reply(whole(gzip.compress(completion(to.row)), content_encoding="gzip"))


def tells_all(to: Serving) -> None:
    message = f"no: authorization {to.key} may not ask {to.prompt}"
    to.reply(whole(json.dumps({"error": {"message": message}}).encode(), 400))


def told_to_wait_by_date(to: Serving) -> None:
    moment = formatdate(int(time.time()) + 1 + ASKED_WAIT_S, usegmt=True)
    to.reply(failed(429, retry_after=moment))


def reset_amid(to: Serving) -> None:
    body = completion(to.row)
    to.begin(head(len(body)) + body[:50])
    asyncio.get_running_loop().call_later(0.02, to.reset)


def cut(to: Serving) -> None:
    body = completion(to.row)
    to.reply(head(len(body)) + body[:-20], close=True)


def cut_chunk(to: Serving) -> None:
    to.reply(head(transfer_encoding="chunked") + b"1000\r\n" + completion(to.row), close=True)


def drip(to: Serving) -> None:
    to.pour(head(1_000), b" ", 1_000, DRIP_S)


def endless(to: Serving) -> None:
    to.pour(head(), b" " * 2**18, 10_000 * 4)


def long_length(to: Serving) -> None:
    to.pour(head(10_000 * MEBIBYTE), b" " * 2**18, 10_000 * 4)


def bomb(to: Serving) -> None:
    start, block = deflated_mebibyte()
    body = start + block * BOMB_MIB
    to.begin(head(len(body) + 8, content_encoding="gzip") + body)


def deflated_mebibyte() -> tuple[bytes, bytes]:
    """The beginning of a gzip stream, and a MiB of blanks that may follow any number of times."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"{") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * MEBIBYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return start, block


def redirect(to: Serving) -> None:
    to.reply(whole(b"", 307, location=f"{to.script.elsewhere}/v1/chat/completions"))


HTML: Final = b"<html><body><h1>Sign in to the guest network</h1></body></html>"


def replying(data: bytes) -> "Fault":
    return lambda to: to.reply(data)


Fault = Callable[[Serving], None]

FAULTS: Final[dict[str, Fault]] = {
    "ok": ok,
    "gzipped": gzipped,
    "429": replying(failed(429)),
    "429-seconds": replying(failed(429, retry_after=str(ASKED_WAIT_S))),
    "429-date": told_to_wait_by_date,
    "429-ms": replying(failed(429, retry_after_ms=str(ASKED_WAIT_MS))),
    **{str(status): replying(failed(status)) for status in (400, 401, 402, 403, 404, 408)},
    **{str(status): replying(failed(status)) for status in (500, 502, 503, 504, 529)},
    "502-html": replying(whole(HTML, 502, "text/html")),
    "503-after": replying(failed(503, retry_after_ms=str(ASKED_WAIT_MS))),
    "reset": Serving.reset,
    "reset-amid": reset_amid,
    "closed": lambda to: to.reply(b"", close=True),
    "cut": cut,
    "cut-chunk": cut_chunk,
    "headers-only": lambda to: to.begin(head(1_000)),
    "drip": drip,
    "never": lambda to: None,
    "endless": endless,
    "10-gb": long_length,
    "bomb": bomb,
    "bad-gzip": replying(whole(b"this is not gzip at all", content_encoding="gzip")),
    "cut-gzip": lambda to: to.reply(
        whole(gzip.compress(completion(to.row))[:-30], content_encoding="gzip")
    ),
    "bad-json": replying(whole(b'{"choices": [{"message": {"content": "ha')),
    "other-json": replying(whole(b'["what", "is", "this"]')),
    "no-choices": replying(whole(b"{}")),
    "empty": replying(whole(b"")),
    "html": replying(whole(HTML, kind="text/html")),
    "wrong-type": lambda to: to.reply(whole(completion(to.row), kind="text/plain")),
    "bad-utf8": lambda to: to.reply(whole(completion(to.row).replace(b"row", b"r\xff\xfew"))),
    "bad-http": replying(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "redirect": redirect,
    "tells-all": tells_all,
}


async def serve(script: Script, certificate: str | None, accept_after_s: float) -> None:
    """Listen on a free loopback port, print it, and serve until cancelled."""
    book = Book()
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
        print(listening.getsockname()[1], flush=True)
        await asyncio.sleep(accept_after_s)
        server = await asyncio.get_running_loop().create_server(
            lambda: Serving(book, script), sock=listening, ssl=tls, backlog=BACKLOG
        )
        async with server:
            await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--script", type=json.loads, default={}, help="JSON, as described above")
    parser.add_argument("--elsewhere", default="", help="where the redirects lead")
    parser.add_argument("--tls", metavar="PEM", help="a certificate and its key; serve https")
    parser.add_argument("--accept-after", type=float, default=0.0, metavar="SECONDS")
    told = parser.parse_args()
    script = Script(told.script)
    script.elsewhere = told.elsewhere
    asyncio.run(serve(script, told.tls, told.accept_after))


if __name__ == "__main__":
    main()
