"""Leaving a batch or a stream before its end, in every way that a program may.

Reported as openai/openai-python 503, hiyouga/LlamaFactory PR 10724, BerriAI/litellm 12861.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support.chat import answer, completion, event, last_text, stream
from support.program import environment
from support.scripted import Exchange, serve

COMMON = """
import asyncio, gc
from llmbatch_cli import *

network = Network(base_url=["URL/v1"])
rows = ["quick", *(f"row {n}" for n in range(30))]
models = ["m", "openai/m2"]
how = dict(api_base="URL/v1", api_key="k", stream=True)
kept = []
"""

SYNC = """
for outcome in batch(rows, model="m", client=Client(network=network)):
    break
for outcome in race(rows, models=models, client=Client(network=network)):
    break
try:
    for outcome in batch(rows, model="m", client=Client(network=network)):
        raise KeyError
except KeyError:
    pass
kept.append(batch(rows, model="m", client=Client(network=network)))
next(kept[0])

conversations = ["a", "b", "c"]
streams = batch_completion("openai/m", conversations, **how)
for chunk in streams[0]:
    break
next(streams[1])
del streams
for chunk in batch_completion_models(models=["openai/m", "openai/m2"], messages="a", **how):
    break
kept.append(batch_completion("openai/m", conversations, **how))
next(kept[1][2])
print("left")
"""

ASYNC = """
async def main():
    async with Client(network=network) as client:
        async for outcome in client.batch(rows, model="m"):
            break
        async for outcome in client.race(rows, models=models):
            break
        forgotten = client.batch(rows, model="m")
        await anext(forgotten)
        del forgotten
        gc.collect()
        dropped = asyncio.ensure_future(anext(client.batch(rows[1:], model="m")))
        await asyncio.sleep(0.2)
        dropped.cancel()
    unclosed = await Client(network=network).__aenter__()
    kept.append(unclosed.batch(rows, model="m"))
    await anext(kept[-1])

    async for chunk in await acompletion("openai/m", "a", **how):
        break
    race_of_two = dict(models=["openai/m", "openai/m2"], messages="a", **how)
    await anext(await abatch_completion_models(**race_of_two))
    streams = await abatch_completion("openai/m", ["a", "b", "c"], **how)
    async for chunk in streams[0]:
        break
    kept.extend(streams)

if "uvloop" in kept:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
print("left")
"""


CLOSED = """
[outcome] = batch(["quick"], model="m", client=Client(network=network, progress=True))
assert outcome.text == "done"
for chunk in batch_completion("openai/m", ["a"], **how)[0]:
    break
open("left", "w").close()
"""


@pytest.mark.parametrize("closed", ["<&- 2>&-", "<&- >&- 2>&-"])
async def test_closed_standard_streams_end_no_program(tmp_path: Path, closed: str) -> None:
    """As a daemon's: a socket that gets the number of one of them is a socket."""

    async def handle(exchange: Exchange) -> None:
        if json.loads(exchange.body).get("stream"):
            await stream(exchange, "a", "b", pause_s=0.1)
        else:
            await answer(exchange, completion("done"))

    async with serve(handle) as server:
        (tmp_path / "program.py").write_text((COMMON + CLOSED).replace("URL", server.url))
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} program.py {closed}", cwd=tmp_path, env=environment()
        )
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    assert (tmp_path / "left").exists()


@pytest.mark.parametrize(
    "program", [SYNC, ASYNC, f"kept.append('uvloop')\n{ASYNC}"], ids=["sync", "async", "uvloop"]
)
async def test_leaving_is_silent_and_closes_the_connections(tmp_path: Path, program: str) -> None:
    """By break, exception, garbage collection, cancellation, at the loop's end, at the exit: not a
    word on standard error with all of Python's warnings on, and no request goes on."""
    open_now = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal open_now
        if json.loads(exchange.body).get("stream"):
            await exchange.raw(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                + event({"content": "a"})
            )
        elif last_text(exchange) == "quick":
            await answer(exchange, completion("done"))
            return
        open_now += 1
        with suppress(ConnectionError):
            await exchange.until_closed()
        open_now -= 1
        exchange.writer.close()

    async with serve(handle) as server:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-X", "dev", "-c", (COMMON + program).replace("URL", server.url)],
            capture_output=True, text=True, timeout=30, env=environment(), cwd=tmp_path,
        )  # fmt: skip
        async with asyncio.timeout(5):
            while open_now:
                await asyncio.sleep(0.01)
    # asyncio's notes of slow steps tell of a slow machine
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.stdout, lines, done.returncode) == ("left\n", [], 0)
