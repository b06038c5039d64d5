"""What a hostile user, server or disk has broken before."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import FOLDER, assert_law, env_for, prompts, rows_of, run_batch, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from support.program import jsonl, run, start

from llmbatch_cli.drivers.provider_batch.journal import Journal

FOREVER = ("validating", "in_progress")


async def test_another_key_sends_nothing_new(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        prompts(source, 4)
        done = await run_batch(
            provider.url, source, out, "--resume", key={"OPENAI_API_KEY": "sk-other"}
        )
        assert done.status == 2, done.err
        assert "another key or address" in done.err
        assert provider.keys == {"Bearer sk-test"}
    assert provider.creates == 1
    print(done.err)


async def test_other_parameters(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        done = await run_batch(provider.url, source, out, "--resume", "--temperature", "0.3")
        assert done.status == 2, done.err
        assert "2 rows of the open jobs" in done.err
        assert provider.creates == 1
        done = await run_batch(provider.url, source, out, "--resume", "--limit", "1")
        assert done.status == 2, done.err
        print(done, provider.worked, provider.jobs)
        done = await run_batch(provider.url, source, out, "--resume")
        print(done, provider.worked)
        assert_law(provider, out, 2)


async def test_other_provider(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        done = await run(
            "batch",
            str(source),
            "-o",
            str(out),
            "-m",
            "fake/echo",
            "--batch-api",
            "--resume",
            env=env_for(out),
        )
        print(done)
        assert "of a row" not in done.err


async def test_more_jobs_than_the_provider_takes_do_not_hold_a_detached_run(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"prompt": f"p{n}", "model": f"gpt-{n}"} for n in range(23)]))
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out, "--detach")
        print(done)
        assert provider.creates == 20
        assert done.status == 3
        assert "takes 20 jobs at once" in done.err
        for _ in range(10):
            done = await run_batch(provider.url, source, out, "--detach", "--resume")
            print(done)
            if done.status == 0 and not "submitted" in done.err:
                break
    assert_law(provider, out, 23)
    assert provider.creates == 23


async def test_killed_before_any_job(tmp_path: Path) -> None:
    """A folder without an open job is none."""
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    folder = tmp_path / ("out.jsonl" + FOLDER)
    folder.mkdir()
    (folder / "live.rows").write_bytes(b"")
    (folder / "journal.jsonl").write_bytes(b'{"do":"begun","id":"","at":1.0,"version":1}\n')
    async with simulated() as provider:
        words = (
            "batch",
            str(source),
            "-o",
            str(out),
            "-m",
            "gpt-4o-mini",
            "--base-url",
            provider.url,
        )
        done = await run(*words, env=env_for(out))
    print(done)
    assert done.status == 0, done.err


@pytest.mark.parametrize("how", ["gone", "cut", "garbage"])
async def test_rows_file_broken(tmp_path: Path, how: str) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        [rows] = (tmp_path / ("out.jsonl" + FOLDER)).glob("*.rows")
        if how == "gone":
            rows.unlink()
        elif how == "cut":
            rows.write_bytes(rows.read_bytes()[:-30])
        else:
            rows.write_bytes(b"\x00" * 300)
        done = await run_batch(provider.url, source, out, "--resume")
    print(done)
    assert "Traceback" not in done.err
    assert done.status == 2


async def test_secrets(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        url = f"{provider.url}?api-key=SECRET2"
        done = await run_batch(url, source, out, "--detach")
        print(done)
        shown = await run("jobs", "show", env=env_for(out))
        print(shown)
        print(await run("jobs", "cancel", str(out), env=env_for(out)))
        provider.words = ("validating", "completed")
        shown2 = await run_batch(provider.url, source, out, "--resume")
        print(shown2)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), (path, path.read_bytes())
    for one in (done, shown, shown2):
        assert "SECRET" not in one.err
        assert b"SECRET" not in one.out


async def test_link(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    out.write_bytes(b"")
    link = tmp_path / "link.jsonl"
    link.symlink_to(out)
    async with simulated() as provider:
        await run_batch(provider.url, source, link, "--detach", "--resume")
        done = await run_batch(provider.url, source, out, "--resume")
        print(done)
        assert done.status == 0
        assert_law(provider, out, 4)
        assert provider.creates == 1


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "dir", "nodir/x.jsonl", "fifo"])
async def test_odd_outputs(tmp_path: Path, name: str) -> None:
    source = prompts(tmp_path / "in.jsonl", 4)
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    async with simulated() as provider:
        words = words_for(source, Path(name), provider.url)
        done = await run(*words, env=env_for(tmp_path / "x"), cwd=tmp_path)
        print(done)
        assert "Traceback" not in done.err
        assert provider.creates == 0


async def test_empty_input(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 0), tmp_path / "out.jsonl"
    async with simulated() as provider:
        done = await run_batch(provider.url, source, out)
        print(done, os.listdir(tmp_path))
    assert done.status == 0


async def test_create_429_forever_live_after(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults += [("POST", "/batches$", 429)] * 1000
        done = await run_batch(provider.url, source, out, "--live-after", "2s")
        print(done)
    assert done.status == 0


async def test_retry_after_is_long(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER, retry_after="100000") as provider:
        done = await run_batch(provider.url, source, out, "--live-after", "2s")
        print(done)
    assert done.status == 0


async def test_poll_500(tmp_path: Path) -> None:
    """What is said where a server is in trouble."""
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults += [("GET", "/batches/", 500)] * 24
        done = await run_batch(provider.url, source, out)
        print(done)
    assert done.status == 0
    assert "500" in done.err


@pytest.mark.parametrize("where", ["poll", "results"])
async def test_one_404(tmp_path: Path, where: str, monkeypatch: Any) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        journal = tmp_path / ("out.jsonl" + FOLDER) / "journal.jsonl"
        lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
        for line in lines:
            line["at"] -= 3600
            if "made_s" in line:
                line["made_s"] -= 3600
        journal.write_bytes(jsonl(lines))
        path = "/batches/" if where == "poll" else "/content$"
        provider.faults += [("GET", path, 404)]
        done = await run_batch(provider.url, source, out, "--resume")
        print(done)
        assert_law(provider, out, 2)
        assert provider.creates == 1


async def test_error_file_gone(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    answer = lambda row: "error" if row["custom_id"].endswith("-3") else None  # noqa: E731
    async with simulated(answer=answer) as provider:
        await run_batch(provider.url, source, out, "--detach")
        for n in range(8):
            provider.faults += [("GET", "/files/file-000002/content$", 404)] * 8
        done = await run_batch(provider.url, source, out, "--resume")
        print(done)
        assert done.status in (0, 1)
    assert len(rows_of(out)) == 4


async def test_html_results(tmp_path: Path) -> None:
    class Html(SimulatedOpenAI):
        bad = 3

        async def _download(self, exchange: Any, file: Any) -> None:
            if self.bad:
                self.bad -= 1
                await exchange.reply(b"<html>\n<body>Log in to the wifi</body></html>", 200)
                return
            await super()._download(exchange, file)

    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=Html) as provider:
        done = await run_batch(provider.url, source, out)
        print(done)
        assert_law(provider, out, 2)
        assert provider.creates == 1


async def test_cancel_with_lagging_list(tmp_path: Path) -> None:
    class Lagging(SimulatedOpenAI):
        hidden = 2

        def _list(self, query: Any) -> Any:
            if self.hidden:
                self.hidden -= 1
                return {"object": "list", "data": [], "has_more": False}
            return super()._list(query)

    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=Lagging, words=FOREVER) as provider:
        provider.faults += [("POST", "/batches$", "lost")]
        process = await start(*words_for(source, out, provider.url), env=env_for(out))
        waiting = asyncio.ensure_future(process.communicate())
        await provider.fresh.wait()
        process.send_signal(signal.SIGKILL)
        await waiting
        done = await run("jobs", "cancel", str(out), env=env_for(out))
        print(done)
        assert provider.jobs["batch_000000"].said["status"] == "cancelling"


async def test_cancel_fails_first(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        provider.faults += [("POST", "/cancel$", 500)] * 7
        done = await run_batch(provider.url, source, out, "--live-after", "1s")
        print(done)
    assert done.status == 0


async def test_one_broken_journal_hides_no_others(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        await run_batch(provider.url, source, tmp_path / "a.jsonl", "--detach")
        (tmp_path / "a.jsonl.llmbatch-jobs" / "journal.jsonl").write_bytes(b"garbage\n{}\n")
        for words in (("list",), ("show",), ("list", "--json")):
            done = await run("jobs", *words, env=env_for(out))
            print(done)
            assert b"out.jsonl" in done.out


async def test_detach_live_after(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach", "--live-after", "1s")
        await asyncio.sleep(1.1)
        done = await run_batch(
            provider.url, source, out, "--resume", "--detach", "--live-after", "1s"
        )
        print(done)
    assert len(rows_of(out)) == 4


async def test_upgrade(tmp_path: Path) -> None:
    from llmbatch_cli.providers.base import Settings
    from llmbatch_cli.providers.openai.batch import OpenAIBatch
    from llmbatch_cli.providers.openai.provider import OpenAI

    provider = OpenAI(Settings("openai", "https://api.openai.com/v1", "sk-1"))
    wire = OpenAIBatch(provider, provider.build)
    before = wire.account
    wire.headers = {**wire.headers, "user-agent": "llmbatch/9"}
    assert wire.account == before
    wire.headers = {**wire.headers, "authorization": "Bearer sk-2"}
    assert wire.account != before
