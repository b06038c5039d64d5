"""The programs that llmbatch is measured against, each the way its own users would write it.

`python peer_loops.py PEER ROWS ANSWERS BASE_URL IN_FLIGHT`: ROWS is JSONL of {"id", "prompt"},
ANSWERS receives one JSON line a row. Each peer is run by the interpreter of its own environment
and can import nothing of ours but the bench. litellm, flexllm and saturate are slow enough to be
given few rows, so they print {"work_s", "work_cpu_s"}: the time from the first row read to the
last answer written, without interpreter start and imports, which would weigh heavily on them.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bare_loops import bare_aiohttp, bare_client, sockets
from bench.peer_job import API_KEY, MODEL, TIMEOUT_S, Job, answer, body, read, timed, write


def plain_httpx(job: Job) -> None:
    """httpx.AsyncClient as it comes, with limits that let `in_flight` requests out."""
    asyncio.run(_plain_httpx(job))


async def _plain_httpx(job: Job) -> None:
    import httpx

    async def work() -> None:
        for index, line in rows:
            row = json.loads(line)
            started = time.perf_counter()
            response = await client.post(job.chat_url, json=body(row))
            response.raise_for_status()
            write(answers, answer(index, row, response.json(), time.perf_counter() - started))

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
    with timed():
        rows = read(job.rows)
        replies = litellm.batch_completion(
            model=f"openai/{MODEL}",
            messages=[body(row)["messages"] for row in rows],
            api_base=job.base_url,
            api_key=API_KEY,
            max_workers=100,
        )
        with job.answers.open("wb") as answers:
            for index, (row, reply) in enumerate(zip(rows, replies, strict=True)):
                if isinstance(reply, Exception):
                    raise reply
                write(answers, answer(index, row, reply.model_dump(), None))


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
    with timed():
        result = client.chat_batch_sync(
            [body(row)["messages"] for row in read(job.rows)],
            show_progress=False,
            output_jsonl=str(job.answers),
        )
        result.raise_for_errors()


def saturate_pump(job: Job) -> None:
    """pump with a window of `in_flight` and a sink of JSON lines, which costs it the least.

    Its own sink writes a Parquet file and a manifest for every ten rows.
    """
    from saturate import Fixed, pump

    with timed(), job.answers.open("wb") as answers:
        pump(
            ({**row, "index": index} for index, row in enumerate(read(job.rows))),
            to_request=body,
            parse=lambda row, reply: answer(row["index"], row, reply, None),
            endpoint=job.base_url,
            output=JsonLines(answers),
            window=Fixed(job.in_flight),
            id_key="id",
        )


class JsonLines:
    """A sink as saturate wants it."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers

    def existing_ids(self, retry_errors: bool = False) -> set[str]:
        """Nothing was done before."""
        return set()

    def append(self, record: dict[str, Any]) -> None:
        """Write one answer."""
        if record["error"] is not None:
            raise RuntimeError(record["error"])
        write(self._answers, record)

    def flush(self) -> None:
        """Called once, at the end; the file is closed after it."""


PEERS: dict[str, Callable[[Job], None]] = {
    "aiohttp": bare_aiohttp,
    "bare client": bare_client,
    "sockets": sockets,
    "httpx": plain_httpx,
    "litellm": litellm_threads,
    "flexllm": flexllm_batch,
    "saturate": saturate_pump,
}

if __name__ == "__main__":
    name, rows, answers, base_url, in_flight = sys.argv[1:]
    PEERS[name](Job(Path(rows), Path(answers), base_url, int(in_flight)))
