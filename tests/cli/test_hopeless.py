"""What is wrong for every row alike stops the run early, and its rows are sent again."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error
from support.program import jsonl, run
from support.scripted import Exchange, Handler, serve

ROWS = jsonl([f"row {index}" for index in range(200)])
MANY = jsonl([f"row {index}" for index in range(2000)])
NO_SUCH_MODEL = error("The model `gpt-5o` does not exist", "model_not_found")
TOO_WARM = error("'temperature' does not support 0.5 with this model", "unsupported_value")
TOO_WARM["error"]["param"] = "temperature"


def replying(body: Any, status: int, content_type: str = "application/json") -> Handler:
    """A handler that always answers this, which is text or JSON."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    async def handle(exchange: Exchange) -> None:
        await exchange.reply(raw, status, {"content-type": content_type})

    return handle


@pytest.mark.parametrize(
    ("body", "status", "end", "kind", "hint"),
    [
        # vLLM and every FastAPI server (pssah4/vault-operator 73)
        ({"detail": "Not Found"}, 404, "", "unknown_path (404)", "Try {url}/v1"),
        # LM Studio (lmstudio-bug-tracker 618)
        (
            {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
            200, "", "unknown_path (200)", "does the base URL end in /v1?",
        ),
        # nginx, and a base URL that has a version
        ("<html>404 Not Found</html>", 404, "/v1", "unknown_path (404)", "of its API: {url}"),
        # OpenAI, with a path twice
        (error("Invalid URL (POST /v1/v1/chat/completions)"), 404, "", "unknown_path", "{url}"),
        # a web page in place of an answer, as a chat's own user interface gives it
        ("<!doctype html><title>Chat", 200, "/v1", "bad_reply (200): the reply is a web page", ""),
        # OpenAI's own words for a mistyped model
        (NO_SUCH_MODEL, 404, "/v1", "unknown_model (404)", "llmbatch models openai"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["batch", "race"])
async def test_a_sure_sign_stops_the_run_at_once(
    command: str, body: Any, status: int, end: str, kind: str, hint: str, tmp_path: Path
) -> None:
    """No more is sent than was in flight, and the reason comes with what to do."""
    async with serve(replying(body, status)) as server:
        url = server.url + end
        done = await run(
            command, "-m", "m", "--base-url", url, "-o", str(tmp_path / "out"), stdin=ROWS
        )
        most = 2 * (16 if command == "batch" else 64)  # a bad reply is tried twice
        assert 1 <= len(server.exchanges) <= most
    assert done.status == 3
    assert f"openai/m: {kind}" in done.err
    assert hint.format(url=server.url) in done.err.partition("hint: ")[2]


async def test_a_refusal_of_every_row_stops_the_run_after_some_and_resume_sends_all(
    tmp_path: Path,
) -> None:
    """A parameter that the model refuses sent all 2,000 rows (OpenHikmah PR 545)."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(MANY)
    there = ("batch", str(source), "-m", "m", "-o", str(out), "--temperature", "0.5")
    async with serve(replying(TOO_WARM, 400)) as server:
        done = await run(*there, "--base-url", server.url)
        assert 20 <= len(server.exchanges) <= 60
    assert done.status == 3
    assert "20 rows failed alike, and none was answered" in done.err
    assert "rejected: 'temperature' does not support 0.5" in done.err
    assert "hint: leave temperature out" in done.err
    assert f"llmbatch errors {out}" in done.err
    async with serve(echo) as server:
        done = await run(*there, "--base-url", server.url, "--resume")
        assert len(server.exchanges) == 2000
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert (done.status, len(rows)) == (0, 2000)
    assert all(row["error"] is None for row in rows)


async def test_rows_that_failed_for_a_wrong_url_are_sent_again(tmp_path: Path) -> None:
    """With the URL mended, --resume said that all are done, and exited with 0."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["a", "b", "c"]))
    there = ("batch", str(source), "-m", "m", "-o", str(out))
    for body in ({"detail": "Not Found"}, error("no way")):
        async with serve(replying(body, 404)) as server:
            done = await run(*there, "--base-url", server.url, "--overwrite")
            assert done.status in (1, 3)
        async with serve(echo) as server:
            done = await run(*there, "--base-url", f"{server.url}/v1", "--resume")
            assert (done.status, len(server.exchanges)) == (0, 3)
        assert len(out.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "body",
    [error("This model's maximum context length is 8 tokens"), error("content policy violation")],
)
async def test_bad_rows_at_the_beginning_end_no_run(body: Any) -> None:
    """Too long and filtered prompts are their rows' own fault, however many there are; so are
    other refusals in other words."""

    async def handle(exchange: Exchange) -> None:
        number = len(server.exchanges)
        if number <= 30:
            await answer(exchange, body, 400)
        elif number <= 60:
            await answer(exchange, error(f"bad {'xy'[number % 2]}"), 400)
        else:
            await echo(exchange)

    async with serve(handle) as server:
        done = await run("batch", "-m", "m", "-c", "1", "--base-url", server.url, stdin=ROWS)
    assert (done.status, len(done.rows)) == (1, 200)
    assert sum(row["error"] is None for row in done.rows) == 140


async def test_max_errors_lets_a_run_go_on_that_is_refused() -> None:
    """Who says how many rows may fail is believed."""
    async with serve(replying(TOO_WARM, 400)) as server:
        done = await run(
            "batch", "-m", "m", "--max-errors", "500", "--base-url", server.url, stdin=ROWS
        )
    assert (done.status, len(done.rows)) == (1, 200)


async def test_a_race_that_is_refused_alike_stops_too() -> None:
    """And a run whose rows all name the same wrong model, as batch lines do."""
    async with serve(replying(TOO_WARM, 400)) as server:
        models = ("-m", "a", "-m", "b", "-c", "8")
        done = await run("race", *models, "--base-url", server.url, stdin=ROWS)
        assert len(server.exchanges) <= 2 * 20 + 8
    assert done.status == 3
    assert 20 <= len(done.rows) <= 28
    own = jsonl([{"prompt": f"row {number}", "model": "typo"} for number in range(200)])
    async with serve(replying(NO_SUCH_MODEL, 404)) as server:
        done = await run("batch", "-m", "m", "-c", "4", "--base-url", server.url, stdin=own)
        assert len(server.exchanges) <= 16
    assert done.status == 3
    assert "failed alike" in done.err


@pytest.mark.parametrize("command", ["batch", "race"])
async def test_another_model_may_answer(command: str) -> None:
    """With a fallback or a rival a wrong model's name is told once, and the run goes on."""
    asked: list[str] = []

    async def handle(exchange: Exchange) -> None:
        asked.append(json.loads(exchange.body)["model"])
        if asked[-1] == "typo":
            await answer(exchange, NO_SUCH_MODEL, 404)
        else:
            await answer(exchange, completion("yes"))

    other = ("--fallback", "good") if command == "batch" else ("-m", "good")
    async with serve(handle) as server:
        done = await run(
            command, "-m", "typo", *other, "-c", "4", "--base-url", server.url, stdin=ROWS
        )
    assert (done.status, len(done.rows)) == (0, 200)
    assert asked.count("typo") <= 8  # two models, four in flight at each
    assert done.err.count("The model `gpt-5o` does not exist") == 1


async def test_a_rows_own_wrong_model_fails_that_row() -> None:
    """Even as the first row of the run."""

    async def handle(exchange: Exchange) -> None:
        if json.loads(exchange.body)["model"] == "typo":
            await answer(exchange, NO_SUCH_MODEL, 404)
        else:
            await echo(exchange)

    rows = jsonl([{"prompt": "a", "model": "typo"}, *["b"] * 5, {"prompt": "c", "model": "typo"}])
    async with serve(handle) as server:
        done = await run(
            "batch", "-m", "m", "-c", "1", "--ordered", "--base-url", server.url, stdin=rows
        )
        assert len(server.exchanges) == 6
    kinds = [row["error"] and row["error"]["type"] for row in done.rows]
    assert kinds == ["unknown_model", *[None] * 5, "unknown_model"]
    assert done.status == 1
