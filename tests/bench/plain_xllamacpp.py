"""xllamacpp's own server and plain requests to it: `plain_xllamacpp.py ROWS ANSWERS IN_FLIGHT`.

The least that gets the embedded model's answers: the server that llmbatch's `local` provider
starts, with its weights and settings, then a bare httpx loop and one JSON line a row. What it
does faster than llmbatch is llmbatch's own doing.
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx

from llmbatch_cli.core.events import ignore
from llmbatch_cli.core.types import Request, WireRequest
from llmbatch_cli.providers.local.provider import Local


async def answer(rows: Path, answers: Path, in_flight: int) -> None:
    """Serve and ask in one process, as llmbatch does; every row, `in_flight` at a time."""
    provider = Local("smollm2")
    async with provider.serving(ignore):
        wire = provider.build(Request(model="smollm2", messages=(), params={}))
        await _ask(rows, answers, wire, in_flight)


async def _ask(rows: Path, answers: Path, wire: WireRequest, in_flight: int) -> None:
    """`wire` gives the address and the key; the bodies are made here."""

    async def work() -> None:
        for line in source:
            row = json.loads(line)
            body = {key: value for key, value in row.items() if key not in {"id", "prompt"}}
            body["messages"] = [{"role": "user", "content": row["prompt"]}]
            response = await client.post(wire.url, json=body, headers=wire.headers)
            reply = response.raise_for_status().json()
            text = reply["choices"][0]["message"]["content"]
            out.write(json.dumps({"id": row["id"], "text": text, "usage": reply["usage"]}) + "\n")

    with rows.open() as source, answers.open("w") as out:
        async with httpx.AsyncClient(timeout=None, verify=False) as client:
            await asyncio.gather(*(work() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(answer(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
