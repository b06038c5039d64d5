"""`--resume`: going on where a run has stopped, as users do it."""

import asyncio
import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error, last_text
from support.program import Done, jsonl, run, start
from support.scripted import Exchange, Server, serve


async def batch(server: Server, source: Path, out: Path, *arguments: str) -> Done:
    return await run(
        "batch", str(source), "-m", "m", "--base-url", server.url, "-o", str(out), *arguments
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def asked(server: Server) -> list[str]:
    return [last_text(exchange) for exchange in server.exchanges]


async def test_only_what_is_new_or_changed_is_sent(tmp_path: Path) -> None:
    """Rows may be added, edited and reordered; what is done is neither sent nor written again."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["one", "two", {"id": "x", "prompt": "three"}, "two"]))
    async with serve(echo) as server:
        await batch(server, source, out)
        source.write_bytes(
            jsonl(["new", {"id": "x", "prompt": "three"}, "two", "ONE", "two", "two"])
        )
        server.exchanges.clear()
        done = await batch(server, source, out, "--resume")
        assert sorted(asked(server)) == ["ONE", "new", "two"]
        again = await batch(server, source, out, "--resume")
        assert len(server.exchanges) == 3
    told = f"resuming {out}: 3 of 6 rows answered, 3 to send; 1 answer is not of this input"
    assert told in done.err
    assert done.status == again.status == 0
    assert "llmbatch: nothing to send\n" in again.err
    assert len(rows_of(out)) == 4 + 3


async def test_a_renamed_row_is_written_under_its_new_id(tmp_path: Path) -> None:
    """A row with another id or other fields is not paid again; its answer gets the new ones."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]))
    async with serve(echo) as server:
        await batch(server, source, out)
        source.write_bytes(
            jsonl(["new", {"id": "B", "prompt": "two", "tag": 1}, {"id": "a", "prompt": "one"}])
        )
        done = await batch(server, source, out, "--resume", "--ordered")
        assert len(server.exchanges) == 3
    assert done.status == 0
    found = [(row["index"], row["id"], row["metadata"], row["text"]) for row in rows_of(out)]
    assert found == [(0, 0, {}, "NEW"), (1, "B", {"tag": 1}, "TWO"), (2, "a", {}, "ONE")]


async def test_a_changed_model_or_parameter_is_new_work(tmp_path: Path) -> None:
    """Answers of another model or temperature do not count, are kept, and told in numbers."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["one", {"id": "own", "prompt": "two"}]))
    async with serve(echo) as server:
        await batch(server, source, out, "--temperature", "0")
        done = await batch(server, source, out, "--temperature", "1", "--resume")
        assert len(server.exchanges) == 4
    told = "0 of 2 rows answered, 2 to send; 2 answers are not of this input"
    assert told in done.err
    assert done.err.index(told) < done.err.index("2 rows: 2 answered")
    assert len(rows_of(out)) == 4


async def test_what_a_pipe_leaves_over_is_told_at_the_end(tmp_path: Path) -> None:
    """Standard input cannot be looked at ahead: the done rows it does not have come last."""
    out = tmp_path / "out.jsonl"
    async with serve(echo) as server:
        here = ("batch", "-", "-m", "m", "--base-url", server.url, "-o", str(out))
        await run(*here, stdin=jsonl(["one", "two"]))
        done = await run(*here, "--resume", stdin=jsonl(["two", "three"]))
        assert len(server.exchanges) == 3
    assert done.err.endswith(
        f"not of this input with this model and parameters; {out} keeps them\n"
    )


async def test_failed_rows_are_tried_again_and_not_told_twice(tmp_path: Path) -> None:
    """A retryable failure's row gives way to its answer; others stay, unless asked for."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["busy", "bad", "fine"]))
    mended = False

    async def handler(exchange: Exchange) -> None:
        text = last_text(exchange)
        if mended or text == "fine":
            await echo(exchange)
        else:
            await answer(exchange, error(text), 503 if text == "busy" else 400)

    async with serve(handler) as server:
        first = await batch(server, source, out, "--max-attempts", "1")
        mended = True
        server.exchanges.clear()
        second = await batch(server, source, out, "--resume", "--ordered")
        assert asked(server) == ["busy"]
        third = await batch(server, source, out, "--resume", "--retry-failed", "all")
        assert asked(server) == ["busy", "bad"]
    assert (first.status, second.status, third.status) == (1, 1, 0)
    assert (
        f"hint: llmbatch errors {out} lists the failed rows\nhint: --resume sends again"
        in first.err
    )
    assert "1 of 3 rows answered, 1 to send, 1 failed before\n" in second.err
    assert "1 row answered before, 1 failed before" in second.err
    assert "hint" not in third.err
    rows = rows_of(out)
    assert sorted(row["text"] for row in rows) == ["BAD", "BUSY", "FINE"]
    assert len(rows) == 3


async def test_an_interrupted_run_tells_the_command_that_goes_on(tmp_path: Path) -> None:
    """The last words of a stopped run are a command; run as it stands it finishes the job."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([f"row {index}" for index in range(200)]))

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await echo(exchange)

    async with serve(slow) as server:
        process = await start(
            "batch", str(source), "-m", "m", "--base-url", server.url, "-o", str(out), "-c", "4"
        )
        while not out.exists() or out.read_bytes().count(b"\n") < 20:
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        told = err.decode().splitlines()[-1]
        assert told.startswith("llmbatch: to go on: llmbatch batch")
        assert told.endswith("--resume")
        done = await run(*told.removeprefix("llmbatch: to go on: llmbatch ").split())
        assert len(server.exchanges) == 200
    assert (process.returncode, done.status) == (130, 0)
    assert sorted(row["index"] for row in rows_of(out)) == list(range(200))


async def test_a_resumed_run_in_which_no_row_has_an_answer_is_no_success(tmp_path: Path) -> None:
    """Exit 1 while failed rows stand in the output; all that is to know in two lines and two hints,
    also where the input can be read only once."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"prompt": 1}, {"prompt": 2}]))
    here = ("-m", "fake/echo", "-o", str(out))
    first = await run("batch", str(source), *here)
    second = await run("batch", str(source), *here, "--resume")
    third = await run("batch", "-", *here, "--resume", stdin=source.read_bytes())
    assert (first.status, second.status, third.status) == (1, 1, 1)
    assert second.err.splitlines() == [
        f"llmbatch: resuming {out}: 0 of 2 rows answered, 0 to send, 2 failed before",
        "llmbatch: nothing to send",
        f"hint: llmbatch errors {out} lists the failed rows",
        "hint: --resume --retry-failed all sends them all again",
    ]
    assert third.err.splitlines()[0] == f"llmbatch: resuming {out}: 0 answers, 2 failed before"


async def test_equal_rows_keep_their_answers(tmp_path: Path) -> None:
    """A row that failed does not take the answer of a row with the same prompt: that one's stays
    what it was, and only the failed one is sent again."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl([{"id": name, "prompt": "same"} for name in "abc"] + ["same", "same"]))
    sent = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal sent
        sent += 1
        if sent in (1, 4):
            await answer(exchange, error("busy"), 503)
        else:
            await answer(exchange, completion(f"answer {sent}"))

    async with serve(handler) as server:
        first = await batch(server, source, out, "--max-attempts", "1", "-c", "1")
        before = {row["id"]: row["text"] for row in rows_of(out)}
        assert before == {"a": None, "b": "answer 2", "c": "answer 3", 3: None, 4: "answer 5"}
        done = await batch(server, source, out, "--resume")
    assert "3 of 5 rows answered, 2 to send" in done.err
    after = {row["id"]: row["text"] for row in rows_of(out)}
    assert {**after, "a": None, 3: None} == before
    assert {after["a"], after[3]} == {"answer 6", "answer 7"}
    assert (first.status, done.status) == (1, 0)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
async def test_no_row_leaves_a_stale_line(tmp_path: Path, name: str) -> None:
    """A row that failed and was corrected leaves no failure behind; the answer of a row that was
    edited is moved to another file. With --limit the rest of the input is unknown. A run that
    changes nothing adds nothing."""
    source, out = tmp_path / "in.jsonl", tmp_path / name
    model = ("-m", "fake/echo", "-o", str(out))
    good, bad = {"id": "a", "prompt": "one"}, {"id": "b", "prompt": 5}
    source.write_bytes(jsonl([good, bad, {"id": "c", "prompt": "three"}]) + b"{\n")
    first = await run("batch", str(source), *model)
    limited = await run("batch", str(source), *model, "--resume", "--limit", "1")
    before = out.read_bytes()
    source.write_bytes(jsonl([good, {"id": "b", "prompt": "two"}, {"id": "c", "prompt": "3"}]))
    done = await run("batch", str(source), *model, "--resume")
    after = out.read_bytes()
    again = await run("batch", str(source), *model, "--resume")
    assert (first.status, limited.status, done.status, again.status) == (1, 1, 0, 0), done.err
    unpack = gzip.decompress if name.endswith("gz") else bytes
    assert len(unpack(before).splitlines()) == 4
    rows = [json.loads(line) for line in unpack(after).splitlines()]
    assert sorted((row["id"], row["text"]) for row in rows) == [
        ("a", "one"), ("b", "two"), ("c", "3"),
    ]  # fmt: skip
    aside = tmp_path / f"{name}.replaced-1"
    assert [json.loads(line)["text"] for line in aside.read_text().splitlines()] == ["three"]
    assert f"1 old answer of edited rows moved to {aside}" in done.err
    assert out.read_bytes() == after


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
async def test_overwritten_answers_are_never_taken_for_new_ones(
    tmp_path: Path, end: signal.Signals
) -> None:
    """--overwrite that ends before its first answer: --resume sends everything, and the old
    answers are put aside."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["one", "two"]))
    asked_for = asyncio.Event()

    async def never(exchange: Exchange) -> None:
        asked_for.set()
        await asyncio.sleep(60)

    async with serve(echo) as server:
        await batch(server, source, out)
        old = out.read_bytes()
    async with serve(never) as server:
        arguments = ("batch", str(source), "-m", "m", "--base-url", server.url, "-o", str(out))
        process = await start(*arguments, "--overwrite")
        await asked_for.wait()
        process.send_signal(end)
        await asyncio.sleep(0.05)
        if process.returncode is None:  # the first interrupt lets what is in flight finish
            process.send_signal(end)
        _, err = await process.communicate()
    aside = tmp_path / "out.jsonl.old-1"
    assert aside.read_bytes() == old
    if end == signal.SIGINT:
        assert f"nothing was written; {aside} holds what {out} held" in err.decode()
        assert err.decode().splitlines()[-1].endswith("--resume")
    async with serve(echo) as server:
        done = await batch(server, source, out, "--resume")
        assert sorted(asked(server)) == ["one", "two"]
    assert done.status == 0


async def test_two_runs_on_one_output_do_not_mix(tmp_path: Path) -> None:
    """The second run is refused while the first one lives."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["a"]))

    async def never(exchange: Exchange) -> None:
        await exchange.until_closed()

    async with serve(never) as server:
        process = await start(
            "batch", str(source), "-m", "m", "--base-url", server.url, "-o", str(out)
        )
        while not server.exchanges:
            await asyncio.sleep(0.01)
        second = await batch(server, source, out, "--resume")
        process.kill()
        await process.wait()
    assert second.status == 2
    assert str(out) in second.err


async def test_resume_needs_what_it_can_read_back(tmp_path: Path) -> None:
    """Without a file, with another format or another program's file: exit 2, nothing touched."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(jsonl(["a"]))
    out.write_text('{"not": "ours"}\n')
    async with serve(echo) as server:
        bare = await run("batch", str(source), "-m", "m", "--base-url", server.url, "--resume")
        text = await batch(server, source, out, "--resume", "-f", "text")
        other = await batch(server, source, out, "--resume")
        assert server.exchanges == []
    assert [done.status for done in (bare, text, other)] == [2, 2, 2]
    assert out.read_text() == '{"not": "ours"}\n'
