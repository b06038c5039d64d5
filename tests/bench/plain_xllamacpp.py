"""xllamacpp's own server and plain requests to it: `plain_xllamacpp.py ROWS ANSWERS IN_FLIGHT`.

The least that gets the embedded model's answers: the same weights and server settings as
llmbatch's `local` provider, a bare aiohttp loop, one JSON line a row.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import xllamacpp

from llmbatch_cli.providers.weights import SMOLLM2, models_folder

SLOTS = 4
SLOT_TOKENS = 2_048


def start_server() -> Any:
    """A server on a free loopback port; it ends when it is collected."""
    params = xllamacpp.CommonParams()
    params.model.path = str(models_folder() / SMOLLM2.file)
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.port = 0
    return xllamacpp.Server(params)


async def answer(rows: Path, answers: Path, address: str, in_flight: int) -> None:
    """Send every row, `in_flight` at a time, and write each reply's usage and text."""

    async def work() -> None:
        for line in source:
            row = json.loads(line)
            body = {key: value for key, value in row.items() if key not in {"id", "prompt"}}
            body["messages"] = [{"role": "user", "content": row["prompt"]}]
            async with session.post(f"{address}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                reply = await response.json()
            text = reply["choices"][0]["message"]["content"]
            answer = {"id": row["id"], "text": text, "usage": reply["usage"]}
            out.write(json.dumps(answer) + "\n")

    with rows.open() as source, answers.open("w") as out:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(work() for _ in range(in_flight)))


def main() -> None:
    """Serve and ask in one process, as llmbatch does."""
    rows, answers, in_flight = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    server = start_server()
    asyncio.run(answer(rows, answers, server.listening_address, in_flight))


if __name__ == "__main__":
    main()
