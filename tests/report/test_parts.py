"""Reports and lists of failures of a run on a cluster, whose output is a folder of parts."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.program import run

FAILED = {"type": "rejected", "message": "no", "status": 400, "retryable": False}


def row(index: int, error: Any = None) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    text = None if error else "an answer"
    fields = {"index": index, "id": index, "model": "m", "provider": "p", "text": text}
    fields |= {"finish_reason": "stop", "usage": usage, "cost": 0.5, "latency": 0.1}
    return json.dumps({**fields, "attempts": 1, "metadata": {}, "error": error}).encode() + b"\n"


@pytest.mark.parametrize("rows_in", [".", "_work/rows"])
async def test_a_folder_of_parts_is_read_as_one(tmp_path: Path, rows_in: str) -> None:
    """Those of tables lie apart from the tables."""
    out = tmp_path / "out"
    (out / "_work" / "rows").mkdir(parents=True)
    (out / "_work" / "plan.json").write_text("{}")
    (out / "part-00000.csv").write_text("answer\n")
    (out / rows_in / "part-00000.jsonl").write_bytes(row(0) + row(1, FAILED))
    (out / rows_in / "part-00001.jsonl").write_bytes(row(2))
    (out / "_work" / "00002.e1.jsonl").write_bytes(row(3))
    done = await run("report", str(out), "--json")
    figures = json.loads(done.out)
    assert (figures["rows"], figures["answered"], figures["failed"]) == (3, 2, 1)
    assert figures["cost"]["usd"] == 1.5
    failures = await run("errors", str(out))
    assert "1 of 3 rows failed" in failures.out.decode()
