"""`llmbatch batch` as its users run it."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error, last_text
from support.program import Done, jsonl, run, start
from support.scripted import Exchange, Server, serve


async def batch(server: Server, *arguments: str, stdin: bytes = b"", **env: str) -> Done:
    return await run(
        "batch", "-m", "some-model", "--base-url", f"{server.url}/v1", *arguments,
        stdin=stdin, env=env,
    )  # fmt: skip


async def test_a_row_becomes_a_request_and_its_reply_a_row() -> None:
    """The bytes on the wire are the documented ones, and the row of output the promised one."""
    row = {"id": "q1", "prompt": "hi", "label": {"a": [1]}, "temperature": 0.5, "model": None}
    async with serve(echo) as server:
        done = await batch(server, "--max-tokens", "9", "--seed", "7", stdin=jsonl([row]))
        (seen,) = server.exchanges
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.header("content-type") == "application/json"
    assert seen.header("authorization") is None
    assert json.loads(seen.body) == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 7,
    }
    (out,) = done.rows
    assert 0 <= out.pop("latency") < 20
    assert list(out) == [
        "index", "id", "model", "provider", "text", "finish_reason", "usage", "cost",
        "attempts", "metadata", "error",
    ]  # fmt: skip
    assert out == {
        "index": 0,
        "id": "q1",
        "model": "served-model",
        "provider": "openai",
        "text": "HI",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "cost": 0.0,
        "attempts": 1,
        "metadata": {"label": {"a": [1]}},
        "error": None,
    }
    assert (done.status, "1 row: 1 answered" in done.err) == (0, True)


async def test_flags_and_row_fields_meet_on_the_wire() -> None:
    """Row over model over flags; --param takes any JSON; --system stands before rows without."""
    rows = [
        {"prompt": "a", "temperature": 0.1},
        {"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]},
        {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "else", "messages": [{"role": "user", "content": "c"}]}},
    ]  # fmt: skip
    async with serve(echo) as server:
        done = await run(
            "batch", "-m", "m?temperature=0.2&top_p=0.3", "--base-url", f"{server.url}/v1",
            "--temperature", "0.9", "--top-p", "0.9", "--stop", "X", "--stop", "Y", "--n", "1",
            "--param", 'extra_body={"top_k": 5}', "-p", "user=me", "--system", "sys",
            "--reasoning-effort", "low", "-c", "1",
            stdin=jsonl(rows),
        )  # fmt: skip
        seen = [json.loads(exchange.body) for exchange in server.exchanges]
    assert done.status == 0, done.err
    assert [body["temperature"] for body in seen] == [0.1, 0.2, 0.9]
    assert [body["top_p"] for body in seen] == [0.3, 0.3, 0.9]
    assert [body["model"] for body in seen] == ["m", "m", "else"]
    assert [body["messages"][0]["content"] for body in seen] == ["sys", "own", "sys"]
    for body in seen:
        assert (body["stop"], body["n"], body["top_k"]) == (["X", "Y"], 1, 5)
        assert (body["user"], body["reasoning_effort"]) == ("me", "low")
    assert [row["id"] for row in done.rows] == [0, 1, "c"]


async def test_an_answer_is_out_before_the_next_row_exists() -> None:
    """Rows of a live pipe are sent when their line is complete."""
    async with serve(echo) as server:
        process = await start("batch", "-m", "m", "--base-url", server.url, "-q")
        assert process.stdin is not None
        assert process.stdout is not None
        for word in ("one", "two", "three"):
            process.stdin.write(jsonl([{"prompt": word}]))
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert json.loads(line)["text"] == word.upper()
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0


BAD_ROWS = (
    b'{"prompt": "good"}\n'
    b'{"prompt": \n'
    b"\n"
    b'{"prompt": "\xff"}\n'
    b'{"prompt": ""}\n'
    b'{"text": "no prompt"}\n'
    b'{"prompt": 5}\n'
    b'{"messages": [{"role": "robot", "content": "x"}]}\n'
    b'{"prompt": "x", "temperature": "hot"}\n'
    b'{"prompt": "' + b"x" * 300 + b'"}\n'
    b'{"id": 9, "prompt": "also good"}'
)


async def test_every_bad_row_is_one_error_row(tmp_path: Path) -> None:
    """A row that cannot be read costs nothing but itself, and says file, line and reason."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(BAD_ROWS)
    async with serve(echo) as server:
        done = await batch(server, str(path), "--ordered", "--max-line-bytes", "200")
    rows = done.rows
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["text"] for row in rows if row["error"] is None] == ["GOOD", "ALSO GOOD"]
    bad = [row["error"] for row in rows if row["error"] is not None]
    assert {one["type"] for one in bad} == {"invalid_row"}
    lines = [2, 4, 5, 6, 7, 8, 9, 10]
    for line, one in zip(lines, bad, strict=True):
        assert one["message"].startswith(f"{path}:{line}: ")
    assert done.status == 1
    assert "10 rows: 2 answered, 8 failed (8 invalid_row)" in done.err
    assert "Traceback" not in done.err


async def test_strict_sends_nothing_if_any_row_is_bad(tmp_path: Path) -> None:
    """With --strict one bad row is enough: exit 2, told with its line, nothing sent or written."""
    path, out = tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(BAD_ROWS)
    async with serve(echo) as server:
        for stdin, name in ((b"", str(path)), (BAD_ROWS, "-")):
            done = await batch(server, name, "--strict", "-o", str(out), stdin=stdin)
            assert (done.status, done.out) == (2, b"")
            assert f"{'<stdin>' if name == '-' else path}:2: bad JSON" in done.err
        assert server.exchanges == []
        good = await batch(server, "--strict", stdin=jsonl([{"prompt": "a"}]))
    assert not out.exists()
    assert (good.status, good.rows[0]["text"]) == (0, "A")


UNSENDABLE: dict[str, dict[str, Any]] = {
    "no model": {"prompt": "a", "model": "openai/"},
    "no key": {"prompt": "a", "model": "anthropic/claude-sonnet-4-5"},
    "no option": {"prompt": "a", "model": "fake/echo?latncy=1"},
    "no words": {"prompt": "a", "model": "ollama/m", "logit_bias": {"1": 2}},
    "no file": {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "nowhere.png"}}]}]},
}  # fmt: skip


@pytest.mark.parametrize("why", UNSENDABLE)
@pytest.mark.parametrize("command", ["batch", "race"])
async def test_strict_sends_nothing_if_a_row_cannot_be_sent(
    tmp_path: Path, command: str, why: str
) -> None:
    """What would be an invalid_row in the middle of the run is found before it begins, and an
    output that is there already stays as it is."""
    bad = dict(UNSENDABLE[why])
    models = ["-m", "openai/some-model"]
    if command == "race":
        models *= 2
        bad |= {"models": [bad.pop("model")]} if "model" in bad else {}
    (tmp_path / "in.jsonl").write_bytes(jsonl(["fine", bad]))
    out = tmp_path / "out.jsonl"
    out.write_text("kept\n")
    async with serve(echo) as server:
        done = await run(
            command, str(tmp_path / "in.jsonl"), *models, "--strict", "-o", str(out),
            "--overwrite", "--files", str(tmp_path),
            env={"OPENAI_BASE_URL": f"{server.url}/v1"},
        )  # fmt: skip
        assert server.exchanges == []
    assert (done.status, out.read_text()) == (2, "kept\n")
    assert f"{tmp_path / 'in.jsonl'}:2: " in done.err
    assert "1 of 2 rows are invalid, so nothing was sent" in done.err
    assert "Traceback" not in done.err


async def test_strict_lets_a_row_pass_that_a_fallback_can_answer() -> None:
    """What the model has no words for goes to the fallback, so it is no bad row."""
    row = UNSENDABLE["no words"]
    done = await run("batch", "-m", "fake/echo", "--strict", "--fallback", "fake/lorem",
                     stdin=jsonl([row]))  # fmt: skip
    assert (done.status, done.rows[0]["fallback_from"]) == (0, "ollama/m")


@pytest.mark.parametrize("bad", [b"", b"broken\n"])
async def test_strict_reads_any_pipe_and_then_answers_it(tmp_path: Path, bad: bytes) -> None:
    """A named pipe, as by <(...) or /dev/stdin, is copied first, as standard input is."""
    fifo = tmp_path / "rows.jsonl"
    os.mkfifo(fifo)
    for name, stdin in ((str(fifo), b""), ("/dev/stdin", b'"a"\n' + bad)):
        writing = asyncio.create_task(
            asyncio.to_thread(fifo.write_bytes, b'"a"\n' + bad)
            if name == str(fifo)
            else asyncio.sleep(0)
        )
        done = await run("batch", name, "--strict", "-m", "fake/echo", stdin=stdin)
        await writing
        assert (done.status, len(done.rows)) == ((2, 0) if bad else (0, 1))
        assert (f"{name}:2: bad JSON" in done.err) == bool(bad)


async def test_standard_output_has_a_name() -> None:
    """`-o -` and `-o /dev/stdout` are standard output, also where it is a pipe."""
    for name in ("-", "/dev/stdout"):
        done = await run("batch", "-m", "fake/echo", "-o", name, stdin=jsonl(["a"]))
        assert (done.status, len(done.rows)) == (0, 1), done.err


async def test_a_usage_error_is_an_object_for_programs(tmp_path: Path) -> None:
    """--progress json: errors and hints are objects, too, whenever they are found."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["a"]))
    out.write_text("full\n")
    for arguments in (("-m", "gpt-4o-mini"), ("-m", "fake/echo", "-f", "text", "--resume")):
        done = await run(
            "batch", str(source), *arguments, "-o", str(out), "--overwrite", "--progress", "json"
        )
        told = [json.loads(line) for line in done.err.splitlines()]
        assert done.status == 2
        (error,) = [one for one in told if "error" in one]
        assert error["error"]
    assert "hint" in error


@pytest.mark.parametrize(
    ("argument", "words"),
    [("no-such-file.jsonl", "no-such-file.jsonl"), ("no-such-folder/", "no-such-folder/")],
)
async def test_an_input_that_cannot_be_opened_is_told_in_one_line(
    argument: str, words: str
) -> None:
    """A missing file or folder: exit 2, one clear line, nothing sent."""
    async with serve(echo) as server:
        done = await batch(server, argument)
        assert server.exchanges == []
    assert (done.status, done.out) == (2, b"")
    first, *rest = done.err.splitlines()
    assert first.startswith("llmbatch: error: ")
    assert words in first
    assert all(line.startswith("hint: ") for line in rest)


async def test_an_empty_input_is_no_failure() -> None:
    """Nothing to do is done: exit 0, said on standard error."""
    async with serve(echo) as server:
        done = await batch(server)
    assert (done.status, done.out) == (0, b"")
    assert "no rows" in done.err


async def test_rows_of_the_same_id_are_both_answered() -> None:
    """A repeated id is not an error."""
    async with serve(echo) as server:
        done = await batch(
            server, stdin=jsonl([{"id": "a", "prompt": "1"}, {"id": "a", "prompt": "2"}])
        )
    assert sorted(row["text"] for row in done.rows) == ["1", "2"]
    race = ("race", "-m", "fake/echo", "-m", "fake/lorem", "--all")
    rows = [{"id": 0, "prompt": "a"}, {"id": 0, "prompt": "b"}, {"id": "x", "prompt": "c"}]
    raced = await run(*race, stdin=jsonl(rows))
    assert len(raced.rows) == 6


async def test_several_inputs_are_one_run(tmp_path: Path) -> None:
    """Files and standard input, gzipped or not, are read one after the other."""
    plain, packed = tmp_path / "a.txt", tmp_path / "b.jsonl.gz"
    plain.write_text("first\n\nsecond\n")
    packed.write_bytes(gzip.compress(jsonl(["third"])))
    async with serve(echo) as server:
        done = await batch(server, str(plain), str(packed), "-", "--ordered", stdin=b'"fourth"\n')
    assert [row["text"] for row in done.rows] == ["FIRST", "SECOND", "THIRD", "FOURTH"]
    assert [row["index"] for row in done.rows] == [0, 1, 2, 3]


async def test_limit_takes_the_first_rows() -> None:
    """--limit 2 sends two rows, whatever follows."""
    async with serve(echo) as server:
        done = await batch(server, "--limit", "2", stdin=jsonl(["a", "b", "c"]))
        assert len(server.exchanges) == 2
    assert sorted(row["text"] for row in done.rows) == ["A", "B"]


async def test_ordered_output_is_in_input_order() -> None:
    """With --ordered a slow first row is still first; without, it is last."""

    async def handler(exchange: Exchange) -> None:
        if last_text(exchange) == "0":
            await asyncio.sleep(0.5)
        await echo(exchange)

    rows = jsonl([str(index) for index in range(20)])
    async with serve(handler) as server:
        ordered = await batch(server, "--ordered", stdin=rows)
        free = await batch(server, stdin=rows)
    assert [row["index"] for row in ordered.rows] == list(range(20))
    assert free.rows[-1]["index"] == 0


async def test_an_output_file_is_not_lost(tmp_path: Path) -> None:
    """An existing answer file is kept unless --overwrite; the input never becomes the output."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["a"]))
    async with serve(echo) as server:
        assert (await batch(server, str(source), "-o", str(out))).status == 0
        first = out.read_bytes()
        again = await batch(server, str(source), "-o", str(out))
        assert (again.status, out.read_bytes()) == (2, first)
        assert "--overwrite" in again.err
        over = await batch(server, str(source), "-o", str(out), "--overwrite")
        assert (over.status, len(out.read_bytes().splitlines())) == (0, 1)
        onto = await batch(server, str(source), "-o", str(source), "--overwrite")
    assert onto.status == 2
    assert source.read_bytes() == jsonl(["a"])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("-m", "gpt-4o-mini"), 2),
        (("-m", "fake/echo", "--param", "temperature=hot"), 2),
        (("-m", "openai/m"), 3),
    ],
)
async def test_a_run_that_cannot_be_costs_no_old_answers(
    tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    """No key, a wrong parameter, a key refused: no old answer is lost, and no file is made."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, error("Incorrect API key", "invalid_api_key"), 401)

    old, new, source = tmp_path / "old.jsonl", tmp_path / "new.jsonl", tmp_path / "in.jsonl"
    old.write_text('{"precious":1}\n')
    source.write_bytes(jsonl(["a"]))
    async with serve(handler) as server:
        env = {"OPENAI_BASE_URL": server.url} if status == 3 else {}
        for out in (old, new):
            done = await run(
                "batch", str(source), *arguments, "-o", str(out), "--overwrite", env=env
            )
            assert done.status == status, done.err
            assert ("old.jsonl.old-1 holds" in done.err) == (status == 3 and out == old)
    kept = old if status == 2 else tmp_path / "old.jsonl.old-1"
    assert (kept.read_text(), new.exists()) == ('{"precious":1}\n', False)


@pytest.mark.parametrize("rows", [2, 60])
async def test_a_forgotten_model_is_told(rows: int, tmp_path: Path) -> None:
    """Without -m the summary names the model, and a long input gets a notice while it is read."""
    model = tmp_path / "sitecustomize.py"
    model.write_text(
        "import llmbatch_cli.providers.access as access\n"
        "access.DEFAULT_MODEL = 'fake/echo'\n"
        "import llmbatch_cli.providers.registry as registry\n"
        "registry.DEFAULT_MODEL = 'fake/echo'\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    done = await run("batch", "-", stdin=jsonl(["a"] * rows), env=env)
    assert done.status == 0
    assert "by fake/echo, the small embedded model; -m names another" in done.err
    assert done.err.count("no -m is given, so fake/echo, a small") == (rows > 50)
    named = await run("batch", "-", "-m", "fake/echo", stdin=jsonl(["a"] * rows), env=env)
    assert "embedded" not in named.err


async def test_a_full_disk_stops_the_run() -> None:
    """When answers cannot be written no more prompts are paid for: exit 3."""
    async with serve(echo) as server:
        done = await batch(
            server, "-o", "/dev/full", "-c", "2", stdin=jsonl([str(i) for i in range(5000)])
        )
        assert len(server.exchanges) < 2500
    assert done.status == 3
    assert "No space left" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, error("Incorrect API key provided", "invalid_api_key"), "OPENAI_API_KEY"),
        (429, error("You exceeded your current quota", "insufficient_quota"), "quota"),
    ],
)
async def test_what_no_row_can_mend_stops_the_run_at_once(
    status: int, body: dict[str, object], words: str
) -> None:
    """A bad key or no quota: one message instead of ten thousand rows, exit 3."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, body, status)

    rows = jsonl([f"row {index}" for index in range(10_000)])
    async with serve(handler) as server:
        done = await batch(server, stdin=rows, OPENAI_API_KEY="sk-not-the-right-one")
        assert len(server.exchanges) <= 128
        assert server.exchanges[0].header("authorization") == "Bearer sk-not-the-right-one"
    assert (done.status, done.out) == (3, b"")
    assert words in done.err
    assert "sk-not" not in done.err
    assert done.err.count("\n") <= 4


async def test_a_failed_row_tells_its_kind() -> None:
    """A retryable failure is marked as such, with the status and the provider's own words."""

    async def handler(exchange: Exchange) -> None:
        if last_text(exchange) == "busy":
            await answer(exchange, error("The engine is overloaded"), 503)
        elif last_text(exchange) == "bad":
            await answer(exchange, error("Invalid 'messages'", "invalid_value"), 400)
        else:
            await echo(exchange)

    async with serve(handler) as server:
        done = await batch(server, "--ordered", stdin=jsonl(["busy", "fine", "bad"]))
    busy, fine, bad = done.rows
    assert busy["error"] == {
        "type": "overloaded",
        "message": "The engine is overloaded",
        "status": 503,
        "retryable": True,
    }
    assert bad["error"]["type"] == "rejected"
    assert not bad["error"]["retryable"]
    assert (fine["text"], done.status) == ("FINE", 1)
    assert "3 rows: 1 answered, 2 failed (1 overloaded, 1 rejected)" in done.err


async def test_a_row_has_its_own_time() -> None:
    """--timeout ends a row that is never answered, and only that one."""

    async def handler(exchange: Exchange) -> None:
        if last_text(exchange) == "hang":
            await exchange.until_closed()
        else:
            await echo(exchange)

    async with serve(handler) as server:
        done = await batch(server, "--timeout", "0.5", "--ordered", stdin=jsonl(["hang", "a"]))
    assert done.rows[0]["error"]["type"] == "timed_out"
    assert done.rows[1]["text"] == "A"


async def test_no_key_is_told_before_anything_is_sent() -> None:
    """Without a key the message names the variable and where a key is made."""
    done = await run("batch", "-m", "gpt-4o-mini", stdin=jsonl(["a"]))
    assert (done.status, done.out) == (2, b"")
    assert "OPENAI_API_KEY" in done.err
    assert "https://" in done.err


async def test_an_unknown_model_is_told_with_near_names() -> None:
    """A slip in the model's name costs nothing and is answered with what was meant."""
    done = await run("batch", "-m", "gtp-4o-mini", stdin=jsonl(["a"]))
    assert (done.status, done.out) == (2, b"")
    assert "gpt-4o-mini" in done.err


async def test_standard_output_is_data_only() -> None:
    """Whatever is asked, every line on standard output is a row."""
    async with serve(echo) as server:
        done = await batch(server, "-vv", "--progress", "plain", stdin=b'"a"\nbroken\n"b"\n')
    assert len(done.rows) == 3
    quiet = await run("batch", "-q", "-m", "fake/echo", stdin=jsonl(["a"]))
    assert (quiet.status, quiet.err) == (0, "")


async def test_progress_as_json_is_for_programs() -> None:
    """--progress json: every line on standard error is an object; the last one is final."""
    async with serve(echo) as server:
        done = await batch(server, "--progress", "json", stdin=jsonl(["a", "b"]))
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert lines[-1]["final"] is True
    assert (lines[-1]["rows"], lines[-1]["answered"]) == (2, 2)


async def test_text_answers_one_a_line() -> None:
    """--format text --one-line escapes newlines, so that lines pair with rows."""

    async def handler(exchange: Exchange) -> None:
        await answer(exchange, completion("two\nlines"))

    async with serve(handler) as server:
        done = await batch(server, "-f", "text", "--one-line", stdin=jsonl(["a", "b"]))
    assert done.out == b"two\\nlines\n" * 2


@pytest.mark.parametrize("http", ["llhttp", "httpx"])
async def test_either_client_serves(http: str) -> None:
    """--http chooses the client; the rows are the same."""
    async with serve(echo) as server:
        done = await batch(server, "--http", http, stdin=jsonl(["a"]))
    assert (done.status, done.rows[0]["text"]) == (0, "A")


@pytest.mark.parametrize("arguments", [("--nope",), ("-c", "0"), ("--temperature", "warm")])
async def test_a_wrong_command_line_is_told(arguments: tuple[str, ...]) -> None:
    """What cannot be understood is told in words, with exit 2."""
    done = await run("batch", *arguments)
    assert (done.status, done.out) == (2, b"")
    assert arguments[0] in done.err
    assert "Traceback" not in done.err
