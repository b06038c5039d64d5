"""What a hostile user, server or disk has once broken: nothing is lost, nothing is paid twice, and
what has happened is said."""

import asyncio
import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from batch_api.laws import FOLDER, assert_law, env_for, prompts, rows_of, run_batch, words_for
from batch_api.simulated_openai import SimulatedOpenAI, simulated
from batch_api.test_parts import RUNS, Clock, Scripted, a_job, timing
from support.program import jsonl, run, start
from support.scripted import Exchange

from llmbatch_cli.core.errors import Interrupted, Rejected
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.drivers.provider_batch import http as batch_http
from llmbatch_cli.drivers.provider_batch.http import BatchHttp
from llmbatch_cli.drivers.provider_batch.journal import Journal
from llmbatch_cli.drivers.provider_batch.polling import Poller, Watched
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.batch import OpenAIBatch
from llmbatch_cli.providers.openai.provider import OpenAI

FOREVER = ("validating", "in_progress")
HTTP: Any = None


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / f"out.jsonl{FOLDER}"


# Whose jobs they are


async def test_another_key_sends_nothing_new_either(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, "--detach")
        prompts(source, 4)
        key = {"OPENAI_API_KEY": "sk-other"}
        done = await run_batch(provider.url, source, out, "--resume", key=key)
        assert done.status == 2, done.err
        assert "another key or address" in done.err
        assert provider.keys == {"Bearer sk-test"}
    assert provider.creates == 1


def test_a_release_of_this_program_goes_on_with_the_jobs_of_the_last() -> None:
    provider = OpenAI(Settings("openai", "https://api.openai.com/v1", "sk-1"))
    accounts = set()
    for more in ({}, {"user-agent": "llmbatch/9"}, {"authorization": "Bearer sk-2"}):
        wire = OpenAIBatch(provider, provider.build)
        wire.__dict__["headers"] = {**wire.headers, **more}
        accounts.add(wire.account)
    assert len(accounts) == 2


async def test_another_providers_jobs_are_said_to_be_there(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
    words = ("batch", str(source), "-o", str(out), "-m", "fake/echo", "--batch-api", "--resume")
    done = await run(*words, env=env_for(out))
    assert done.status == 2
    assert "open jobs of" in done.err
    assert "are at openai" in done.err


async def test_answers_of_another_model_or_of_rows_behind_a_limit_are_not_thrown_away(
    tmp_path: Path,
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        for more in (("--temperature", "0.3"), ("--limit", "1")):
            done = await run_batch(provider.url, source, out, "--resume", *more)
            assert done.status == 2, done.err
            assert "of the open jobs" in done.err
        done = await run_batch(provider.url, source, out, "--resume")
        assert done.status == 0, done.err
        assert_law(provider, out, 2)
    assert provider.creates == 1


async def test_jobs_are_the_same_by_a_link(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    link = tmp_path / "link.jsonl"
    out.write_bytes(b"")
    link.symlink_to(out)
    async with simulated() as provider:
        await run_batch(provider.url, source, link, "--detach", "--resume")
        await run_batch(provider.url, source, out, "--resume")
    assert_law(provider, out, 2)
    assert provider.creates == 1


async def test_a_key_in_an_address_is_written_nowhere(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        done = await run_batch(f"{provider.url}?api-key=SECRET", source, out, "--detach")
        shown = await run("jobs", "show", env=env_for(out))
    said = [done.err, shown.err, shown.out.decode()]
    said += [path.read_bytes().decode() for path in tmp_path.rglob("*") if path.is_file()]
    assert provider.creates == 1
    assert not any("SECRET" in one for one in said)


# Files


@pytest.mark.parametrize("how", ["gone", "cut", "garbage"])
async def test_rows_of_a_job_that_were_changed_are_said_to_be(tmp_path: Path, how: str) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        [rows] = folder_of(tmp_path).glob("*.rows")
        content = rows.read_bytes()
        rows.write_bytes(content[:-30] if how == "cut" else b"\x00" * 300)
        if how == "gone":
            rows.unlink()
        done = await run_batch(provider.url, source, out, "--resume")
        assert done.status == 2, done.err
        assert "the rows of a job cannot be read" in done.err
        assert "Traceback" not in done.err
        rows.write_bytes(content)
        assert (await run_batch(provider.url, source, out, "--resume")).status == 0
    assert_law(provider, out, 4)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "pipe"])
async def test_what_is_no_file_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str
) -> None:
    source = prompts(tmp_path / "in.jsonl", 4)
    os.mkfifo(tmp_path / "pipe")
    async with simulated() as provider:
        words = words_for(source, Path(name), provider.url)
        done = await run(*words, env=env_for(tmp_path / "x"), cwd=tmp_path)
    assert done.status == 2, done.err
    assert "needs a file" in done.err
    assert not provider.requests


async def test_the_folder_of_a_run_that_was_killed_without_a_job_holds_nobody_up(
    tmp_path: Path,
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    folder = folder_of(tmp_path)
    folder.mkdir()
    (folder / "live.rows").write_bytes(b"{}")
    (folder / "journal.jsonl").write_bytes(b'{"do":"begun","id":"","at":1.0,"version":1}\n')
    async with simulated() as provider:
        words = ("-o", str(out), "-m", "gpt-4o-mini", "--base-url", provider.url)
        done = await run("batch", str(source), *words, env=env_for(out))
    assert done.status == 0, done.err
    assert not folder.exists()


def test_half_a_record_on_a_full_disk_spoils_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, write = Clock(), os.write
    with Journal(tmp_path / "j", clock) as journal:
        job = a_job(journal, clock)

        def full(descriptor: int, data: bytes) -> int:
            if len(data) < 20:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data[:-10])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.creating(job)
        monkeypatch.setattr(os, "write", write)
        journal.uploaded(job, "file-1")
    assert [one.upload for one in Journal(tmp_path / "j", clock).jobs.values()] == ["file-1"]


# Providers in trouble


async def test_what_a_provider_in_trouble_says_is_passed_on(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        provider.faults += [("GET", "/batches/", 500)] * 12
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert done.err.count("stands is not known just now: ") == 1
    assert "scripted 500" in done.err


@pytest.mark.parametrize("path", ["/batches/", "/content$"])
async def test_a_404_of_a_moment_costs_no_second_job(tmp_path: Path, path: str) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated() as provider:
        await run_batch(provider.url, source, out, "--detach")
        journal = folder_of(tmp_path) / "journal.jsonl"
        records = [json.loads(line) for line in journal.read_bytes().splitlines()]
        for record in records:
            record["at"] -= 3600
        journal.write_bytes(jsonl(records))
        provider.faults.append(("GET", path, 404))
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, 2)
    assert provider.creates == 1


async def test_an_error_file_that_is_gone_does_not_hold_up_the_others(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"

    def answer(row: dict[str, Any]) -> str | None:
        return "error" if row["custom_id"].endswith("-3") else None

    async with simulated(answer=answer) as provider:
        provider.faults += [("GET", "/file-000002/content$", 404)] * 9
        done = await run_batch(provider.url, source, out)
    assert done.status == 0, done.err
    assert len(rows_of(out)) == 4
    assert "are gone" in done.err
    assert [len(job.rows) for job in provider.jobs.values()] == [4, 1]


class Portal(SimulatedOpenAI):
    """A network that gives a page of its own in place of results."""

    pages = 3

    async def _download(self, exchange: Exchange, file: Any) -> None:
        self.pages -= 1
        if self.pages >= 0:
            await exchange.reply(b"<html>\n<body>Log in first</body></html>", 200)
            return
        await super()._download(exchange, file)


async def test_a_web_page_in_place_of_results_does_not_lose_them(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=Portal) as provider:
        assert isinstance(provider, Portal)
        provider.pages = 6
        done = await run_batch(provider.url, source, out)
        assert done.status == 3, done.err
        assert "have none of the 2 rows that the provider counts as done" in done.err
        provider.pages = 3
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, 2)
    assert provider.creates == 1


async def test_a_line_without_an_end_costs_only_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_http, "MOST_LINE_BYTES", 8)

    class Pieces(BatchHttp):
        async def _whole(self, request: Any) -> Any:
            for piece in (b"one\n" + b"x" * 6, b"x" * 6, b"x" * 6 + b"\ntwo\n", b"y" * 9):
                yield piece

    lines = [line async for line in Pieces(HTTP).lines(HTTP)]
    assert lines == [b"one", b"two"]


# Ways out


@pytest.mark.parametrize("trouble", ["no job is taken", "a wait of a day"])
async def test_rows_go_live_in_time_whatever_the_provider_says(
    tmp_path: Path, trouble: str
) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        if trouble == "no job is taken":
            provider.faults += [("POST", "/batches$", 429)] * 1000
        else:
            provider.retry_after = "86400"
        done = await run_batch(provider.url, source, out, "--live-after", "2s")
    assert done.status == 0, done.err
    assert len(rows_of(out)) == 4
    assert provider.requests["POST /v1/chat/completions"] == (4 if provider.creates == 0 else 2)


async def test_a_cancel_that_fails_is_asked_for_again(tmp_path: Path) -> None:
    clock, seen = Clock(), list[Event]()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.created(job, "b1", is_sure=True)
    wire = Scripted(poll=[RUNS], cancel=[Interrupted("lost"), Interrupted("lost"), None])
    poller = Poller(journal, HTTP, timing(clock), seen.append)
    poller.give_up_s = clock() + 10
    status = await poller.until_ended(Watched(job), wire, lambda: None)
    assert status.word == "runs"
    assert wire.asked.count("cancel") == 3
    assert any(isinstance(one, Notice) and "has not ended within" in one.message for one in seen)
    journal.close()


async def test_a_job_of_which_nothing_is_known_is_not_done_again(tmp_path: Path) -> None:
    """As after a sleep of this machine, while its network is not up."""
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.created(job, "b1", is_sure=True)
    wire = Scripted(poll=[RUNS, Interrupted("no network")], cancel=[None])
    poller = Poller(journal, HTTP, timing(clock), lambda _: None)
    poller.give_up_s = clock() + 10
    with pytest.raises(Interrupted):
        await poller.until_ended(Watched(job), wire, lambda: None)
    assert job.id == "b1"
    journal.close()


async def test_a_job_that_may_be_anothers_is_not_cancelled(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "j", clock)
    job = a_job(journal, clock)
    journal.created(job, "b1")

    class ByCircumstance(Scripted):
        finds = False

    wire = ByCircumstance(poll=[RUNS] * 50 + [Rejected("the test ends")], cancel=[None])
    poller = Poller(journal, HTTP, timing(clock), lambda _: None)
    poller.give_up_s = clock() + 10
    with pytest.raises(Rejected):
        await poller.until_ended(Watched(job), wire, lambda: None)
    assert "cancel" not in wire.asked
    journal.close()


async def test_more_jobs_than_the_provider_takes_do_not_hold_a_detached_run(
    tmp_path: Path,
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"prompt": f"p{n}", "model": f"gpt-{n}"} for n in range(22)]))
    async with simulated(words=("validating", "completed")) as provider:
        done = await run_batch(provider.url, source, out, "--detach")
        assert done.status == 3, done.err
        assert "takes 20 jobs at once" in done.err
        assert provider.creates == 20
        done = await run_batch(provider.url, source, out, "--resume")
    assert done.status == 0, done.err
    assert_law(provider, out, 22)
    assert provider.creates == 22


async def test_a_detached_run_gives_jobs_up_in_time_too(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    more = ("--detach", "--live-after", "1s")
    async with simulated(words=FOREVER) as provider:
        await run_batch(provider.url, source, out, *more)
        await asyncio.sleep(1.1)
        done = await run_batch(provider.url, source, out, "--resume", *more)
    assert done.status == 0, done.err
    assert len(rows_of(out)) == 4
    assert provider.creates == 1


# llmbatch jobs


class Lagging(SimulatedOpenAI):
    """Lists a job some time after it was made."""

    hidden = 2

    def _list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        self.hidden -= 1
        if self.hidden >= 0:
            return {"object": "list", "data": [], "has_more": False}
        return super()._list(query)


async def test_a_job_that_is_listed_late_is_cancelled_too(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(kind=Lagging, words=FOREVER) as provider:
        provider.faults.append(("POST", "/batches$", "lost"))
        process = await start(*words_for(source, out, provider.url), env=env_for(out))
        waiting = asyncio.ensure_future(process.communicate())
        await provider.fresh.wait()
        process.send_signal(signal.SIGKILL)
        await waiting
        done = await run("jobs", "cancel", str(out), env=env_for(out))
        assert done.status == 0, done.err
        assert provider.jobs["batch_000000"].said["status"] == "cancelling"


async def test_a_broken_journal_hides_no_other(tmp_path: Path) -> None:
    source, out = prompts(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    async with simulated(words=FOREVER) as provider:
        for name in ("a.jsonl", "out.jsonl"):
            await run_batch(provider.url, source, tmp_path / name, "--detach")
        (tmp_path / f"a.jsonl{FOLDER}" / "journal.jsonl").write_bytes(b"garbage\n{}\n")
        for action in ("list", "show"):
            done = await run("jobs", action, env=env_for(out))
            assert done.status == 1
            assert b"out.jsonl" in done.out
            assert "cannot be read" in done.err
