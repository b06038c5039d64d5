"""The real program at a real server that queues, as Ollama, llama.cpp and vLLM do."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest
from support.program import jsonl, run

SERVER = Path(__file__).parents[1] / "bench" / "queueing_server.py"
ROWS = 150


@pytest.mark.parametrize(
    "command",
    [("batch",), ("race", "-m", "openai/bench-model", "--hedge", "2")],
    ids=lambda c: c[0],
)
async def test_a_server_that_queues_answers_every_row(command: tuple[str, ...]) -> None:
    """Four slots, 50 ms an answer, --timeout twenty times that, no -c: a run climbed to 512 in
    flight, and 661 of 1,800 rows were answered, the others timed out."""
    law = json.dumps({"slots": 4, "mean_s": 0.05})
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), law, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(await server.stdout.readline())}"
        rows = jsonl([{"prompt": f"{number}"} for number in range(ROWS)])
        done = await run(
            *command, "-m", "openai/bench-model", "--base-url", f"{url}/v1", "--timeout", "1",
            stdin=rows,
        )  # fmt: skip
        seen = (await asyncio.to_thread(httpx.get, f"{url}/seen?since=20&until=130")).json()
    finally:
        server.terminate()
        await server.wait()
    assert (done.status, len(done.rows)) == (0, ROWS)
    assert seen["in_flight"] <= 16
