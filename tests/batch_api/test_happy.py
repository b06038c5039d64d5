"""A run by the batch API, from rows to answers, with the real program."""

from pathlib import Path

from batch_api.laws import prompts, rows_of, run_batch
from batch_api.simulated_openai import simulated


async def test_rows_go_through_one_job_and_come_back_as_they_would_live(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    rows = rows_of(out)
    assert [row["text"] for row in rows] == [f"re: p{place}" for place in range(5)]
    assert {row["lane"] for row in rows} == {"batch"}
    assert provider.creates == provider.uploads == 1
    assert provider.worked == {f"p{place}": 1 for place in range(5)}
    assert provider.keys == {"Bearer sk-test"}
    assert not (tmp_path / "out.jsonl.llmbatch-jobs").exists()
