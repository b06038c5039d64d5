"""`-o answers.csv`, and other tables, as users write them."""

import asyncio
import csv
import gzip
import io
import json
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.chat import answer, completion, echo, error, last_text
from support.program import Done, jsonl, run, start
from support.scripted import Exchange, Server, serve

ROWS = jsonl(
    [{"id": "a", "prompt": "one", "tag": "x, y"}, {"id": "b", "prompt": "=two"}, {"prompt": "3"}]
)
TABLE = [
    ["id", "prompt", "tag", "answer", "error"],
    ["a", "one", "x, y", "ONE", ""],
    ["b", "'=two", "", "'=TWO", ""],
    ["", "3", "", "3", ""],
]


async def batch(server: Server, source: Path, *arguments: str) -> Done:
    return await run("batch", str(source), "-m", "m", "--base-url", server.url, *arguments)


def cells(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))


def journal(out: Path) -> Path:
    return out.with_name(f"{out.name}.llmbatch.jsonl")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.csv.gz"])
async def test_the_name_of_the_output_decides(tmp_path: Path, name: str) -> None:
    """A table has the input's columns beside the answers, in input order; nothing else is left."""
    source, out = tmp_path / "in.jsonl", tmp_path / name
    source.write_bytes(ROWS)
    async with serve(echo) as server:
        done = await batch(server, source, "-o", str(out))
    data = out.read_bytes()
    data = gzip.decompress(data) if out.suffix == ".gz" else data
    assert cells(data, "\t" if out.suffix == ".tsv" else ",") == TABLE
    assert (done.status, done.out) == (0, b"")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", name]


async def test_a_table_goes_to_standard_output(tmp_path: Path) -> None:
    """--format makes it there, row by row in input order."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(ROWS)
    async with serve(echo) as server:
        done = await batch(server, source, "-f", "csv", "--columns", "answer,model")
    assert cells(done.out) == [
        ["id", "prompt", "tag", "answer", "model"],
        *([*row[:4], "served-model"] for row in TABLE[1:]),
    ]


async def test_lines_of_text_are_the_column_prompt(tmp_path: Path) -> None:
    """A text input has no columns, so its lines stand beside their answers."""
    source = tmp_path / "in.txt"
    source.write_text("one\n")
    async with serve(echo) as server:
        done = await batch(server, source, "-f", "csv", "--answer-field", "said")
    assert done.out == b"prompt,said,error\none,ONE,\n"


async def refuse_3(exchange: Exchange) -> None:
    """Refuses the row "3", and "bad"."""
    if last_text(exchange) in ("3", "bad"):
        await answer(exchange, error("no"), 400)
    else:
        await echo(exchange)


async def test_a_failed_row_keeps_the_journal_for_resume(tmp_path: Path) -> None:
    """The table has the error; a corrected row is sent alone, and then the journal goes."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_bytes(ROWS)
    async with serve(refuse_3) as server:
        done = await batch(server, source, "-o", str(out))
        assert done.status == 1
        assert f"{journal(out)} has the rows for --resume" in done.err
        last = cells(out.read_bytes())[-1]
        assert last[:4] == ["", "3", "", ""]
        assert last[4].startswith("rejected: ")
        for name in (journal(out), out):
            listed = await run("errors", str(name))
            assert listed.out.startswith(b"1 of 3 rows failed"), listed.err
        source.write_bytes(ROWS.replace(b'"3"', b'"three"'))
        server.exchanges.clear()
        done = await batch(server, source, "-o", str(out), "--resume")
    assert [last_text(exchange) for exchange in server.exchanges] == ["three"]
    assert done.status == 0
    assert cells(out.read_bytes()) == [*TABLE[:3], ["", "three", "", "THREE", ""]]
    assert not journal(out).exists()
    listed = await run("errors", str(out))
    assert (listed.status, listed.out) == (2, b"")
    assert "a whole table has no failed rows, any other its journal beside it" in listed.err


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
async def test_a_killed_run_goes_on(tmp_path: Path, suffix: str) -> None:
    """After a kill the rows are in the journal: nothing is paid twice, and the table is whole."""
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    source.write_bytes(jsonl([{"row": n, "prompt": f"p{n}"} for n in range(40)]))
    async with serve(echo) as server:
        here = ("batch", str(source), "-m", "m", "--base-url", server.url, "-o", str(out))
        process = await start(*here, "--rpm", "600", "-q")
        while not (journal(out).exists() and journal(out).stat().st_size):
            assert process.returncode is None
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        assert not out.exists()
        refused = await run(*here)
        done = await run(*here, "--resume")
    assert (refused.status, done.status) == (2, 0), done.err
    assert f"{journal(out)} is not empty" in refused.err
    texts = [last_text(exchange) for exchange in server.exchanges]
    assert len(texts) - len(set(texts)) <= 1 + 10  # those in flight at the kill
    again = await run("batch", str(out), "-m", "fake/echo", "--include-input", "--ordered")
    assert [tuple(row["fields"].values())[:3] for row in again.rows] == [
        (str(n) if suffix == "csv" else n, f"p{n}", f"P{n}") for n in range(40)
    ]


async def test_a_table_that_cannot_be_written_loses_no_answer(tmp_path: Path) -> None:
    """As on a full disk: the journal has them all, and --resume makes the table of it."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_bytes(ROWS)
    in_the_way = tmp_path / ".out.parquet.new"
    in_the_way.mkdir()
    async with serve(echo) as server:
        done = await batch(server, source, "-o", str(out))
        assert (done.status, out.exists()) == (3, False)
        assert f"cannot write {out}: Is a directory; no answer is lost: {journal(out)}" in done.err
        in_the_way.rmdir()
        done = await batch(server, source, "-o", str(out), "--resume")
    assert (done.status, len(server.exchanges), journal(out).exists()) == (0, 3, False)
    assert pq.read_table(out).column("answer").to_pylist() == ["ONE", "=TWO", "3"]


async def test_rows_that_were_edited_have_their_present_fields(tmp_path: Path) -> None:
    """An answer that is not asked for again stands beside the fields that its row has now."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_bytes(jsonl([{"prompt": "one", "tag": 1}, {"prompt": ""}]))
    async with serve(echo) as server:
        await batch(server, source, "-o", str(out))
        source.write_bytes(jsonl([{"prompt": "two", "tag": 2}, {"prompt": "one", "tag": 9}]))
        await batch(server, source, "-o", str(out), "--resume")
    assert len(server.exchanges) == 2
    assert cells(out.read_bytes())[1:] == [["two", "2", "TWO", ""], ["one", "9", "ONE", ""]]


async def test_a_trial_of_some_rows_goes_on_with_the_others(tmp_path: Path) -> None:
    """After --limit the journal stays, so that --resume sends the rest alone."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_bytes(ROWS)
    async with serve(echo) as server:
        await batch(server, source, "-o", str(out), "--limit", "1")
        assert len(cells(out.read_bytes())) == 2
        await batch(server, source, "-o", str(out), "--resume")
    assert len(server.exchanges) == 3
    assert cells(out.read_bytes()) == TABLE
    assert not journal(out).exists()


async def test_an_old_table_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """Nothing is written over by chance, and --overwrite replaces it at the end."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_bytes(ROWS)
    out.write_text("mine\n")
    seen: list[bytes] = []

    async def look(exchange: Exchange) -> None:
        seen.append(out.read_bytes())
        await echo(exchange)

    async with serve(look) as server:
        refused = await batch(server, source, "-o", str(out))
        again = await batch(server, source, "-o", str(out), "--resume")
        assert (refused.status, again.status, seen) == (2, 2, [])
        assert f"{out} has no rows with the input's columns" in again.err
        assert not journal(out).exists()
        done = await batch(server, source, "-o", str(out), "--overwrite")
    assert seen == [b"mine\n"] * 3
    assert done.status == 0
    assert len(cells(out.read_bytes())) == 4


async def test_an_input_without_rows_makes_a_table_without_rows(tmp_path: Path) -> None:
    """The header stands there, as far as it is known."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.touch()
    done = await run("batch", str(source), "-m", "fake/echo", "-o", str(out))
    assert (done.status, out.read_bytes()) == (0, b"answer,error\n")


async def test_a_run_that_is_stopped_early_leaves_the_table_so_far(tmp_path: Path) -> None:
    """What is answered by then can be used, and the journal goes on with it."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_bytes(jsonl(["good", *["bad"] * 30]))
    async with serve(refuse_3) as server:
        done = await batch(server, source, "-o", str(out), "-c", "1", "--max-errors", "3")
    assert done.status == 3
    assert cells(out.read_bytes())[1] == ["good", "GOOD", ""]
    assert len(journal(out).read_bytes().splitlines()) == len(cells(out.read_bytes())) - 1


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "xlsx"])
async def test_a_whole_table_can_be_added_to(tmp_path: Path, suffix: str) -> None:
    """Its rows are found by the input's columns: only new ones are sent, and nothing is lost."""
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    old = [{"prompt": "=one", "tag": 1}, {"prompt": "two\nlines"}, {"prompt": "gone", "tag": 0.5}]
    new = [{"prompt": "two\nlines"}, {"prompt": "new", "tag": 3}, {"prompt": "=one", "tag": 1}]
    source.write_bytes(jsonl(old))
    columns = ("--columns", "answer,tokens,model")
    async with serve(echo) as server:
        first = await batch(server, source, "-o", str(out), *columns)
        nothing = await batch(server, source, "-o", str(out), *columns, "--resume")
        assert (first.status, nothing.status, len(server.exchanges)) == (0, 0, 3)
        assert "another model, template or parameter is not seen" in nothing.err
        source.write_bytes(jsonl(new))
        done = await batch(server, source, "-o", str(out), *columns, "--resume")
    assert [last_text(exchange) for exchange in server.exchanges[3:]] == ["new"]
    assert (done.status, journal(out).exists()) == (0, False)
    again = await run("batch", str(out), "-m", "fake/echo", "--include-input", "--ordered")
    fields = [row["fields"] for row in again.rows]
    assert [one["prompt"].removeprefix("'") for one in fields] == [
        "two\nlines", "new", "=one", "gone"
    ]  # fmt: skip
    assert [one["answer"].removeprefix("'") for one in fields] == [
        "TWO\nLINES", "NEW", "=ONE", "GONE"
    ]  # fmt: skip
    assert {str(one["prompt_tokens"]) for one in fields} == {"3"}
    assert {one["model"] for one in fields} == {"served-model"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
async def test_numbers_of_a_whole_table_are_known_again(tmp_path: Path, suffix: str) -> None:
    """However a format writes them: 1.0 is a text in CSV, and 1 in a workbook."""
    source, out = tmp_path / "in.parquet", tmp_path / f"out.{suffix}"
    numbers = [1.0, -2.0, 0.1, 1e300, 1e16, None]
    pq.write_table(pa.table({"text": [*"abcdef"], "number": numbers}), source)
    async with serve(echo) as server:
        await batch(server, source, "-o", str(out))
        done = await batch(server, source, "-o", str(out), "--resume")
        assert "6 of 6 rows answered, 0 to send" in done.err
        assert len(server.exchanges) == 6


async def test_data_of_a_whole_table_stays_in_its_columns(tmp_path: Path) -> None:
    """Though the input has some of their names, and ours."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text,n,error\nhi,1,old\n")
    data = {"text": "T", "answer": "A", "error": "E", "n": 7, "x_2": "X"}

    async def reply(exchange: Exchange) -> None:
        await answer(exchange, completion(json.dumps(data)))

    options = ("--schema", "text, answer, error, n int, x_2", "-o", str(out))
    async with serve(reply) as server:
        await batch(server, source, *options)
        whole = out.read_bytes()
        assert cells(whole)[0] == [
            "text", "n", "error", "text_2", "answer", "error_2", "n_2", "x_2", "error_3"
        ]  # fmt: skip
        for _ in range(2):
            done = await batch(server, source, *options, "--resume")
            assert (done.status, out.read_bytes()) == (0, whole)
        assert len(server.exchanges) == 1


@pytest.mark.parametrize("name", ["out.parquet", "out.xlsx"])
async def test_what_cannot_be_appended_to_is_written_at_the_end(tmp_path: Path, name: str) -> None:
    """It stands there at once when the run ends, and reads back as a table."""
    source, out = tmp_path / "in.jsonl", tmp_path / name
    source.write_bytes(ROWS)
    async with serve(refuse_3) as server:
        done = await batch(server, source, "-o", str(out))
        assert (done.status, journal(out).exists()) == (1, True)
    async with serve(echo) as server:
        done = await batch(server, source, "-o", str(out), "--resume", "--retry-failed", "all")
        assert (done.status, journal(out).exists(), len(server.exchanges)) == (0, False, 1)
    again = await run("batch", str(out), "-m", "fake/echo", "--include-input", "--ordered")
    assert [row["fields"]["answer"] for row in again.rows] == ["ONE", "=TWO", "3"]
    assert list(again.rows[0]["fields"]) == TABLE[0]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", name]


async def test_a_table_becomes_a_table(tmp_path: Path) -> None:
    """A CSV keeps all its columns, as they were, beside the answers."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b'id;text;note\r\n007;one;\r\n8;"a;b";x\r\n9;;y\r\n')
    async with serve(echo) as server:
        done = await batch(server, source, "-o", str(out))
    found = cells(out.read_bytes())
    assert done.status == 1
    assert [row[:4] for row in found] == [
        ["id", "text", "note", "answer"],
        ["007", "one", "", "ONE"],
        ["8", "a;b", "x", "A;B"],
        ["9", "", "y", ""],
    ]
    assert found[3][4].startswith("invalid_row: ")


async def test_each_answer_of_a_race_is_a_row_with_its_model(tmp_path: Path) -> None:
    """With --all a table tells the models apart."""
    source = tmp_path / "in.txt"
    source.write_text("one\n")
    models = ("-m", "fake/echo", "-m", "fake/echo?latency=0.01")
    done = await run("race", str(source), *models, "--all", "-f", "csv")
    assert cells(done.out) == [
        ["prompt", "answer", "model", "error"],
        *([["one", "one", "echo", ""]] * 2),
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--columns", "answer"), "--columns is for tables"),
        (("--raw-cells",), "--raw-cells is for tables"),
        (("-f", "csv", "--columns", "costs"), "no column 'costs'\nhint: did you mean cost"),
        (("-f", "csv", "--include-input"), "--include-input, but --format csv"),
        (("-f", "csv", "--resume"), "--resume continues a file"),
        (("-f", "parquet", "--resume"), "--resume continues a file"),
        (("-o", "x.xls"), "cannot write x.xls: .xls is not supported\nhint: name it .xlsx"),
        (("-o", "x.xlsx.gz"), "xlsx is packed by itself"),
    ],
)
async def test_what_cannot_be_written_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Nothing is sent where the options contradict each other."""
    done = await run("batch", "-", "-m", "fake/echo", *arguments, stdin=b'"a"\n', cwd=tmp_path)
    assert (done.status, done.out) == (2, b"")
    assert told in done.err
    assert list(tmp_path.iterdir()) == []


TYPED = ("--schema", "a, b int, c float?", "--schema-retries", "0")


async def test_columns_of_a_schema_are_there_though_no_row_has_them(tmp_path: Path) -> None:
    """On standard output and in files, where the first row fails, or every one."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl([{"prompt": "bad", "x": 1}, {"prompt": '{"a": "y", "b": 3, "c": 1}'}]))
    done = await run("batch", str(source), "-m", "fake/echo", *TYPED, "-f", "csv")
    head, bad, good = cells(done.out)
    assert (done.status, head) == (1, ["prompt", "x", "a", "b", "c", "error"])
    assert (bad[:5], good[1:]) == (["bad", "1", "", "", ""], ["", "y", "3", "1", ""])
    assert "left out" not in done.err
    out = tmp_path / "out.parquet"
    limited = ("--limit", "1", "-o", str(out))
    done = await run("batch", str(source), "-m", "fake/echo", *TYPED, *limited)
    schema = pq.read_schema(out)
    assert (done.status, schema.names) == (1, head)
    assert [str(kind) for kind in schema.types[1:5]] == ["int64", "string", "int64", "double"]


async def test_a_first_row_that_cannot_be_read_hides_no_column() -> None:
    """It waits for one that shows the input's columns; where there is none, for the end."""
    good = jsonl([{"prompt": "one", "x": 1}])
    done = await run("batch", "-m", "fake/echo", "-f", "csv", stdin=b'{"a" 1}\n' + good)
    assert [row[:3] for row in cells(done.out)] == [
        ["prompt", "x", "answer"], ["", "", ""], ["one", "1", "one"]
    ]  # fmt: skip
    done = await run("batch", "-m", "fake/echo", "-f", "csv", stdin=b'{"a" 1}\n')
    assert [row[0] for row in cells(done.out)] == ["answer", ""]


@pytest.mark.parametrize("form", ["parquet", "xlsx"])
async def test_what_is_written_as_a_whole_goes_to_a_pipe_too(tmp_path: Path, form: str) -> None:
    """At the end, in input order, failed rows as well; nothing stays behind."""
    source, out, spool = tmp_path / "in.jsonl", tmp_path / f"out.{form}", tmp_path / "tmp"
    source.write_bytes(ROWS)
    spool.mkdir()
    async with serve(refuse_3) as server:
        arguments = ("batch", str(source), "-m", "m", "--base-url", server.url, "-f", form)
        done = await run(*arguments, env={"TMPDIR": str(spool)})
    assert done.status == 1
    assert str(spool) not in done.err
    out.write_bytes(done.out)
    again = await run("batch", str(out), "-m", "fake/echo", "--include-input", "--ordered")
    assert [row["fields"]["answer"] or None for row in again.rows] == ["ONE", "=TWO", None]
    assert list(spool.iterdir()) == []


async def test_a_run_whose_reader_has_gone_stops_spending(tmp_path: Path) -> None:
    """Though nothing is written before the end; what was answered by then is kept, and told."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(jsonl([f"p{n}" for n in range(100)]))
    theirs, ours = os.pipe()
    async with serve(echo) as server:
        arguments = ("batch", str(source), "-m", "m", "--base-url", server.url, "-f", "parquet")
        process = await start(*arguments, "-c", "1", stdout=ours, env={"TMPDIR": str(tmp_path)})
        os.close(ours)
        while len(server.exchanges) < 5:
            await asyncio.sleep(0.01)
        os.close(theirs)
        _, err = await process.communicate(b"")
        assert len(server.exchanges) < 100
    (rows,) = tmp_path.glob("*/answers.parquet.llmbatch.jsonl")
    assert process.returncode == 0
    assert f"{rows} has the rows; -o {rows.parent / 'answers.parquet'} --resume" in err.decode()


async def test_what_is_written_as_a_whole_is_not_for_a_terminal() -> None:
    """Which its bytes would upset; nothing is sent."""
    ours, theirs = os.openpty()
    try:
        done = await run("batch", "-m", "fake/echo", "-f", "xlsx", stdin=b'"a"\n', stdout=theirs)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.status == 2
    assert "--format xlsx is not for a terminal\nhint: add -o answers.xlsx" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
async def test_a_table_that_cannot_be_copied_is_kept(tmp_path: Path) -> None:
    """The answers were paid for; the message says where it is."""
    with Path("/dev/full").open("wb") as full:
        arguments = ("batch", "-m", "fake/echo", "-f", "parquet")
        env = {"TMPDIR": str(tmp_path)}
        done = await run(*arguments, stdin=b'{"prompt": "a"}\n', stdout=full, env=env)
    (table,) = tmp_path.glob("*/answers.parquet")
    assert done.status == 3
    assert f"cannot write standard output: No space left on device; {table} has it" in done.err
    assert pq.read_table(table).num_rows == 1


async def test_fields_stand_in_jsonl_with_include_input(tmp_path: Path) -> None:
    """The row's own fields are there as they were read, beside its messages."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(ROWS)
    done = await run("batch", str(source), "-m", "fake/echo", "--include-input", "--ordered")
    assert [row["fields"] for row in done.rows] == [json.loads(line) for line in ROWS.splitlines()]
    assert done.rows[2]["input"] == [{"role": "user", "content": "3"}]
