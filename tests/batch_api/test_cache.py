"""The cache of a run by a batch API: what it knows goes into no job, what jobs answer is kept."""

from pathlib import Path

import pytest
from batch_api.laws import env_for, prompts, rows_of, run_batch
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import run


async def test_live_and_batch_runs_know_of_each_other(tmp_path: Path) -> None:
    source, out, cache = (
        prompts(tmp_path / "in.jsonl", 2),
        tmp_path / "out.jsonl",
        tmp_path / "c.db",
    )
    more = ("--cache", str(cache))
    async with simulated() as provider:
        words = ("batch", "-m", "gpt-4o-mini", "--base-url", provider.url, *more)
        done = await run(*words, str(source), "-o", str(tmp_path / "live.jsonl"), env=env_for(out))
        assert done.status == 0, done.err
        prompts(source, 5)
        done = await run_batch(provider.url, source, out, *more)
        assert done.status == 0, done.err
        assert ", 2 cached" in done.err
        assert [len(job.rows) for job in provider.jobs.values()] == [3]
        rows = rows_of(out)
        assert [row["text"] for row in rows] == [f"re: p{n}" for n in range(5)]
        assert [row.get("cached", False) for row in rows] == [True] * 2 + [False] * 3
        assert [row.get("lane") for row in rows] == [None] * 2 + ["batch"] * 3
        asked = provider.requests["POST /v1/chat/completions"]
        done = await run(*words, str(source), "-o", str(tmp_path / "all.jsonl"), env=env_for(out))
        assert done.status == 0, done.err
        assert ", 5 cached" in done.err
        assert provider.requests["POST /v1/chat/completions"] == asked == 2


async def test_what_is_all_known_makes_no_job(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    more = ("--cache", str(tmp_path / "c.db"), "--overwrite")
    async with simulated() as provider:
        for _ in range(2):
            done = await run_batch(provider.url, source, out, *more)
            assert done.status == 0, done.err
            assert [row["text"] for row in rows_of(out)] == ["re: p0", "re: p1", "re: p2"]
    assert provider.creates == 1
    assert provider.worked == {f"p{n}": 1 for n in range(3)}


class Named(SimulatedOpenAI):
    """Answers by a name, once it was asked for again."""

    def _body(self, url: str, asked: dict[str, object]) -> dict[str, object]:
        body = super()._body(url, asked)
        is_again = "cannot be used" in str(asked["messages"])
        if is_again:
            body["choices"][0]["message"]["content"] = '{"name": "a"}'
        return body


@pytest.mark.parametrize("then", ["batch", "live"])
async def test_an_answer_that_was_asked_for_again_is_known(tmp_path: Path, then: str) -> None:
    """By the row as it was sent first; the one that does not fit is not kept."""
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    more = ("--cache", str(tmp_path / "c.db"), "--schema", "name")
    async with simulated(kind=Named) as provider:
        done = await run_batch(provider.url, source, out, *more)
        assert done.status == 0, done.err
        assert provider.creates == 2
        if then == "batch":
            done = await run_batch(provider.url, source, out, *more, "--overwrite")
        else:
            words = ("batch", "-m", "gpt-4o-mini", "--base-url", provider.url, *more)
            done = await run(*words, str(source), "-o", str(out), "--overwrite", env=env_for(out))
    assert done.status == 0, done.err
    assert [row["data"] for row in rows_of(out)] == [{"name": "a"}] * 2
    assert all(row["cached"] for row in rows_of(out))
    assert provider.creates == 2
    assert not provider.requests["POST /v1/chat/completions"]
