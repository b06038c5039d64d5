"""What a user may give by mistake, or a stranger in a row, ends in words and not in a traceback."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.chat import echo
from support.program import PROGRAM, environment, jsonl, run
from support.scripted import serve

ROW = jsonl(["hi"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--timeout", "nan"), "time limit"),
        (("--connect-timeout", "inf"), "time limit for connecting"),
        (("--rpm", "inf"), "rpm"),
        (("-m", "openai/m", "--base-url", "http://localhost:99999/v1"), "is not a base URL"),
        (("-m", "openai/m", "--base-url", "http://[::1/v1"), "is not a base URL"),
        (("-m", "openai/m", "--base-url", "http://a b/v1"), "is not a base URL"),
        (("-m", "openai/m", "--base-url", "http://u:s3cret@127.0.0.1:9/v1"), "password"),
        (("-m", "mistralai/Mistral-7B-Instruct-v0.3"), "unknown model"),
        (("-m", "commandeer"), "unknown model"),
        (("--param", "stream=true"), "stream cannot be set as a parameter"),
        (("--param", 'guided_json={"a":1'), "not valid JSON"),
        (("--param", 'extra_headers={"Host": "x"}'), "must not set host"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    """Exit 2 and one clear line that shows no secret."""
    model = () if "-m" in arguments else ("-m", "fake/echo")
    done = await run("batch", *model, *arguments, stdin=ROW, env={"OPENAI_API_KEY": "k"})
    assert (done.status, done.out) == (2, b"")
    assert words in done.err
    assert "Traceback" not in done.err
    assert "s3cret" not in done.err


@pytest.mark.parametrize("http", ["llhttp", "httpx"])
async def test_a_row_that_nobody_has_thought_of_fails_alone(http: str) -> None:
    """Whatever one row asks for, the others are answered."""
    tool = {"type": "function", "function": {"name": "f"}}
    rows = [
        "first",
        {"prompt": "x", "model": f"local/{'a' * 5000}.gguf"},
        {"prompt": "x", "model": "local/~nobody-here/x.gguf"},
        {"prompt": "x", "model": "anthropic/claude-x", "tools": [tool], "tool_choice": {"type": 1}},
        {"prompt": "x", "extra_headers": {"x-a": "\u00e9"}},
        {"prompt": "x", "extra_headers": {"content-length": "3"}},
        "last",
    ]
    async with serve(echo) as server:
        done = await run(
            "batch", "-m", "m", "--base-url", f"{server.url}/v1", "--ordered", "--http", http,
            "--max-attempts", "1", stdin=jsonl(rows),
        )  # fmt: skip
    assert done.status == 1
    assert "Traceback" not in done.err
    texts = [row["text"] for row in done.rows]
    assert (len(texts), texts[0], texts[4], texts[6]) == (7, "FIRST", "X", "LAST")


@pytest.mark.parametrize("model", ["command-r", "gemini-x", "claude-x", "deepseek-ai/DeepSeek-R1"])
async def test_a_server_of_ones_own_is_spoken_to_as_openai(model: str) -> None:
    """Whatever its models are called; its key is OpenAI's, and the model's name stays whole."""
    async with serve(echo) as server:
        done = await run(
            "batch", "-m", model, "--base-url", f"{server.url}/v1", stdin=ROW,
            env={"OPENAI_API_KEY": "sk-own", "DEEPSEEK_API_KEY": "sk-other"},
        )  # fmt: skip
        (exchange,) = server.exchanges
    assert done.rows[0]["text"] == "HI"
    assert exchange.path == "/v1/chat/completions"
    assert exchange.header("authorization") == "Bearer sk-own"
    assert f'"model":"{model}"'.encode() in exchange.body


@pytest.mark.parametrize("http", ["llhttp", "httpx"])
async def test_loopback_needs_no_proxy_and_other_kinds_are_named(http: str) -> None:
    """A proxy of the environment never gets what goes to this machine."""
    async with serve(echo) as server:
        env = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
        told = ("batch", "--http", http, "--max-attempts", "1", "-m", "openai/m")
        here = await run(*told, "--base-url", f"{server.url}/v1", stdin=ROW, env=env)
    away = await run(*told, "--base-url", "https://llmbatch.invalid/v1", stdin=ROW, env=env)
    assert here.rows[0]["text"] == "HI"
    assert away.status == 2
    assert "ALL_PROXY names a socks5 proxy" in away.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
@pytest.mark.parametrize("arguments", [("batch", "--help"), ("--version",)])
async def test_a_full_standard_output_is_told(arguments: tuple[str, ...]) -> None:
    """One line and exit 3."""
    with Path("/dev/full").open("wb") as full:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *arguments, stdout=full, stderr=asyncio.subprocess.PIPE, env=environment()
        )
        _, err = await process.communicate()
    assert process.returncode == 3
    assert err.decode().count("\n") == 1
    assert b"cannot write" in err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("after_s", [0.02, 0.15, 0.3])
async def test_an_early_interrupt_is_quiet(after_s: float) -> None:
    """Ctrl-C while the program starts: exit 130, and no word. Python's own start,
    before anything of ours runs, is not ours to guard."""
    begin = "import sys; from llmbatch_cli.__main__ import main; sys.stderr.write('up\\n'); main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", begin, "batch", "-m", "fake/echo?latency=30"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    assert await process.stderr.readline() == b"up\n"
    await asyncio.sleep(after_s)
    os.kill(process.pid, signal.SIGINT)
    await asyncio.sleep(0.5)
    if process.returncode is None:
        os.kill(process.pid, signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("batch -m fake/echo <&-", "standard input is closed"),
        ("batch - -m fake/echo <&- >&-", "standard input is closed"),
        ("race -m fake/echo,fake/lorem <&-", "standard input is closed"),
        ("errors - <&-", "standard input is closed"),
        ("batch IN -m fake/echo >&-", "standard output is closed"),
        ("race -m fake/echo,fake/lorem hi --stream <&- >&-", "standard output is closed"),
        ("errors IN >&-", "standard output is closed"),
        ("errors - < IN >&-", "standard output is closed"),
        ("errors - 0>OUT", "cannot read <stdin>: Bad file descriptor"),
        ("providers <&- >&-", "standard output is closed"),
        ("models ollama >&-", "standard output is closed"),
        ("providers >&- 2>&-", ""),
        ("batch <&- >&- 2>&-", ""),
    ],
)
def test_closed_standard_streams(tmp_path: Path, command: str, words: str) -> None:
    """As under systemd, cron or a daemon: exit 2, with what is closed (pixelb/crudini 67)."""
    (tmp_path / "IN").write_bytes(ROW)
    done = subprocess.run(
        ["/bin/bash", "-c", f"{' '.join(PROGRAM)} {command}"],
        capture_output=True, text=True, timeout=30, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
