"""A run from Parquet to Parquet that is killed in the middle and goes on."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.chat import answer, completion, last_text
from support.program import run, start
from support.scripted import Exchange, serve

REVIEWS = [f"review {n}" for n in range(40)]
BEFORE = 10


async def test_a_killed_parquet_run_answers_every_row_once(tmp_path: Path) -> None:
    """What was answered before the kill is not sent again, and the table is whole and typed."""
    source, out = tmp_path / "reviews.parquet", tmp_path / "labels.parquet"
    pq.write_table(pa.table({"stars": list(range(40)), "review": REVIEWS}), source)
    answered: list[str] = []
    restarted = asyncio.Event()

    async def label(exchange: Exchange) -> None:
        text = last_text(exchange)
        if len(answered) == BEFORE:
            await restarted.wait()
        answered.append(text)
        value = {"upper": text.upper(), "size": len(text)}
        await answer(exchange, completion(json.dumps(value)))

    async with serve(label) as server:
        command = (
            "batch", str(source), "-m", "m", "--base-url", server.url, "--prompt-field", "review",
            "--schema", "upper, size int", "-c", "4", "-o", str(out),
        )  # fmt: skip
        await _kill_after(BEFORE, out.with_name(f"{out.name}.llmbatch.jsonl"), *command)
        assert not out.exists()
        assert sorted(answered) == sorted(REVIEWS[:BEFORE])
        server.exchanges.clear()
        restarted.set()
        done = await run(*command, "--resume")
    assert done.status == 0, done.err
    assert f"{BEFORE} of 40 rows answered, {40 - BEFORE} to send" in done.err
    sent = [last_text(exchange) for exchange in server.exchanges]
    assert sorted(sent) == sorted(REVIEWS[BEFORE:])
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, source.name]
    table = pq.read_table(out)
    assert table.schema.field("size").type == pa.int64()
    assert table.to_pylist() == [_row(n, review) for n, review in enumerate(REVIEWS)]


async def _kill_after(rows: int, journal: Path, *command: str) -> None:
    """Start the program, and end it with SIGKILL once the journal has these rows."""
    process = await start(*command, "--quiet")
    async with asyncio.timeout(30):
        while not journal.exists() or journal.read_bytes().count(b"\n") < rows:
            assert process.returncode is None
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


def _row(stars: int, review: str) -> dict[str, Any]:
    return {
        "stars": stars, "review": review,
        "upper": review.upper(), "size": len(review), "error": None,
    }  # fmt: skip
