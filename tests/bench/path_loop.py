"""What a row costs without a network: `python path_loop.py ROWS ANSWERS REPLY IN_FLIGHT`.

The command `llmbatch batch` as users run it, but for one function: what would send a request
gives back the bytes of the file REPLY, one turn of the loop later. Prints {"work_s",
"work_cpu_s"} of one whole run; one of few rows goes before it, so that imports do not count.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from llmbatch_cli.__main__ import run as run_llmbatch
from llmbatch_cli.core.types import WireReply, WireRequest, WireStream
from llmbatch_cli.transport import CLIENTS, Connection, Network

FIRST_ROWS = 1_000
HEADERS = {
    "server": "nginx/1.22.1",
    "date": "Thu, 26 Nov 2026 11:00:00 GMT",
    "content-type": "application/json",
    "connection": "keep-alive",
}


def network(reply: WireReply) -> Network:
    """A network whose every answer is there already."""

    async def send(request: WireRequest) -> WireReply:
        await asyncio.sleep(0)
        return reply

    def stream(request: WireRequest) -> AbstractAsyncContextManager[WireStream]:
        raise AssertionError("a batch does not stream")

    return Network(send, stream)


@asynccontextmanager
async def open_network(connection: Connection) -> AsyncIterator[Network]:
    """What `llmbatch_cli.transport` opens in the place of its clients."""
    body = REPLY.read_bytes()
    yield network(WireReply(200, HEADERS | {"content-length": str(len(body))}, body))


def run(*more: str) -> None:
    """One run of the command."""
    sys.argv = ["llmbatch", "batch", ROWS, "-m", "openai/bench-model", "-o", ANSWERS, "-q"]
    sys.argv += ["--base-url", "http://127.0.0.1:9/v1", "-c", IN_FLIGHT, "--overwrite", *more]
    if status := run_llmbatch():
        sys.exit(status)


def main() -> None:
    """Measure."""
    for name in CLIENTS:
        CLIENTS[name] = "__main__:open_network"
    run("--limit", str(FIRST_ROWS))
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    work_s, work_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"work_s": work_s, "work_cpu_s": work_cpu_s}))


if __name__ == "__main__":
    ROWS, ANSWERS, reply, IN_FLIGHT = sys.argv[1:]
    REPLY = Path(reply)
    main()
