"""Whatever a server says, cut anywhere: one reply or one ProviderError, and then the next one's."""

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.scripted import Exchange, abort, serve
from support.sending import chunked, head, post, streamed, whole

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.loops import loop_factory
from llmbatch_cli.transport import Connection, HttpClient, Network, open_network

End = Literal["kept", "closed", "reset", "cancelled"]
CAP = 5_000
PATIENCE_S = 0.02
"""How long a server that keeps the connection waits, once it has said all."""
HANG_S = 10.0
"""Far longer than anything takes."""

TOKENS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n"),
    *(b"HTTP/1.1 304 No\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 101 Up\r\n", b"HTTP/1.1 "),
    *(b"HTTP/", b"200", b"content-length:", b"content-length: 5\r\n", b"content-length: 0\r\n"),
    *(b"content-length: 4, 4\r\n", b"Content-Length: -1\r\n"),
    b"content-length: 99999999999999999999999\r\n",
    *(b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n"),
    *(b"transfer-encoding: identity\r\n", b"Transfer-Encoding: chunked, x\r\n"),
    *(b"connection: close\r\n", b"connection: keep-alive\r\n"),
    b"connection: upgrade\r\nupgrade: x\r\n",
    *(b"content-encoding: gzip\r\n", b"content-encoding: br\r\n"),
    b"content-encoding: zstd, deflate\r\n",
    *(b"x: y\r\n", b" folded\r\n", b"x : y\r\n", b": y\r\n", b"x\r\n", b"set-cookie: a=b\r\n"),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b"\0", b"\x80\xff"),
    *(b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n"),
    *(b"0\r\n", b"5\r\n", b"ffffffffffffffffff\r\n", b"-5\r\n", b"0x5\r\n", b"+5\r\n", b"hello"),
    *(gzip.compress(b"hello", mtime=0), gzip.compress(bytes(50_000), mtime=0), b"y" * 6_000),
)
REPLIES = (
    *(whole(b"hello"), whole(b""), chunked(b"he", b"llo")),
    chunked(b"hello", trailers=b"x: y\r\n"),
    head(status="HTTP/1.1 204 No Content"),
    head("content-length: 5", status="HTTP/1.1 304 No"),
    head("x: y") + b"hello",
    whole(b"hello", "connection: close"),
    whole(gzip.compress(b"hello", mtime=0), "content-encoding: gzip"),
    head("content-length: 5", "transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    whole(b"x", status="HTTP/1.1 103 Early Hints"),
    head(status="HTTP/1.1 100 Continue"),
    whole(b"stolen", "x: y", status="HTTP/1.1 429 Too Many"),
    *(b"\r\n", b"0\r\n\r\n"),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Some replies behind each other, in which a few places are changed."""
    data = b"".join(draw(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 3))):
        begin, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        put = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
        data = data[:begin] + put + data[begin + length :]
    return data


said = st.one_of(
    mutated(),
    st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join),
    st.lists(st.sampled_from(TOKENS), max_size=12).map(lambda rest: TOKENS[0] + b"".join(rest)),
    st.binary(max_size=200),
)


@dataclass(frozen=True)
class Script:
    """What a server answers to one request, how it goes on, and how it is asked."""

    pieces: tuple[bytes, ...]
    end: End = "kept"
    pause_s: float = 0
    """Between the pieces; before a cancellation."""
    method: str = "POST"
    is_stream: bool = False


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Anything that can be said, cut anywhere."""
    data = draw(said)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return Script(
        tuple(data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])),
        draw(st.sampled_from(get_args(End))),
        draw(st.sampled_from([0, 0, 0, 0.001])),
        draw(st.sampled_from(["POST", "POST", "POST", "HEAD"])),
        draw(st.booleans()),
    )


class Stage:
    """A server that plays scripts, and a network; both outlive the scripts."""

    def __init__(self, url: str, network: Network) -> None:
        self.url = url
        self.network = network
        self.script = Script(())
        self.number = 0
        self.is_played = asyncio.Event()
        self.giving_up: asyncio.TimerHandle | None = None

    async def answer(self, exchange: Exchange) -> None:
        """Play the script, or answer with the request's number."""
        if exchange.path != "/script":
            await exchange.reply(exchange.body, headers={"x-number": exchange.body.decode()})
            return
        script, loop = self.script, asyncio.get_running_loop()
        try:
            for piece in script.pieces:
                await exchange.raw(piece)
                await asyncio.sleep(script.pause_s)
            if script.end == "reset":
                abort(exchange)
            elif script.end == "closed":
                exchange.writer.close()
            elif script.end == "kept":
                self.giving_up = loop.call_later(PATIENCE_S, exchange.writer.close)
        finally:
            self.is_played.set()

    async def play(self, script: Script) -> WireReply | ProviderError | None:
        """What comes of it; None for a cancelled request."""
        self.script = script
        self.is_played.clear()
        send = streamed(self.network) if script.is_stream else self.network.send
        sending = asyncio.ensure_future(send(WireRequest(script.method, f"{self.url}/script", {})))
        if script.end == "cancelled":
            await asyncio.sleep(script.pause_s)
            sending.cancel()
        ended, _ = await asyncio.wait([sending], timeout=HANG_S)
        assert ended, "it hangs"
        with suppress(TimeoutError):  # where the request has never come
            await asyncio.wait_for(self.is_played.wait(), 10 * PATIENCE_S)
        if self.giving_up is not None:
            self.giving_up.cancel()
        await asyncio.sleep(0.001)  # whatever came behind the reply is seen
        try:
            return sending.result()
        except asyncio.CancelledError:
            return None
        except ProviderError as error:
            return error

    async def check_next(self) -> None:
        """The next requests get their own answers."""
        for _ in range(2):
            self.number += 1
            body = b"%d" % self.number
            reply = await asyncio.wait_for(self.network.send(post(self.url, body)), HANG_S)
            assert (reply.body, reply.headers["x-number"]) == (body, body.decode())


@contextmanager
def staged(
    http: HttpClient, factory: Callable[[], asyncio.AbstractEventLoop] | None
) -> Iterator[tuple[Stage, Callable[[Any], Any]]]:
    """A stage, and what runs coroutines on its loop. Fails where a callback has failed."""
    troubles: list[Any] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stage]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        connection = Connection(http=http, max_reply_bytes=CAP)
        server_of = serve(lambda exchange: stage.answer(exchange))
        async with server_of as server, open_network(connection) as network:
            stage = Stage(server.url, network)
            yield stage

    with asyncio.Runner(loop_factory=factory) as runner:
        opening = opened()
        stage = runner.run(opening.__aenter__())
        try:
            yield stage, runner.run
        finally:
            runner.run(opening.__aexit__(None, None, None))
    assert troubles == [], troubles


def check_one_end(stage: Stage, run: Callable[[Any], Any], script: Script) -> None:
    """One reply within the cap, or one error; then the next ones get their own."""
    got = run(stage.play(script))
    if isinstance(got, WireReply):
        assert 200 <= got.status <= 999
        assert len(got.body) <= CAP
        assert script.method != "HEAD" or got.body == b""
        assert all(name == name.lower() for name in got.headers)
    run(stage.check_next())


LOOPS = {"uvloop": loop_factory(), "asyncio": asyncio.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
def test_any_bytes_end_in_one_reply_or_one_error(http: HttpClient, loop: str) -> None:
    """Never in a hang, in another exception, or in a leftover for the next request."""
    with staged(http, LOOPS[loop]) as (stage, run):

        @settings(max_examples=60 if http == "llhttp" else 20)
        @given(scripts())
        @example(Script((whole(b"hello") + whole(b"stolen"),)))
        @example(Script((whole(b"hello") + whole(b"stolen"),), method="HEAD", is_stream=True))
        def check(script: Script) -> None:
            check_one_end(stage, run, script)

        check()


# What is well-formed

TEXT = st.text("abc \u00e9,;=\"'()<>", max_size=9).map(str.strip)
FIELDS = st.dictionaries(st.sampled_from(["x-a", "X-B", "Retry-After", "server"]), TEXT)


@dataclass(frozen=True)
class WellFormed:
    """A reply as any server may send it."""

    status: int
    fields: dict[str, str]
    body: tuple[bytes, ...]
    framing: Literal["length", "chunks", "close"]
    is_packed: bool
    interim: int

    def data(self) -> bytes:
        """As it is written."""
        lines = [f"{name}: {text}" for name, text in self.fields.items()]
        body = b"".join(self.body)
        if self.is_packed:
            lines.append("content-encoding: gzip")
            body = gzip.compress(body, mtime=0)
        first = f"HTTP/1.1 {self.status} Whatever"
        early = b"HTTP/1.1 103 Early Hints\r\nx-a: early\r\n\r\n" * self.interim
        if self.framing == "length":
            return early + whole(body, *lines, status=first)
        if self.framing == "close":
            return early + head(*lines, status=first) + body
        pieces = [body] if self.is_packed else [piece for piece in self.body if piece]
        return early + chunked(*pieces, lines=lines, status=first)


well_formed = st.builds(
    WellFormed,
    st.sampled_from([200, 201, 302, 400, 418, 429, 500, 599]),
    FIELDS,
    st.lists(st.binary(max_size=40), max_size=4).map(tuple),
    st.sampled_from(["length", "chunks", "close"]),
    st.booleans(),
    st.integers(0, 2),
)


@pytest.mark.parametrize("loop", LOOPS)
def test_both_clients_read_what_was_written(loop: str) -> None:
    """Status, headers and body of whatever is well-formed, cut anywhere."""
    with (
        staged("llhttp", LOOPS[loop]) as (ours, run),
        staged("httpx", None) as (theirs, run_theirs),
    ):

        @settings(max_examples=40)
        @given(well_formed, st.lists(st.integers(0, 300), max_size=5), st.booleans())
        def check(reply: WellFormed, cuts: list[int], is_stream: bool) -> None:
            data = reply.data()
            places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
            pieces = tuple(data[a:b] for a, b in itertools.pairwise(places))
            end: End = "closed" if reply.framing == "close" else "kept"
            for stage, run_on in ((ours, run), (theirs, run_theirs)):
                got = run_on(stage.play(Script(pieces, end, is_stream=is_stream)))
                assert isinstance(got, WireReply), got
                assert (got.status, got.body) == (reply.status, b"".join(reply.body))
                for name, text in reply.fields.items():
                    assert got.headers[name.lower()] == text
            run(ours.check_next())

        check()
