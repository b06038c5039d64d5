"""The ways in which a run by the batch API is begun, left, gone on with and refused."""

import asyncio
import signal
from pathlib import Path

import pytest
from batch_api.laws import prompts, rows_of, run_batch
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import jsonl, run, start

FOREVER = ("validating", "in_progress")


async def test_detach_submits_and_resume_collects(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out, "--detach")
        assert done.status == 0, done.err
        assert f"llmbatch jobs cancel {out}" in done.err
        assert provider.creates == 1
        assert provider.worked == {}
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert len(rows_of(out)) == 4
    assert provider.creates == 1


async def test_resume_and_detach_take_what_is_there_and_return(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=("validating", *FOREVER, "completed")) as provider:
        for _ in range(3):
            flags = ("--detach", *(["--resume"] if provider.creates else []))
            done = await run_batch(provider.url, source, out, *flags)
            assert done.status == 0, done.err
            assert "1 job with 4 rows" in done.err
        prompts(source, 6)
        done = await run_batch(provider.url, source, out, "--detach", "--resume")
        assert len(rows_of(out)) == 4
        assert provider.creates == 2
        assert "1 job with 2 rows is submitted" in done.err


async def test_ctrl_c_leaves_the_jobs_and_says_how_to_go_on(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        words = ("batch", str(source), "-o", str(out), "-m", "gpt-4o-mini", "--batch-api")
        env = {"OPENAI_API_KEY": "sk-test", "LLMBATCH_STATE_DIR": str(tmp_path / "state")}
        process = await start(*words, "--base-url", provider.url, env=env)
        waiting = asyncio.ensure_future(process.communicate())
        while provider.requests["GET /v1/batches/batch_000000"] < 2:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = await waiting
        assert process.returncode == 130, err
        assert b"1 job with 4 rows goes on at openai" in err
        assert b"--resume" in err
        assert provider.requests["POST /v1/batches/batch_000000/cancel"] == 0
        provider.jobs["batch_000000"].words = ("validating", "completed")
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert len(rows_of(out)) == 4
    assert provider.creates == 1


async def test_after_its_time_the_rest_is_sent_live(tmp_path: Path) -> None:
    """The job is cancelled; half of it was done by then."""
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        done = await run_batch(provider.url, source, out, "--live-after", "1s")
    assert done.status == 0, done.err
    rows = rows_of(out)
    assert [row["text"] for row in rows] == [f"re: p{n}" for n in range(4)]
    assert [row.get("lane") for row in rows] == ["batch", "batch", None, None]
    assert provider.creates == 1
    assert provider.requests["POST /v1/chat/completions"] == 2
    assert not out.with_name("out.jsonl.llmbatch-jobs").exists()


async def test_live_rows_and_batch_rows_go_on_with_each_other(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    env = {"OPENAI_API_KEY": "sk-test"}
    async with simulated() as provider:
        words = ("-o", str(out), "-m", "gpt-4o-mini", "--base-url", provider.url)
        assert (await run("batch", str(source), *words, env=env)).status == 0
        prompts(source, 4)
        done = await run_batch(provider.url, source, out, "--resume")
        assert done.status == 0, done.err
        assert len(provider.jobs["batch_000000"].rows) == 2
        prompts(source, 5)
        done = await run("batch", str(source), *words, "--resume", env=env)
    assert done.status == 0, done.err
    assert [row.get("lane") for row in rows_of(out)] == [None, None, "batch", "batch", None]
    assert provider.requests["POST /v1/chat/completions"] == 3


async def test_rows_that_moved_in_the_input_are_not_sent_again(tmp_path: Path) -> None:
    """What is open has the row's present place and id; a row that is gone is left out."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"id": f"r{n}", "prompt": f"p{n}"} for n in range(4)]))
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        kept = [{"id": f"new{n}", "prompt": f"p{n}"} for n in (3, 1, 0)]
        source.write_bytes(jsonl([*kept, {"id": "r9", "prompt": "p9"}]))
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert [(row["id"], row["text"]) for row in rows_of(out)] == [
        ("new3", "re: p3"),
        ("new1", "re: p1"),
        ("new0", "re: p0"),
        ("r9", "re: p9"),
    ]
    assert provider.creates == 2
    assert len(provider.jobs["batch_000001"].rows) == 1


async def test_open_jobs_are_neither_forgotten_nor_sent_live(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    env = {"OPENAI_API_KEY": "sk-test"}
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        again = await run_batch(provider.url, source, out)
        over = await run_batch(provider.url, source, out, "--overwrite")
        words = ("-o", str(out), "-m", "gpt-4o-mini", "--base-url", provider.url)
        live = await run("batch", str(source), *words, "--resume", env=env)
    for done in (again, over, live):
        assert done.status == 2, done.err
        assert "has open jobs" in done.err
        assert "--resume" in done.err
    assert provider.creates == 1


async def test_another_key_does_not_go_on_with_jobs(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        words = ("-o", str(out), "-m", "gpt-4o-mini", "--base-url", provider.url)
        env = {"OPENAI_API_KEY": "sk-other"}
        done = await run("batch", str(source), *words, "--batch-api", "--resume", env=env)
    assert done.status == 2, done.err
    assert "another key or address" in done.err
    assert provider.keys == {"Bearer sk-test"}
    for path in (tmp_path / "out.jsonl.llmbatch-jobs").iterdir():
        assert b"sk-test" not in path.read_bytes()


REFUSED = {
    "standard output": ((), "needs a file"),
    "text": (("-o", "out.txt", "-f", "text"), "jsonl or a table"),
    "openai": (("-o", "out.jsonl", "-f", "openai"), "jsonl or a table"),
    "in order": (("-o", "out.jsonl", "--ordered"), "end in any order"),
    "fallback": (("-o", "out.jsonl", "--fallback", "gpt-4o"), "--fallback does not go"),
    "tier": (("-o", "out.jsonl", "--tier", "flex"), "--tier does not go"),
    "dedupe": (("-o", "out.jsonl", "--dedupe"), "--dedupe does not go"),
    "no such time": (("-o", "out.jsonl", "--live-after", "soon"), "is not a time"),
    "several servers": (("-o", "out.jsonl", "--base-url", "http://127.0.0.1:9/v1"), "one address"),
    "no batch API": (("-o", "out.jsonl", "-m", "ollama/llama"), "has no batch API"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_a_batch_api_cannot_do_is_refused_before_anything_is_sent(
    tmp_path: Path, what: str
) -> None:
    words, said = REFUSED[what]
    source = prompts(tmp_path / "in.jsonl", 2)
    async with simulated() as provider:
        model = () if "-m" in words else ("-m", "gpt-4o-mini", "--base-url", provider.url)
        done = await run(
            *("batch", str(source), "--batch-api", *model, *words),
            env={"OPENAI_API_KEY": "sk-test"},
            cwd=tmp_path,
        )
    assert done.status == 2, done.err
    assert said in done.err
    assert "hint: " in done.err
    assert not provider.requests
    assert not list(tmp_path.glob("*.llmbatch-jobs"))


async def test_a_rows_model_of_another_provider_is_refused(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"prompt": "a"}, {"prompt": "b", "model": "fake/echo"}]))
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 2, done.err
    assert "fake/echo of a row is not openai's" in done.err
    assert provider.uploads == 0


async def test_a_server_without_a_batch_api_is_said_to_have_none(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=Plain) as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 3, done.err
    assert "may have no batch API" in done.err
    assert not out.exists()


class Plain(SimulatedOpenAI):
    """Has nothing at any path."""

    def _fault(self, method: str, path: str) -> int:
        return 404


async def test_a_table_is_written_at_the_end(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.csv"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert out.read_text().splitlines()[:2] == ["prompt,answer,error", "p0,re: p0,"]
