"""--cache, --dedupe and `llmbatch cache`, as users meet them."""

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, echo, error, last_text
from support.program import Done, jsonl, run, start
from support.scripted import Exchange, Server, serve

from llmbatch_cli.client import Client
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.options import Cache, Network
from llmbatch_cli.engine.cache import table

KEY = {"OPENAI_API_KEY": "sk-test-0123456789"}


async def batch(server: Server, source: Path, *arguments: str, **env: str) -> Done:
    at = ("-m", "openai/m", "--base-url", f"{server.url}/v1")
    return await run("batch", str(source), *at, *arguments, env={**KEY, **env})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl([{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]))
    return path


def plain(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["id"], row["text"], row["usage"]["total_tokens"]) for row in rows)


async def test_a_second_run_sends_nothing(tmp_path: Path, source: Path) -> None:
    """Its rows are those of the first one, and say that they come from the cache."""
    cache = str(tmp_path / "answers.db")
    async with serve(echo) as server:
        first = await batch(server, source, "--cache", cache)
        again = await batch(server, source, "--cache", cache)
        assert len(server.exchanges) == 2
        other = await batch(server, source, "--cache", cache, "--temperature", "0")
        assert len(server.exchanges) == 4
    assert (first.status, again.status, other.status) == (0, 0, 0)
    assert plain(first.rows) == plain(again.rows) == [("a", "ONE", 5), ("b", "TWO", 5)]
    assert ["cached" in row for row in (*first.rows, *other.rows)] == [False] * 4
    for row in again.rows:
        assert (row["cached"], row["cost"], row["attempts"]) == (True, 0.0, 0)
    assert "2 answered" in again.err
    assert "2 cached" in again.err
    assert "tokens" not in again.err


async def test_without_a_path_the_users_cache_is_taken(tmp_path: Path, source: Path) -> None:
    """An input behind --cache is an input; a name that ends in .db is the cache."""
    folder = {"LLMBATCH_CACHE_DIR": str(tmp_path / "user" / "cache")}
    words = ("batch", "-m", "fake/echo", "--cache", str(source), "-q")
    for known in (False, True):
        done = await run(*words, env=folder)
        assert (done.status, done.err) == (0, "")
        assert ["cached" in row for row in done.rows] == [known, known]
    assert [path.name for path in (tmp_path / "user" / "cache").iterdir()] == ["answers.db"]
    named = await run(*words[:4], "own.db", str(source), env=folder, cwd=tmp_path)
    assert named.status == 0
    assert (tmp_path / "own.db").exists()


async def test_equal_rows_are_sent_once(tmp_path: Path) -> None:
    """Each keeps its own id and fields; without --dedupe they are sent each on their own."""
    source = tmp_path / "in.jsonl"
    rows = [{"id": name, "prompt": "same", "tag": name} for name in "abc"]
    source.write_bytes(jsonl([*rows, {"id": "d", "prompt": "other"}]))
    async with serve(echo) as server:
        done = await batch(server, source, "--dedupe", "--ordered")
        assert sorted(map(last_text, server.exchanges)) == ["other", "same"]
        await batch(server, source)
    assert len(server.exchanges) == 6
    assert [(row["id"], row["text"]) for row in done.rows] == [
        ("a", "SAME"), ("b", "SAME"), ("c", "SAME"), ("d", "OTHER"),
    ]  # fmt: skip
    assert [row.get("cached", False) for row in done.rows] == [False, True, True, False]
    assert [row["metadata"].get("tag") for row in done.rows] == ["a", "b", "c", None]
    assert "2 cached" in done.err


async def test_an_answer_that_is_asked_for_again_is_a_new_one(tmp_path: Path) -> None:
    """With --dedupe too, where the last question was the same; equal rows share all of them."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl([{"prompt": "same"}] * 3))
    replies = ["none", "none", '{"age": 3}']

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion(replies[min(len(server.exchanges), 3) - 1]))

    async with serve(reply) as server:
        done = await batch(server, source, "--dedupe", "--schema", "age int")
        assert len(server.exchanges) == 3
    assert [row["data"] for row in done.rows] == [{"age": 3}] * 3


async def test_what_a_killed_run_was_answered_is_kept(tmp_path: Path) -> None:
    """At most its last moments are lost; the next run opens the file as it was left."""
    source, cache = tmp_path / "in.jsonl", str(tmp_path / "answers.db")
    source.write_bytes(jsonl([f"row {number}" for number in range(10)]))

    async def some(exchange: Exchange) -> None:
        if int(last_text(exchange).split()[1]) < 6:
            await echo(exchange)
        else:
            await exchange.until_closed()

    handler = some
    async with serve(lambda exchange: handler(exchange)) as server:
        words = ("batch", str(source), "-m", "openai/m", "--base-url", f"{server.url}/v1")
        process = await start(*words, "--cache", cache, "-q", env=KEY)
        assert process.stdout is not None
        for _ in range(6):
            await process.stdout.readline()
        await asyncio.sleep(0.5)
        process.kill()
        await process.communicate()
        handler = echo
        done = await batch(server, source, "--cache", cache)
    assert done.status == 0
    assert sum(row.get("cached", False) for row in done.rows) == 6


async def test_a_known_answer_says_nothing_of_the_key(tmp_path: Path, source: Path) -> None:
    """A key that is refused ends the run at once, though the rows before it were answered."""
    cache = str(tmp_path / "answers.db")
    more = tmp_path / "more.jsonl"
    more.write_bytes(source.read_bytes() + jsonl([f"new {number}" for number in range(50)]))

    async def refuse(exchange: Exchange) -> None:
        await answer(exchange, error("no access to this model"), 403)

    handler = echo
    async with serve(lambda exchange: handler(exchange)) as server:
        await batch(server, source, "--cache", cache)
        handler = refuse
        done = await batch(server, more, "--cache", cache, "-c", "1")
        requests = len(server.exchanges) - 2
    assert done.status == 3
    assert "unauthorized (403)" in done.err
    assert requests == 1
    assert [row["text"] for row in done.rows] == ["ONE", "TWO"]


async def test_a_known_answer_wins_its_race(tmp_path: Path) -> None:
    """Without a request of its model; the other is hung up on, or not asked at all."""
    cache = str(tmp_path / "answers.db")

    async def slow(exchange: Exchange) -> None:
        if json.loads(exchange.body)["model"] == "known":
            await answer(exchange, completion("known"))
        else:
            await exchange.until_closed()

    async with serve(slow) as server:
        words = ("race", "-m", "openai/known", "-m", "openai/slow", "--base-url", server.url)
        first = await run(*words, "Hi?", "--cache", cache, "-f", "jsonl", env=KEY)
        again = await run(*words, "Hi?", "--cache", cache, "-f", "jsonl", env=KEY)
        asked = [json.loads(one.body)["model"] for one in server.exchanges]
    assert (first.status, again.status) == (0, 0)
    assert asked.count("known") == 1
    (row,) = again.rows
    assert (row["text"], row["cached"], row["cost"], row["attempts"]) == ("known", True, 0.0, 0)
    assert row["race"][0]["cached"] is True


async def test_a_file_that_is_no_cache_is_a_usage_error(tmp_path: Path, source: Path) -> None:
    """Nothing is sent, and the file stays as it is."""
    before = source.read_bytes()
    async with serve(echo) as server:
        done = await batch(server, source, f"--cache={source}")
        assert server.exchanges == []
    assert (done.status, done.out) == (2, b"")
    assert f"{source} is not a cache of llmbatch" in done.err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("much", "--cache-size 'much' is not a size"),
        ("-5", "--cache-size '-5' is not a size"),
        ("5kB", "--cache-size 5kB is less than 100,000 bytes, the minimum"),
    ],
)
async def test_a_bad_size_is_a_usage_error(source: Path, size: str, message: str) -> None:
    """Before anything is sent."""
    done = await run("batch", str(source), "-m", "fake/echo", "--cache", f"--cache-size={size}")
    assert (done.status, done.out) == (2, b"")
    assert message in done.err


async def test_info_and_clear(tmp_path: Path, source: Path) -> None:
    """What is in the cache, and nothing after it was emptied; one that is not there is no error."""
    cache = str(tmp_path / "answers.db")
    missing = await run("cache", "info", cache)
    assert (missing.status, missing.out) == (0, b"")
    assert f"there is no cache at {cache}" in missing.err
    await run("batch", str(source), "-m", "fake/echo", "--cache", cache)
    info = await run("cache", "info", cache)
    assert (info.status, info.err) == (0, "")
    lines = dict(line.split(None, 1) for line in info.out.decode().splitlines())
    assert (lines["file"], lines["answers"]) == (cache, "2")
    assert lines["size"].endswith("kB")
    cleared = await run("cache", "clear", cache)
    assert (cleared.status, cleared.out) == (0, b"")
    assert f"removed 2 answers from {cache}" in cleared.err
    assert b"answers  0" in (await run("cache", "info", cache)).out
    done = await run("batch", str(source), "-m", "fake/echo", "--cache", cache, "-q")
    assert ["cached" in row for row in done.rows] == [False, False]


async def test_clear_does_not_touch_a_file_of_something_else(source: Path) -> None:
    """Neither does info."""
    before = source.read_bytes()
    for action in ("clear", "info"):
        done = await run("cache", action, str(source))
        assert done.status == 2
        assert "is not a cache of llmbatch" in done.err
    assert source.read_bytes() == before


async def test_a_broken_cache_ends_no_run_and_can_be_cleared(tmp_path: Path, source: Path) -> None:
    """The run says so and goes on without it; clear removes the file."""
    cache = tmp_path / "answers.db"
    many = tmp_path / "many.jsonl"
    many.write_bytes(jsonl([f"{number} {'x' * 900}" for number in range(200)]))
    await run("batch", str(many), "-m", "fake/echo", "--cache", str(cache))
    data = cache.read_bytes()
    cache.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    done = await run("batch", str(source), "-m", "fake/echo", "--cache", str(cache))
    assert (done.status, len(done.rows)) == (0, 2)
    assert f"the cache {cache} cannot be" in done.err
    assert "so the run goes on without it" in done.err
    cleared = await run("cache", "clear", str(cache))
    assert cleared.status == 0
    assert not cache.exists()


async def test_on_a_network_disk_the_run_goes_on_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so once, and every row is answered."""
    monkeypatch.setattr(table, "network_disk", lambda path: "nfs4")
    events: list[Event] = []
    cache = Cache(path=tmp_path / "answers.db")
    async with Client(cache=cache, observe=events.append) as client:
        for _ in range(2):
            outcome = await client.ask("hi", model="fake/echo")
            assert (outcome.text, outcome.cached) == ("hi", False)
    assert [event.message for event in events if isinstance(event, Notice)] == [
        f"the cache {tmp_path / 'answers.db'} cannot be used: it is on a network disk (nfs4), "
        "so the run goes on without it"
    ]


async def test_the_python_api_has_a_cache_too(tmp_path: Path) -> None:
    """Across clients; equal prompts of one client are sent once with `dedupe`."""
    async with serve(echo) as server:
        for known in (False, True):
            client = Client(
                cache=Cache(path=tmp_path / "answers.db", dedupe=True),
                network=Network(base_url=[f"{server.url}/v1"], environ=KEY),
            )
            async with client:
                found = [one async for one in client.batch(["a", "a", "b"], model="openai/m")]
            assert sum(one.cached for one in found) == (3 if known else 1)
            assert sorted(one.text or "" for one in found) == ["A", "A", "B"]
        assert len(server.exchanges) == 2


@pytest.mark.local
async def test_the_embedded_model_is_known_by_its_file(tmp_path: Path) -> None:
    """Its server has another port in each run."""
    words = ("batch", "-m", "local/smollm2", "--cache", str(tmp_path / "a.db"), "-q")
    for known in (False, True):
        done = await run(*words, stdin=jsonl(["What is the capital of France?"]))
        (row,) = done.rows
        assert (row["error"], row.get("cached", False)) == (None, known)


FIELDS = ("--schema", "age int")


@pytest.mark.parametrize("more", [FIELDS, ("--choices", "yes,no"), ("--extract", "[0-9]+")])
async def test_an_answer_that_does_not_fit_is_not_kept(
    tmp_path: Path, source: Path, more: tuple[str, ...]
) -> None:
    """Nor are those to the requests that said why; what fits is, however it is wrapped."""
    cache = ("--cache", str(tmp_path / "answers.db"), "--schema-retries", "1", "--limit", "1")
    text = "none"

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion(text))

    async with serve(reply) as server:
        failed = await batch(server, source, *cache, *more)
        assert (failed.status, len(server.exchanges)) == (1, 2)
        held = await run("cache", "info", str(tmp_path / "answers.db"))
        assert "answers  0" in held.out.decode()
        text = {"--schema": '```json\n{"age": 3}\n```', "--choices": "Yes."}.get(more[0], "3")
        for _ in range(2):
            done = await batch(server, source, *cache, *more)
            assert (done.status, len(server.exchanges)) == (0, 3)
    assert done.rows[0]["cached"] is True


async def test_an_answer_that_was_asked_for_again_is_known_the_next_time(
    tmp_path: Path, source: Path
) -> None:
    """Its row costs nothing then, though its first answer did not fit."""
    cache = ("--cache", str(tmp_path / "answers.db"))

    async def reply(exchange: Exchange) -> None:
        again = "cannot be used" in last_text(exchange)
        await answer(exchange, completion('{"age": 3}' if again else "none"))

    async with serve(reply) as server:
        first = await batch(server, source, *cache, *FIELDS)
        assert (first.status, len(server.exchanges)) == (0, 4)
        done = await batch(server, source, *cache, *FIELDS)
        assert len(server.exchanges) == 4
    assert [(row["data"], row["cost"], row["attempts"]) for row in done.rows] == [
        ({"age": 3}, 0.0, 0)
    ] * 2


async def test_on_a_read_only_disk_the_run_goes_on_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the cache is a part of a container's image."""
    real_open = os.open

    def read_only(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith(".db"):
            raise OSError(errno.EROFS, "Read-only file system")
        return real_open(path, *arguments, **more)

    monkeypatch.setattr(os, "open", read_only)
    events: list[Event] = []
    cache = Cache(path=tmp_path / "answers.db")
    async with Client(cache=cache, observe=events.append) as client:
        assert (await client.ask("hi", model="fake/echo")).text == "hi"
    (notice,) = [event.message for event in events if isinstance(event, Notice)]
    assert "answers.db cannot be used: it is on a read-only disk, so the run goes on" in notice
