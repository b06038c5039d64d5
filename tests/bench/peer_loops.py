"""The programs that llmbatch is measured against, each the way its own users would write it.

`python peer_loops.py PEER ROWS ANSWERS BASE_URL IN_FLIGHT`: ROWS is JSONL of {"id", "prompt"},
ANSWERS receives one JSON line a row. One file, because each peer is run by the interpreter of its
own environment and can import nothing of ours. litellm and flexllm are slow enough to be given
few rows, so they print {"work_s", "work_cpu_s"}: the time from the first row read to the last
answer written, without interpreter start and imports, which would weigh heavily on them.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MODEL = "bench-model"
API_KEY = "no-key"
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """What one peer is given to do."""

    rows: Path
    answers: Path
    base_url: str
    in_flight: int


def bare_aiohttp(job: Job) -> None:
    """The least Python that does the whole work: the yardstick of what the language allows."""
    import uvloop

    uvloop.run(_bare_aiohttp(job))


async def _bare_aiohttp(job: Job) -> None:
    import aiohttp
    import orjson

    async def work() -> None:
        for index, line in rows:
            row = orjson.loads(line)
            started = time.perf_counter()
            async with session.post(
                url, data=orjson.dumps(_body(row)), headers=headers
            ) as response:
                reply = await response.read()
                response.raise_for_status()
            answer = _answer(index, row, orjson.loads(reply), time.perf_counter() - started)
            answers.write(orjson.dumps(answer) + b"\n")

    url = f"{job.base_url}/chat/completions"
    headers = {"Content-Type": "application/json"}
    with job.rows.open("rb") as source, job.answers.open("wb") as answers:
        rows = enumerate(source)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as session:
            await asyncio.gather(*(work() for _ in range(job.in_flight)))


def plain_httpx(job: Job) -> None:
    """httpx.AsyncClient as it comes, with limits that let `in_flight` requests out."""
    asyncio.run(_plain_httpx(job))


async def _plain_httpx(job: Job) -> None:
    import httpx

    async def work() -> None:
        for index, line in rows:
            row = json.loads(line)
            started = time.perf_counter()
            response = await client.post(f"{job.base_url}/chat/completions", json=_body(row))
            response.raise_for_status()
            _write(answers, _answer(index, row, response.json(), time.perf_counter() - started))

    with job.rows.open("rb") as source, job.answers.open("wb") as answers:
        rows = enumerate(source)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:
            await asyncio.gather(*(work() for _ in range(job.in_flight)))


def litellm_threads(job: Job) -> None:
    """batch_completion with its default of 100 threads, whatever `in_flight` says."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it asks the internet
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    with _timed():
        rows = _read(job.rows)
        replies = litellm.batch_completion(
            model=f"openai/{MODEL}",
            messages=[_body(row)["messages"] for row in rows],
            api_base=job.base_url,
            api_key=API_KEY,
            max_workers=100,
        )
        with job.answers.open("wb") as answers:
            for index, (row, reply) in enumerate(zip(rows, replies, strict=True)):
                if isinstance(reply, Exception):
                    raise reply
                _write(answers, _answer(index, row, reply.model_dump(), None))


def flexllm_batch(job: Job) -> None:
    """chat_batch with its own output file; its cache, progress bar and rate limit are off."""
    from flexllm import LLMClient

    client = LLMClient(
        provider="openai",
        base_url=job.base_url,
        api_key=API_KEY,
        model=MODEL,
        concurrency_limit=job.in_flight,
        max_qps=None,
        timeout=TIMEOUT_S,
        cache=False,
    )
    with _timed():
        result = client.chat_batch_sync(
            [_body(row)["messages"] for row in _read(job.rows)],
            show_progress=False,
            output_jsonl=str(job.answers),
        )
        result.raise_for_errors()


def _body(row: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": row["prompt"]}]}


def _answer(
    index: int, row: dict[str, Any], reply: dict[str, Any], latency: float | None
) -> dict[str, Any]:
    """The line that llmbatch writes, so that every loop serialises the same amount."""
    choice = reply["choices"][0]
    return {
        "index": index,
        "id": row["id"],
        "model": reply["model"],
        "provider": "openai",
        "text": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "usage": reply["usage"],
        "cost": None,
        "latency": latency,
        "attempts": 1,
        "metadata": {},
        "error": None,
    }


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as source:
        return [json.loads(line) for line in source]


def _write(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")


@contextmanager
def _timed() -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    work_s, work_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"work_s": work_s, "work_cpu_s": work_cpu_s}))


PEERS: dict[str, Callable[[Job], None]] = {
    "aiohttp": bare_aiohttp,
    "httpx": plain_httpx,
    "litellm": litellm_threads,
    "flexllm": flexllm_batch,
}

if __name__ == "__main__":
    name, rows, answers, base_url, in_flight = sys.argv[1:]
    PEERS[name](Job(Path(rows), Path(answers), base_url, int(in_flight)))
