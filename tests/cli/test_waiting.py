"""What a run does about waits: quotas, cool-downs, back-offs, a process that was stopped."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error
from support.program import jsonl, run, start
from support.scripted import Exchange, Server, serve

SPENT = "Rate limit reached on tokens per day (TPD). Please try again in 7h12m3s."
KEY = {"OPENAI_API_KEY": "sk-test-0123456789"}


class Limited:
    """A handler that answers so many requests, then refuses; each model on its own."""

    def __init__(self, answered: int, headers: dict[str, str], message: str = SPENT) -> None:
        self.left = answered
        self.headers = headers
        self.message = message
        self.refused = 0

    async def __call__(self, exchange: Exchange) -> None:
        if json.loads(exchange.body)["model"] == "spare":
            await answer(exchange, completion("spare"))
        elif self.left > 0:
            self.left -= 1
            await echo(exchange)
        else:
            self.refused += 1
            body = json.dumps(error(self.message)).encode()
            await exchange.reply(body, 429, {"content-type": "application/json", **self.headers})


def batch(server: Server, source: Path, *arguments: str) -> list[str]:
    return ["batch", str(source), "-m", "m", "--base-url", server.url, *arguments]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl([f"row {index}" for index in range(60)]))
    return path


async def test_a_quota_of_a_day_stops_the_run(tmp_path: Path, source: Path) -> None:
    """At once, with the provider's words, when it is back and how to go on; no row is failed, and
    --resume sends what is left. Doriandarko/claude-engineer 104, micz/ThunderAI 902."""
    out = tmp_path / "out.jsonl"
    limited = Limited(20, {"retry-after": "25923"})
    async with serve(limited) as server:
        options = batch(server, source, "--timeout", "2", "-o", str(out))
        ran = await run(*options)
        kept, limited.left = rows_of(out), 999
        again = await run(*options, "--resume")
    assert (ran.status, again.status) == (3, 0)
    assert len(kept) == 20
    assert all(row["error"] is None for row in kept)
    assert f"rate_limited (429): {SPENT}" in ran.err
    assert "hint: the quota is back at " in ran.err
    assert "go on with --resume then" in ran.err
    assert f"-o {out} --resume" in ran.err
    assert "40 rows not answered" in ran.err
    assert "billed" not in ran.err
    assert sorted(row["index"] for row in rows_of(out)) == list(range(60))


async def test_what_others_can_answer_goes_on(tmp_path: Path, source: Path) -> None:
    """A fallback, another racer, rows with a model of their own, another server: a quota that is
    spent for one of them holds up no row of theirs."""
    async with serve(Limited(0, {"retry-after": "9000"})) as server, serve(echo) as other:
        mixed = tmp_path / "mixed.jsonl"
        lines = [{"prompt": "x", "model": ("openai/out", "openai/spare")[i % 2]} for i in range(20)]
        mixed.write_bytes(jsonl(lines))
        url = ["--base-url", server.url]
        runs = await asyncio.gather(
            run(*batch(server, source, "--fallback", "openai/spare")),
            run("race", str(source), "-m", "openai/m,openai/spare", *url),
            run("batch", str(mixed), "-m", "m", *url),
            run(*batch(server, source, "--base-url", other.url)),
        )
    assert [ran.status for ran in runs] == [0, 0, 3, 0]
    assert [len(ran.rows) for ran in runs] == [60, 60, 10, 60]
    assert all(row["error"] is None for ran in runs for row in ran.rows)
    assert all("the quota is back at" in ran.err for ran in runs[:3])


async def test_a_signal_ends_rows_that_only_wait(tmp_path: Path, source: Path) -> None:
    """They stay undone and nothing of theirs may be billed; meanwhile the display says until when
    they wait, counts nothing above -c as in flight, and promises no end."""
    limited = Limited(6, {"retry-after": "60"}, "slow down")
    out = tmp_path / "out.jsonl"
    async with serve(limited) as server:
        process = await start(
            *batch(server, source, "-c", "4", "-o", str(out), "--progress", "json"), stdin=DEVNULL
        )
        async with asyncio.timeout(20):
            while limited.refused < 1:
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.3)
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
    assert process.returncode == 130
    said = [json.loads(line) for line in err.decode().splitlines()]
    shown = next(one for one in said if one.get("waiting"))
    assert all(one["in_flight"] <= 4 for one in said if "in_flight" in one)
    assert (shown["in_flight"], shown["held_by"], shown["eta_s"]) == (0, "cool-down", None)
    assert 50 < shown["held_s"] <= 66
    assert b"only waited" in err
    assert len(rows_of(out)) == 6


async def test_a_stray_401_ends_no_run(source: Path) -> None:
    """A key that has answered is tried again; one that never has is not, and a
    firewall's page is not about the key."""
    seen = 0

    async def stray(exchange: Exchange) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            await answer(exchange, error("Incorrect API key", "invalid_api_key"), 401)
        else:
            await echo(exchange)

    async def refused(exchange: Exchange) -> None:
        await answer(exchange, error("Incorrect API key", "server_error"), 401)

    walls = 0

    async def wall(exchange: Exchange) -> None:
        nonlocal walls
        walls += 1
        if walls == 1:
            page = b"<!DOCTYPE html><html><title>Attention Required!</title>"
            await exchange.reply(page, 403, {"content-type": "text/html"})
        else:
            await echo(exchange)

    async with serve(stray) as one, serve(refused) as two, serve(wall) as three:
        first, second, third = await asyncio.gather(
            *(run(*batch(server, source, "-c", "1"), env=KEY) for server in (one, two, three))
        )
        assert len(two.exchanges) == 1
    assert (first.status, len(first.rows)) == (0, 60)
    assert (second.status, "OPENAI_API_KEY" in second.err) == (3, True)
    assert (third.status, len(third.rows)) == (1, 60)
    (blocked,) = [row["error"] for row in third.rows if row["error"]]
    assert (blocked["type"], blocked["status"], blocked["retryable"]) == ("rejected", 403, False)
    assert "a firewall in front of the server" in blocked["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP")
async def test_the_time_in_which_the_program_was_stopped_is_not_the_servers(source: Path) -> None:
    """Replies that came in the meantime are taken (anthropics/claude-code 32116)."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.6)
        await echo(exchange)

    async with serve(slow) as server:
        options = batch(server, source, "--timeout", "1", "-c", "60", "--progress", "none")
        process = await start(*options, stdin=DEVNULL)
        async with asyncio.timeout(30):
            await _asked(server, 60)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2)
            process.send_signal(signal.SIGCONT)
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert len(out.splitlines()) == 60


async def _asked(server: Server, count: int) -> None:
    while len(server.exchanges) < count:
        await asyncio.sleep(0.01)
