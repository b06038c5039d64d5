"""A run by the batch API, from rows to answers, with the real program."""

import json
from pathlib import Path
from typing import Any

from batch_api.simulated_openai import simulated
from support.program import Done, jsonl, run


def rows_of(path: Path) -> list[dict[str, Any]]:
    return sorted(map(json.loads, path.read_bytes().splitlines()), key=lambda row: row["index"])


def prompts(path: Path, count: int) -> Path:
    path.write_bytes(jsonl([{"prompt": f"p{place}"} for place in range(count)]))
    return path


async def batch(url: str, source: Path, out: Path, *more: str) -> Done:
    env = {"OPENAI_API_KEY": "sk-test", "LLMBATCH_STATE_DIR": str(out.parent / "state")}
    words = ("batch", str(source), "-o", str(out), "-m", "gpt-4o-mini", "--base-url", url)
    return await run(*words, "--batch-api", *more, env=env)


async def test_rows_go_through_one_job_and_come_back_as_they_would_live(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await batch(provider.url, source, out)
    assert done.status == 0, done.err
    rows = rows_of(out)
    assert [row["text"] for row in rows] == [f"re: p{place}" for place in range(5)]
    assert {row["lane"] for row in rows} == {"batch"}
    assert provider.creates == provider.uploads == 1
    assert provider.worked == {f"p{place}": 1 for place in range(5)}
    assert provider.keys == {"Bearer sk-test"}
    assert not (tmp_path / "out.jsonl.llmbatch-jobs").exists()
