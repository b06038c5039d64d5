"""How a run is summed up: as a table on a terminal, a line elsewhere, JSON in a file."""

import asyncio
import json
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, error, last_text
from support.program import jsonl, run, start
from support.scripted import Exchange, abort, serve
from support.terminal import on_terminal
from ui.screen import Screen

PRICE = ("--price", "openai/*=1000,2000")
USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 20,
    "total_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


async def reply(exchange: Exchange) -> None:
    """Answers, but for what the prompt asks not to have."""
    word = last_text(exchange).split()[0]
    if word == "bad":
        await answer(exchange, error("this cannot be done"), 400)
    elif word == "untold":
        await answer(exchange, {**completion("yes"), "usage": None})
    elif word == "reset":
        abort(exchange)
    elif word == "late":
        await asyncio.sleep(30)
    elif word == "key":
        await answer(exchange, error("no such key", "invalid_api_key"), 401)
    else:
        await asyncio.sleep(0.01)
        await answer(exchange, completion("yes", usage=USAGE))


def total(rows: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(repr(row["cost"])) for row in rows if row["cost"] is not None), Decimal(0))


async def test_the_file_has_the_figures_of_the_run(tmp_path: Path) -> None:
    """Of answers, failures, unknown tokens and bills unseen; its money is that of the rows."""
    path = tmp_path / "summary.json"
    prompts = ["fine"] * 5 + ["bad", "bad", "untold", "reset"]
    more = ("--summary", str(path), "--max-tokens", "50", "--max-attempts", "2")
    async with serve(reply) as server:
        url = ("--base-url", f"{server.url}/v1")
        done = await run("batch", "-m", "openai/a", *url, *PRICE, *more, stdin=jsonl(prompts))
    assert done.status == 1, done.err
    found = json.loads(path.read_text())
    assert found["exit_status"] == 1
    assert found["reason"] is None
    assert (found["rows"], found["answered"], found["failed"]) == (9, 6, 3)
    assert found["errors"] == {"rejected": 2, "interrupted": 1}
    assert found["messages"]["rejected"] == "this cannot be done"
    assert (found["prompt_tokens"], found["completion_tokens"]) == (150, 100)
    assert (found["cached_tokens"], found["reasoning_tokens"]) == (50, 25)
    assert (found["usage_unknown"], found["cost_unknown_rows"]) == (1, 1)
    assert Decimal(repr(found["cost"])) == total(done.rows) == Decimal("0.35")
    unseen = [row["maybe_billed"] for row in done.rows if "maybe_billed" in row]
    assert found["maybe_billed"]["attempts"] == sum(one["attempts"] for one in unseen) == 2
    assert found["maybe_billed"]["up_to"] == pytest.approx(sum(one["up_to"] for one in unseen))
    assert (found["attempts"], found["retries"]) == (10, 1)
    latencies = sorted(row["latency"] for row in done.rows if row["error"] is None)
    assert found["latency"]["p50"] == pytest.approx(latencies[3], abs=1e-3)
    assert found["latency"]["error"] == 0
    assert found["began_at"] < found["ended_at"]
    assert "9 rows: 6 answered" in done.err  # a pipe has the line, with its cost
    assert ", $0.35 (unknown for 1 row)" in done.err


async def test_a_run_that_stops_early_has_its_reason(tmp_path: Path) -> None:
    """Of a cap, of a wrong key, of an option that is wrong; each with the exit status."""
    path = tmp_path / "summary.json"
    capped = ("--max-cost", "0.3", "--max-tokens", "50", "-c", "1")
    cases = [
        (["fine"] * 9, capped, 3, "budget_reached", "--max-cost $0.30"),
        (["key"] * 9, (), 3, "run_stopped", "no such key"),
        (["fine"], ("--max-cost", "1"), 2, "usage_error", "the longest answer is not known"),
    ]
    async with serve(reply) as server:
        for prompts, more, status, kind, message in cases:
            options = ("--base-url", f"{server.url}/v1", *PRICE, *more, "--summary", str(path))
            done = await run("batch", "-m", "openai/a", *options, stdin=jsonl(prompts))
            found = json.loads(path.read_text())
            assert (done.status, found["exit_status"]) == (status, status), done.err
            assert found["reason"]["type"] == kind
            assert message in found["reason"]["message"]
            assert Decimal(repr(found["cost"])) == total(done.rows)
            if kind == "budget_reached":
                assert found["cap"] == 0.3
                assert found["not_answered"] is None  # of a pipe
                assert "--resume" in found["reason"]["hint"]


async def test_an_interrupted_run_has_its_summary(tmp_path: Path) -> None:
    """What was answered, what was not, and that it was interrupted."""
    path, rows, out = tmp_path / "s.json", tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_bytes(jsonl(["fine", "fine", "late"]))
    async with serve(reply) as server:
        process = await start(
            "batch", "-m", "openai/a", "--base-url", f"{server.url}/v1", *PRICE, str(rows),
            "-o", str(out), "--summary", str(path),
        )  # fmt: skip
        while not out.exists() or out.read_text().count("\n") < 2:
            await asyncio.sleep(0.02)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.2)
        assert await asyncio.wait_for(process.wait(), 20) == 130
    found = json.loads(path.read_text())
    assert (found["exit_status"], found["reason"]["type"]) == (130, "interrupted")
    assert (found["rows"], found["not_answered"]) == (2, 1)
    assert found["cost"] == 0.14


@pytest.mark.parametrize("target", ["rows.jsonl", "out.jsonl", "notes.txt", "no/s.json", "-"])
async def test_a_summary_replaces_nothing_else(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the input, the output, another file; and its folder has to be there."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('"fine"\n')
    Path("notes.txt").write_text("mine\n")
    options = ("batch", "rows.jsonl", "-m", "fake/echo", "-o", "out.jsonl", "--summary")
    done = await run(*options, target)
    assert done.status == 2
    assert target in done.err
    assert "hint: " in done.err
    assert not Path("out.jsonl").exists()
    assert Path("notes.txt").read_text() == "mine\n"
    for _ in range(2):  # an earlier summary is replaced
        assert (await run(*options, "s.json", "--overwrite")).status == 0
    assert json.loads(Path("s.json").read_text())["rows"] == 1


async def test_what_is_only_estimated_has_no_summary(tmp_path: Path) -> None:
    """As nothing ran; it is said, and nothing is written."""
    path = tmp_path / "s.json"
    options = ("batch", "-m", "fake/echo", "--dry-run", "--summary", str(path))
    done = await run(*options, stdin=jsonl(["a"]))
    assert done.status == 2
    assert "--dry-run" in done.err
    assert not path.exists()


async def test_a_table_on_standard_output_has_a_summary_too(tmp_path: Path) -> None:
    """It is made in a folder of its own first."""
    path = tmp_path / "s.json"
    more = ("-f", "parquet", "--summary", str(path))
    done = await run("batch", "-m", "fake/echo", *more, stdin=jsonl(["a", "b"]))
    assert done.status == 0, done.err
    assert json.loads(path.read_text())["rows"] == 2


@pytest.mark.parametrize("columns", [80, 60])
async def test_a_terminal_shows_money_and_a_table(columns: int, tmp_path: Path) -> None:
    """While it runs a line of what it costs; at its end the figures; and nothing wraps."""
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_bytes(jsonl(["fine"] * 120 + ["bad"] + ["untold"] * 2))

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.03)
        await reply(exchange)

    async with serve(slow) as server:
        text, status = await on_terminal(
            columns, "batch", str(rows), "-m", "openai/a", "--base-url", f"{server.url}/v1",
            *PRICE, "--max-cost", "100", "--max-tokens", "50", "-o", str(out), "-c", "4",
        )  # fmt: skip
    assert status == 1, text
    display, start_, table = text.rpartition("llmbatch: 123 rows: 122 answered, 1 failed in ")
    assert start_
    screen = Screen(columns).feed(display)
    assert (screen.folds, screen.lines) == (0, [])
    plain = _without_colours(display)
    assert " of $100.00, about $8." in plain
    assert "/h" in plain
    shown = Screen(columns).feed(table).lines
    lines = [" ".join(line.split()) for line in shown]
    assert lines[1] == "1 rejected this cannot be done"
    assert lines[2:6] == [
        "tokens in 3,600, 1,200 cached",
        "tokens out 2,400, 600 for reasoning",
        "not reported for 2 answers",
        "cost $8.40 of $100.00 (unknown for 2 rows)",
    ]
    assert lines[6].startswith("latency 0.0")
    assert lines[7] == "attempts 123"
    assert lines[8].startswith("rate ")
    assert sum(json.loads(line)["cost"] or 0 for line in out.read_text().splitlines()) == (
        pytest.approx(8.4)
    )


async def test_a_race_shows_its_money_too(tmp_path: Path) -> None:
    """The table counts every racer's requests; the standings follow it."""
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_bytes(jsonl(["fine"] * 3))
    async with serve(reply) as server:
        text, status = await on_terminal(
            80, "race", str(rows), "-m", "openai/a,openai/b", "--all", *PRICE,
            "--base-url", f"{server.url}/v1", "-o", str(out),
        )  # fmt: skip
    assert status == 0, text
    lines = [" ".join(line.split()) for line in _without_colours(text).splitlines()]
    assert "cost $0.42" in lines
    assert "attempts 6" in lines
    assert any(line.startswith("openai/a 3 3 ") and line.endswith(" $0.21") for line in lines)


def _without_colours(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", text)
