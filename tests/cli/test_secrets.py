"""Keys stay where they belong: not in a request's body, not in a message, not in an output."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support.chat import answer, completion
from support.program import jsonl, run, start
from support.scripted import Exchange, serve

from llmbatch_cli.cli.go_on import go_on_command

KEY = "sk-very-secret-0123456789"


@pytest.mark.parametrize("command", ["batch", "race"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "m", "-p", f"api_key={KEY}"),
        ("-m", f"m?api_key={KEY}"),
        ("-m", "m", "-p", f"API-Key={KEY}"),
        ("-m", "m", "-p", f"authorization=Bearer {KEY}"),
        ("-m", "m", "-p", f"base_url=https://{KEY}.example"),
        ("-m", "m", "-p", f'extra_body={{"api_key": "{KEY}"}}'),
        ("-m", "m", "-p", f"api_key {KEY}"),
        ("-m", "m", "-p", f'extra_headers={{"authorization": "{KEY}"'),
        ("-m", f"m?api_key;{KEY}"),
    ],
)
async def test_a_key_among_the_parameters_is_refused(
    command: str, arguments: tuple[str, ...]
) -> None:
    """It was sent in the body. Nothing is sent, and the value is not shown."""
    async with serve(lambda exchange: answer(exchange, completion("x"))) as server:
        done = await run(
            command,
            *arguments,
            "--base-url",
            server.url,
            stdin=jsonl(["a"]),
            env={"COLUMNS": "200"},
        )
        assert server.exchanges == []
    assert (done.status, done.out) == (2, b"")
    assert KEY not in done.err


async def test_a_key_in_a_row_fails_the_row_and_is_not_carried() -> None:
    """In the body of a batch line, in extra_body, or beside the prompt; a carried field that only
    looks like one is data."""
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    line = {"custom_id": "b", "method": "POST", "url": "/v1/chat/completions"}
    rows = [
        {"prompt": "a", "api_key": KEY},
        {**line, "body": {**body, "api_key": KEY}},
        {**line, "body": {**body, "base_url": KEY}},
        {**line, "body": {**body, "authorization": KEY}},
        {"prompt": "a", "extra_body": {"api_key": KEY}},
        {"prompt": "a", "base_url": "https://data.example"},
    ]
    async with serve(lambda exchange: answer(exchange, completion("x"))) as server:
        done = await run(
            "batch", "-m", "m", "--ordered", "-v", "--base-url", server.url, stdin=jsonl(rows)
        )
        assert len(server.exchanges) == 1
    kinds = [row["error"] and row["error"]["type"] for row in done.rows]
    assert kinds == [*["invalid_row"] * 5, None]
    assert done.rows[-1]["metadata"] == {"base_url": "https://data.example"}
    assert KEY not in done.out.decode() + done.err


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["-p", f'extra_headers={{"a": "{KEY}"}}'], "-p extra_headers=..."),
        ([f'-pextra_headers={{"a": "{KEY}"}}'], "-pextra_headers=..."),
        ([f'--param=extra_headers={{"a": "{KEY}"}}'], "--param=extra_headers=..."),
        (["-p", f'extra_body={{"password": "{KEY}"}}'], "-p extra_body=..."),
        (["-m", f"m?extra_headers={KEY}"], "-m 'm?...'"),
        (["--base-url", f"http://h/v1?key={KEY}"], "--base-url 'http://h/v1?...'"),
        ([f"--base-url=http://u:{KEY}@h/v1"], "--base-url=http://...@h/v1"),
        (["-p", f"user={KEY}"], "-p user=..."),
    ],
)
def test_the_line_to_go_on_hides_what_may_be_secret(argv: list[str], shown: str) -> None:
    """It printed the bearer of extra_headers."""
    command = go_on_command(["x", "batch", "in.jsonl", *argv], ["in.jsonl"])
    assert command == f"llmbatch batch in.jsonl {shown} --resume  (write ... out as before)"


@pytest.mark.parametrize(
    "argv",
    [
        ["-p", "max_completion_tokens=100"],
        ["-p", "prompt_cache_key=abc"],
        ["-m", "m?max_tokens=5&stop=END"],
        ["-s", "Is this a secret? key=1"],
        ["--base-url", "http://h/v1?api-version=1"],
    ],
)
def test_the_line_to_go_on_has_all_the_rest(argv: list[str]) -> None:
    """So that it can be pasted."""
    command = go_on_command(["x", "batch", *argv, "--overwrite", "in.jsonl"], ["in.jsonl"])
    assert "..." not in command
    assert command.endswith("in.jsonl --resume")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_a_run_that_is_interrupted_hides_it_too(tmp_path: Path) -> None:
    """The program itself, with a header that is sent and not shown."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([str(number) for number in range(200)]))
    pids: list[int] = []

    async def handle(exchange: Exchange) -> None:
        assert exchange.header("x-team") == KEY
        await answer(exchange, completion("x"))
        if len(server.exchanges) == 20:
            os.kill(pids[0], signal.SIGINT)

    async with serve(handle) as server:
        process = await start(
            "batch", str(source), "-m", "m", "-o", str(out), "-c", "1", "--base-url", server.url,
            "-p", "extra_headers=" + json.dumps({"x-team": KEY}),
        )  # fmt: skip
        pids.append(process.pid)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"to go on: llmbatch batch" in err
    assert b"extra_headers=..." in err
    assert KEY.encode() not in err
