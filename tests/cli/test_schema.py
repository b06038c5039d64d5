"""`--schema`, `--choices` and `--extract` as their users run them."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.chat import answer, completion, error, last_text
from support.program import Done, jsonl, run
from support.scripted import Exchange, Server, serve

FIELDS = "name, age int"
ANN = '{"name": "Ann", "age": 3}'


async def batch(server: Server, *arguments: str, model: str = "m", stdin: bytes = b"") -> Done:
    return await run(
        "batch", "-m", model, "--base-url", f"{server.url}/v1", *arguments, stdin=stdin
    )  # fmt: skip


def forms(server: Server) -> list[Any]:
    return [json.loads(one.body).get("response_format") for one in server.exchanges]


async def test_the_rows_data_is_the_parsed_answer() -> None:
    """Of a schema in a file and of one in short form alike; what was mended says so."""
    replies = {"a": ANN, "b": f"Here:\n```json\n{ANN}\n```", "c": "{'name': 'Ann', 'age': 3,}"}

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion(replies[last_text(exchange)]))

    async with serve(reply) as server:
        done = await batch(server, "--schema", FIELDS, "--ordered", stdin=jsonl(list(replies)))
        (form, *_) = forms(server)
    assert done.status == 0, done.err
    assert [row["data"] for row in done.rows] == [json.loads(ANN)] * 3
    assert [row.get("repaired") for row in done.rows] == [None, None, True]
    assert [row["text"] for row in done.rows] == list(replies.values())
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True


async def test_a_row_that_never_fits_fails_with_its_text_and_all_it_has_cost(
    tmp_path: Path,
) -> None:
    """The others are answered; --resume sends it again, and all of them for another schema."""
    out = tmp_path / "out.jsonl"
    fits = False

    async def reply(exchange: Exchange) -> None:
        first = json.loads(exchange.body)["messages"][0]["content"]
        await answer(exchange, completion(ANN if fits or first == "a" else "no"))

    async with serve(reply) as server:
        rows = jsonl(["a", "b"])
        done = await batch(server, "--schema", FIELDS, "-o", str(out), "-v", stdin=rows)
        assert (done.status, len(server.exchanges)) == (1, 4)
        bad = next(row for row in map(json.loads, out.read_text().splitlines()) if row["error"])
        assert (bad["text"], bad["error"]["type"], bad["attempts"]) == ("no", "invalid_output", 3)
        assert "no JSON" in bad["error"]["message"]
        assert [one["usage"]["total_tokens"] for one in bad["failed_attempts"]] == [5, 5, 5]
        assert "invalid_output" in done.err
        fits = True
        done = await batch(server, "--schema", FIELDS, "-o", str(out), "--resume", stdin=rows)
        assert (done.status, len(server.exchanges)) == (0, 5)
        done = await batch(server, "--schema", "age int", "-o", str(out), "--resume", stdin=rows)
        assert len(server.exchanges) > 6


async def test_a_provider_without_schemas_is_asked_by_an_instruction() -> None:
    """Said once; and the answers are checked all the same."""

    async def reply(exchange: Exchange) -> None:
        assert "JSON schema" in last_text(exchange)
        await answer(exchange, completion(ANN))

    async with serve(reply) as server:
        stdin = jsonl(["a", "b"])
        done = await batch(server, "--schema", FIELDS, model="deepseek/m", stdin=stdin)
        assert forms(server) == [None, None]
    assert (done.status, done.err.count("asked by an instruction")) == (0, 1), done.err


async def test_a_server_that_refuses_schemas_is_asked_by_an_instruction() -> None:
    """As old ones do, whatever their words."""

    async def reply(exchange: Exchange) -> None:
        if "response_format" in json.loads(exchange.body):
            await answer(exchange, error("Unknown field: response_format"), 400)
        else:
            await answer(exchange, completion(ANN))

    async with serve(reply) as server:
        done = await batch(server, "--schema", FIELDS, "-c", "1", stdin=jsonl(["a", "b"]))
        assert len(server.exchanges) == 3
    assert (done.status, done.err.count("asked by an instruction")) == (0, 1), done.err
    assert [row["data"]["age"] for row in done.rows] == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--schema", "name, age inte"), "'inte', of the field 'age', is not a type"),
        (("--schema", "none.json"), "no such file: none.json"),
        (("--schema", "bad.json"), "--schema: "),
        (("--schema", "far.json"), "x.invalid"),
        (("--schema", "broken.json"), "not JSON"),
        (("--schema", '{"type": "strin"}'), "strin"),
        (("--schema", "old.yaml"), "YAML is not read"),
        (("--choices", "one"), "fewer than two"),
        (("--choices", "a,b,a"), "'a' twice"),
        (("--extract", "("), "--extract ("),
        (("--extract", "json", "--choices", "a,b"), "--choices and --extract exclude each other"),
        (("--schema", "a", "-p", 'response_format={"type": "text"}'), "exclude each other"),
    ],
)
async def test_what_is_wrong_is_told_before_anything_is_sent(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """Exit status 2, with the reason."""
    (tmp_path / "bad.json").write_text('{"type": "object", "properties": {"a": {"type": "x"}}}')
    (tmp_path / "far.json").write_text('{"$ref": "http://x.invalid/schema"}')
    (tmp_path / "old.yaml").write_text("type: object\n")
    (tmp_path / "broken.json").write_text('{"type": ')
    done = await run("batch", "-m", "fake/echo", *arguments, stdin=b'"a"\n', cwd=tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert message in done.err
    assert "Traceback" not in done.err


async def test_choices_and_extracts_are_the_text(tmp_path: Path) -> None:
    """Choices of a file, one a line; the first group of a pattern."""
    (tmp_path / "labels.txt").write_text("yes, of course\nno\n")
    stdin = jsonl(["No.", '{"answer": "yes, of course"}'])
    labels = f"@{tmp_path / 'labels.txt'}"
    done = await run("batch", "-m", "fake/echo", "--choices", labels, "--ordered", stdin=stdin)
    assert [row["data"] for row in done.rows] == ["no", "yes, of course"]
    assert [row["text"] for row in done.rows] == ["no", "yes, of course"]
    stdin = jsonl(["It weighs 12 kg."])
    done = await run(
        "batch", "-m", "fake/echo", "--extract", r"(\d+) kg", "-f", "text", stdin=stdin
    )
    assert done.out == b"12\n"
    stdin = jsonl(['So: {"a": [1]}'])
    done = await run("batch", "-m", "fake/echo", "--extract", "json", stdin=stdin)
    assert [row["data"] for row in done.rows] == [{"a": [1]}]


async def test_a_rehearsal_has_answers_of_the_form() -> None:
    """`fake/lorem` makes them up."""
    fields = "a, b int?, c x|y, d float[], e bool"
    done = await run("batch", "-m", "fake/lorem", "--schema", fields, stdin=jsonl(["a"]))
    (row,) = done.rows
    assert list(row["data"]) == ["a", "b", "c", "d", "e"]
    assert row["data"]["c"] == "x"


@pytest.mark.parametrize("more", [(), ("--all",), ("--stream",)])
async def test_an_answer_that_does_not_fit_wins_no_race(more: tuple[str, ...]) -> None:
    """Though it was first."""
    models = ("-m", "fake/echo", "-m", "fake/lorem?latency=0.2")
    done = await run(
        "race", *models, "--schema", "a", "--schema-retries", "0", *more, stdin=jsonl(["no"])
    )
    best = next(row for row in done.rows if row["error"] is None)
    assert (best["model"], best["data"]) == ("lorem", {"a": "lorem"})
    assert [one["status"] for one in best["race"]] == ["failed", "won"]


async def test_a_run_without_a_schema_loads_nothing_of_it() -> None:
    """Nor does one with a schema mend what is no need to be mended."""
    done = await run(
        "batch", "-m", "fake/echo", stdin=b'"a"\n', env={"PYTHONPROFILEIMPORTTIME": "1"}
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "llmbatch_cli.models" in loaded
    unused = {"answer_shapes", "engine.shaped", "engine.answers", "engine.validate"}
    assert not loaded & {f"llmbatch_cli.{name}" for name in unused}
    assert not loaded & {"jsonschema_rs", "json_repair"}
