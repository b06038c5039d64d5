import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from llmbatch_cli.core.errors import ContextLength, Unreachable, UsageError
from llmbatch_cli.core.events import Event, Observer, Pulled, ignore
from llmbatch_cli.core.types import Completion, Message, Request, Send, WireRequest
from llmbatch_cli.providers.local import provider as local_provider
from llmbatch_cli.providers.local.provider import SLOT_TOKENS, SLOTS, Local
from llmbatch_cli.providers.local.weights import SMOLLM2, pull
from llmbatch_cli.transport import Connection, open_network


@asynccontextmanager
async def sending() -> AsyncIterator[Send]:
    """A plain Send over its own connections."""
    async with open_network(Connection()) as network:
        yield network.send


@asynccontextmanager
async def asking(local: Local) -> AsyncIterator["Ask"]:
    async with local.serving(ignore) as own, sending() as send:
        assert own is None
        yield Ask(local, send)


class Ask:
    """Asks one served model."""

    def __init__(self, local: Local, send: Send) -> None:
        self.local = local
        self.send = send

    async def __call__(self, text: str, **params: object) -> Completion:
        return await self.messages([{"role": "user", "content": text}], **params)

    async def messages(self, messages: list[Message], **params: object) -> Completion:
        request = Request("smollm2", messages, params)
        return self.local.parse(request, await self.send(self.local.build(request)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask() -> AsyncIterator[Ask]:
    """One server for the tests that leave it as it was."""
    async with asking(Local("smollm2")) as one:
        yield one


@pytest.mark.parametrize("model", ["smollm", "", "model.bin", "gguf"])
def test_other_models_are_refused(model: str) -> None:
    """A name that is neither smollm2 nor a .gguf file is refused before anything is sent."""
    with pytest.raises(UsageError, match="no embedded model") as caught:
        Local.target(model, "")
    assert "local/smollm2" in str(caught.value.hint)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A model file that is not there is refused before anything is sent."""
    with pytest.raises(UsageError, match="no model file"):
        Local.target(str(tmp_path / "none.gguf"), "")


def test_the_target_of_a_spec() -> None:
    """`local/smollm2?temperature=1` is the model with that parameter."""
    target = Local.target("smollm2", "temperature=1")
    assert (target.provider.name, target.model, dict(target.params)) == (
        "local",
        "smollm2",
        {"temperature": 1},
    )


async def test_without_the_extra_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where xllamacpp is not installed the error says how to install it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UsageError, match="needs xllamacpp") as caught:
        async with Local("smollm2").serving(ignore):
            pass
    assert caught.value.hint == "pip install '.[local]' in a clone of llmbatch"


async def test_a_download_ends_when_the_run_is_cancelled() -> None:
    """Cancelling while the weights are fetched tells the thread that fetches them."""
    begun, told = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def load(observe: Observer, stop: threading.Event) -> Path:
        loop.call_soon_threadsafe(begun.set)
        if stop.wait(10):
            told.set()
        raise UsageError("stopped")

    async def serve() -> None:
        async with Local("smollm2", load=load).serving(ignore):
            pass

    pytest.importorskip("xllamacpp")
    task = asyncio.create_task(serve())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(told.wait, 5)


async def test_the_download_is_told_on_the_loop(tmp_path: Path) -> None:
    """Listeners hear of the download in the event loop's own thread, before it goes on."""
    pytest.importorskip("xllamacpp")
    heard: list[tuple[Event, int]] = []

    def load(observe: Observer, stop: threading.Event) -> Path:
        observe(Pulled("smollm2", 1, 2))
        return tmp_path / "none.gguf"

    def observe(event: Event) -> None:
        heard.append((event, threading.get_ident()))

    with pytest.raises(UsageError, match="cannot load"):
        async with Local("smollm2", load=load).serving(observe):
            pass
    assert heard == [(Pulled("smollm2", 1, 2), threading.get_ident())]


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """A file that llama.cpp cannot read is an error that names it."""
    pytest.importorskip("xllamacpp")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF and nothing more")
    with pytest.raises(UsageError, match=r"cannot load .*broken\.gguf"):
        async with Local(str(path)).serving(ignore):
            pass


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_it_answers(ask: Ask) -> None:
    """A question gets its answer: text, finish reason, tokens, the model's name, no cost."""
    got = await ask("What is the capital of France?")
    assert got.text is not None
    assert "Paris" in got.text
    assert (got.finish_reason, got.model, got.cost_usd) == ("stop", "smollm2", 0.0)
    assert got.usage is not None
    assert got.usage.prompt_tokens is not None
    assert got.usage.completion_tokens is not None
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens
    assert 1 <= got.usage.completion_tokens <= 40


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_users_words_win(ask: Ask) -> None:
    """The user's own system message, bound and seed take the place of the defaults."""
    plain = await ask("Hello!", max_tokens=1)
    spoken: list[Message] = [
        {"role": "system", "content": "Be a pirate."},
        {"role": "user", "content": "Hello!"},
    ]
    own = await ask.messages(spoken, max_tokens=1)
    assert plain.usage is not None
    assert own.usage is not None
    assert own.usage.prompt_tokens != plain.usage.prompt_tokens
    assert (own.usage.completion_tokens, own.finish_reason) == (1, "length")
    hot = {"temperature": 2.0, "max_tokens": 12, "top_k": 0, "min_p": 0.0}
    one, other = [await ask("Hello!", seed=seed, **hot) for seed in (1, 2)]
    assert one.text != other.text


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_else_gets_in(ask: Ask) -> None:
    """Without the run's own random key the server answers no one, and it is on loopback alone."""
    local = ask.local
    assert local._api_key != Local("smollm2")._api_key
    assert urlsplit(local.base_url).hostname == "127.0.0.1"
    wire = local.build(Request("smollm2", [{"role": "user", "content": "x"}], {}))
    for headers in ({}, {"authorization": "Bearer sk-other"}):
        reply = await ask.send(WireRequest("POST", wire.url, headers, wire.body))
        assert reply.status == 401
        assert reply.headers["access-control-allow-origin"] != "*"
    assert str(local._api_key) not in repr(wire) + repr(local)


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_prompt_too_long_is_told(ask: Ask) -> None:
    """A prompt longer than a slot is ContextLength, and only that one."""
    long = asyncio.create_task(ask("word " * (SLOT_TOKENS + 1)))
    assert (await ask("Hello!", max_tokens=2)).text
    with pytest.raises(ContextLength):
        await long


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_more_requests_than_slots(ask: Ask) -> None:
    """Requests beyond the slots wait for their turn and are all answered."""
    asked = (ask(f"Say {index}.", max_tokens=2) for index in range(SLOTS * 3))
    got = await asyncio.gather(*asked)
    assert all(completion.text for completion in got)


@pytest.mark.local
@pytest.mark.timeout(300)
async def test_it_ends_while_it_is_answering() -> None:
    """Leaving with requests in flight stops the server soon and frees its port."""
    local = Local("smollm2")
    async with sending() as send:
        async with local.serving(ignore):
            request = Request("smollm2", [{"role": "user", "content": "Count."}], {})
            wire = local.build(request)
            flying = [asyncio.ensure_future(send(wire)) for _ in range(SLOTS * 2)]
            await asyncio.sleep(0.2)
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            left_s = time.monotonic()
        assert time.monotonic() - left_s < 10
        with pytest.raises(Unreachable):
            await send(wire)


@pytest.mark.local
@pytest.mark.timeout(300)
async def test_any_model_file_can_be_served(tmp_path: Path) -> None:
    """`local/PATH.gguf` serves that file, under its name without the folders."""
    path = tmp_path / "mine.gguf"
    path.symlink_to(await asyncio.to_thread(pull))
    async with asking(Local(str(path))) as ask:
        got = await ask("Hello!", max_tokens=3)
        assert got.text
        assert got.model == "mine.gguf"


WHOLE = """
import asyncio, sys, threading
sys.path[:0] = {path!r}
from llmbatch_cli.core.events import ignore
from llmbatch_cli.providers.local.provider import Local
from tests.providers.test_local import asking

async def main(how):
    async with asking(Local("smollm2")) as ask:
        print((await ask("Hello!", max_tokens=3)).usage.completion_tokens)
        if how == "raise":
            sys.exit(7)
        if how == "cancel":
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

try:
    asyncio.run(main(sys.argv[1]))
except asyncio.CancelledError:
    pass
"""


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "status"), [("return", 0), ("cancel", 0), ("raise", 7)])
def test_a_whole_process_is_quiet_and_ends(how: str, status: int) -> None:
    """However it ends, the process says nothing on standard error and leaves at once."""
    pull()
    done = subprocess.run(
        [sys.executable, "-c", WHOLE.format(path=[*sys.path, str(Path.cwd())]), how],
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        timeout=200,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"3\n", b"", status)


@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user bounds nothing, an answer that would go on for ever ends as `length`."""
    assert 256 <= local_provider.ANSWER_TOKENS <= SLOT_TOKENS // 2
    monkeypatch.setattr(local_provider, "ANSWER_TOKENS", 24)
    async with asking(Local("smollm2")) as ask:
        got = await ask("Count.", ignore_eos=True)
    assert got.usage is not None
    assert (got.usage.completion_tokens, got.finish_reason) == (24, "length")


def test_a_model_file_that_has_changed_is_another_source(tmp_path: Path) -> None:
    """By its whole path, size and time; the embedded model is known by its weights."""
    file = tmp_path / "a.gguf"
    file.write_bytes(b"one")
    before = Local(str(file)).source
    assert Local(str(file)).source == before
    file.write_bytes(b"other")
    assert Local(str(file)).source != before
    assert Local("smollm2").source == ("local", SMOLLM2.sha256)
