"""`llmbatch jobs`: what is open, how it stands, waiting for it and ending it."""

import json
from pathlib import Path

from batch_api.laws import assert_law, env_for, prompts, rows_of, run_batch
from batch_api.simulated_openai import simulated
from support.program import Done, run

ROWS = 4
FOREVER = ("validating", "in_progress")


async def jobs(out: Path, *words: str, key: str = "sk-test") -> Done:
    return await run("jobs", *words, env=env_for(out, {"OPENAI_API_KEY": key}))


async def test_jobs_are_listed_shown_and_awaited(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated() as provider:
        assert (await jobs(out)).out == b""
        await run_batch(provider.url, source, out, "--detach")
        asked = sum(provider.requests.values())
        listed = await jobs(out)
        assert f"{out}  1 job  4 rows  openai/gpt-4o-mini" in listed.out.decode()
        assert sum(provider.requests.values()) == asked
        shown = await jobs(out, "show", str(out))
        assert "batch_000000" in shown.out.decode()
        assert "0/4" in shown.out.decode()
        assert "in 1 d" in shown.out.decode()
        waited = await jobs(out, "wait", str(out))
        assert waited.status == 0
        assert "have ended" in waited.err
        said = json.loads((await jobs(out, "show", "--json")).out)
        assert (said["state"], said["done"], said["rows"]) == ("completed", ROWS, ROWS)
        done = await run_batch(provider.url, source, out, "--resume")
        assert done.status == 0, done.err
        assert_law(provider, out, ROWS)
        assert "no output has open jobs" in (await jobs(out)).err
    gone = await jobs(out, "show", str(out))
    assert (gone.status, "has no open jobs" in gone.err) == (2, True)


async def test_cancelled_jobs_give_what_they_have_and_the_rest_is_sent_again(
    tmp_path: Path,
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        done = await jobs(out, "cancel", str(out))
        assert done.status == 0, done.err
        assert "--resume collects it" in done.err
        assert provider.jobs["batch_000000"].said["status"] == "cancelling"
        provider.words = ("validating", "completed")
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, ROWS)
    assert [len(job.rows) for job in provider.jobs.values()] == [ROWS, ROWS // 2]


async def test_a_job_that_was_never_submitted_is_only_forgotten(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults.append(("POST", "/files$", 401))
        assert (await run_batch(provider.url, source, out)).status == 3
        assert "not submitted" in (await jobs(out, "show")).out.decode()
        assert "no open jobs any more" in (await jobs(out, "cancel", str(out))).err
        assert not list(tmp_path.glob("*.llmbatch-jobs"))
        assert (await run_batch(provider.url, source, out)).status == 0
    assert len(rows_of(out)) == ROWS


async def test_another_key_asks_for_nothing(tmp_path: Path) -> None:
    """Nor does a journal that somebody else has made get a key sent anywhere."""
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        asked = sum(provider.requests.values())
        for action in ("show", "wait", "cancel"):
            done = await jobs(out, action, str(out), key="sk-other")
            assert done.status != 0
            assert "another key or address" in done.err
        assert sum(provider.requests.values()) == asked


async def test_a_run_that_goes_on_is_not_cancelled_behind_its_back(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        from llmbatch_cli.rows.lock import locked

        with locked(out):
            done = await jobs(out, "cancel", str(out))
    assert done.status == 2
    assert "being written by another run" in done.err
