"""Tables through the real program: people have data, not prompts."""

import codecs
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from support.chat import echo
from support.program import run
from support.scripted import serve
from support.workbooks import xlsx

TABLE = 'id,question,note\n1,"What is 2+2?",a\n2,"Name a city,\nplease",b\n'


async def sent(*arguments: str, stdin: bytes = b"") -> list[str]:
    """The prompts that are sent for this input."""
    async with serve(echo) as server:
        url = f"{server.url}/v1"
        done = await run("batch", "-m", "m", "--base-url", url, "-c", "1", *arguments, stdin=stdin)
        assert done.status == 0, done.err
        return [
            json.loads(exchange.body)["messages"][-1]["content"] for exchange in server.exchanges
        ]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
async def test_a_table_is_a_row_a_record(codec: str, tmp_path: Path) -> None:
    """By name and from a pipe: no header is sent, and no line of a cell by itself."""
    mark = codecs.BOM_UTF16_LE if codec == "utf-16-le" else b""
    data = mark + TABLE.encode(codec)
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    expected = ["What is 2+2?", "Name a city,\nplease"]
    assert await sent(str(path)) == expected
    assert await sent(stdin=data) == expected
    assert await sent("-", "--input-format", "csv", stdin=data) == expected


async def test_another_encoding_is_named(tmp_path: Path) -> None:
    """Without it each row that is no UTF-8 is an error that says so; a wrong name is exit 2."""
    path = tmp_path / "a.csv"
    path.write_bytes("frage\nWie heißt er?\nWas?\n".encode("cp1252"))
    done = await run("batch", "-m", "fake/echo", str(path))
    assert done.status == 1
    assert [row["text"] for row in done.rows] == [None, "Was?"]
    assert "a.csv:2: not UTF-8: byte 0xdf (--encoding names it)" in done.err
    assert await sent(str(path), "--encoding", "cp1252") == ["Wie heißt er?", "Was?"]
    for wrong in ("nonsense", "base64", "rot13"):
        done = await run("batch", "-m", "fake/echo", str(path), "--encoding", wrong)
        assert (done.status, done.out) == (2, b"")
        assert f"--encoding {wrong}: no such encoding" in done.err


async def test_the_columns_are_named_by_options(tmp_path: Path) -> None:
    """What is not clear is exit 2, and says what there is; what was taken is said once."""
    path, out = tmp_path / "a.csv", tmp_path / "out.jsonl"
    path.write_text("key,title,body\n7,hello,some text\n8,ho,more text\n")
    done = await run("batch", "-m", "fake/echo", str(path), "-o", str(out))
    assert done.status == 2
    assert not out.exists()
    assert "several fields may be the prompt: title, body" in done.err
    assert "--prompt-field body" in done.err
    named = ("--prompt-field", "body", "--id-field", "key")
    done = await run("batch", "-m", "fake/echo", str(path), *named)
    assert [(row["id"], row["text"], row["metadata"]) for row in done.rows] == [
        ("7", "some text", {"title": "hello"}),
        ("8", "more text", {"title": "ho"}),
    ]
    done = await run("batch", "-m", "fake/echo", str(path), "--prompt-field", "boddy")
    assert done.status == 2
    assert "did you mean body" in done.err
    path.write_text("id,question\n1,hi\n2,ho\n")
    done = await run("batch", "-m", "fake/echo", str(path))
    assert done.err.count('the prompt is the field "question"') == 1


async def test_a_column_is_never_a_parameter(tmp_path: Path) -> None:
    """A column `n` or `user` is data: it is carried, and costs nothing."""
    path = tmp_path / "a.csv"
    path.write_text("prompt,n,user,temperature\nhi,37,ann,9\n")
    async with serve(echo) as server:
        url = f"{server.url}/v1"
        done = await run("batch", "-m", "m", "--base-url", url, str(path))
        (body,) = [json.loads(exchange.body) for exchange in server.exchanges]
    assert set(body) == {"model", "messages"}
    assert done.rows[0]["metadata"] == {"n": "37", "user": "ann", "temperature": "9"}


async def test_a_row_without_a_model_goes_to_the_runs(tmp_path: Path) -> None:
    """An empty cell of --model-field is none."""
    path = tmp_path / "a.csv"
    path.write_text("text,by\nhi,fake/echo?seed=1\nho,\n")
    done = await run("batch", "-m", "fake/echo", str(path), "--model-field", "by", "--ordered")
    assert [row["text"] for row in done.rows] == ["hi", "ho"]


async def test_messages_in_a_cell_are_messages(tmp_path: Path) -> None:
    """A table of text has them as JSON."""
    path = tmp_path / "a.csv"
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "messages"], ["1", json.dumps([*messages, messages[0]])]]
        )
    assert await sent(str(path)) == ["hi"]


async def test_a_ragged_row_costs_itself_alone(tmp_path: Path) -> None:
    """It is one error row that names its line."""
    path = tmp_path / "a.csv"
    path.write_text('id,prompt\n1,one\n2,two,too many\n3,"three\nlines"\n4\n5,five\n')
    done = await run("batch", "-m", "fake/echo", str(path), "--ordered")
    assert done.status == 1
    assert [row["text"] for row in done.rows] == ["one", None, "three\nlines", None, "five"]
    wrong = [row["error"]["message"] for row in done.rows if row["error"]]
    assert wrong == [
        f"{path}:3: bad CSV: 3 cells, but there are 2 columns",
        f"{path}:6: bad CSV: 1 cell, but there are 2 columns",
    ]


async def test_a_table_goes_on_and_its_failures_are_found(tmp_path: Path) -> None:
    """--resume knows the rows of a table by their content; `errors --rows` gives them as JSONL."""
    path, out, again = (tmp_path / name for name in ("a.csv", "out.jsonl", "again.jsonl"))
    rows = [[str(n), f"title {n}", f"body {n}"] for n in range(6)]
    text = io.StringIO()
    csv.writer(text).writerows([["key", "title", "body"], *rows])
    path.write_text(text.getvalue())
    named = ("--prompt-field", "body", "--id-field", "key")
    failing = ("batch", "-m", "fake/echo?rejected=1", "-o", str(out), str(path), *named)
    assert (await run(*failing, "--limit", "4")).status == 1
    found = await run("errors", str(out), "--rows", str(path), *named)
    assert found.rows == [{"key": k, "title": t, "body": b} for k, t, b in rows[:4]], found.err
    again.write_bytes(found.out)
    done = await run("batch", "-m", "fake/echo", "-o", str(out), "--overwrite", str(again), *named)
    assert done.status == 0, done.err
    done = await run("batch", "-m", "fake/echo", "-o", str(out), "--resume", str(path), *named)
    assert "4 of 6 rows answered, 2 to send" in done.err
    texts: list[Any] = [json.loads(line)["text"] for line in out.read_bytes().splitlines()]
    assert sorted(texts) == [f"body {n}" for n in range(6)]


async def test_a_race_reads_tables_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TABLE)
    done = await run("race", "-m", "fake/echo", "-m", "fake/echo?latency=1", str(path))
    assert sorted(row["id"] for row in done.rows) == ["1", "2"], done.err
    done = await run("race", "-m", "fake/echo", "What is [this] and *that*?")
    assert done.rows[0]["text"] == "What is [this] and *that*?"


async def test_the_output_of_a_folder_is_written_elsewhere(tmp_path: Path) -> None:
    """Or it, or its journal, would be read by the next run."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text(TABLE)
    for command, models in (("batch", ("fake/echo",)), ("race", ("fake/echo", "fake/echo?n=1"))):
        for name in (str(folder), f"{folder}/*.csv"):
            named = [word for model in models for word in ("-m", model)]
            done = await run(command, *named, name, "-o", str(folder / "out.csv"))
            assert (done.status, done.out) == (2, b"")
            assert "would be an input of the next run" in done.err
    assert [one.name for one in folder.iterdir()] == ["a.csv"]
    done = await run("batch", "-m", "fake/echo", str(folder), "-o", str(tmp_path / "out.csv"))
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("1,What is 2+2?\n2,Name a city\n", "column_2"),
        ("What is 2+2?\nName a city\n", "column_1"),
        ("Write a short poem about the sea at night\nName a city\n", "column_1"),
        ('5,7,"Name it, please."\n6,8,no\n', "column_3"),
    ],
)
async def test_a_table_without_a_header_loses_no_row(
    text: str, column: str, tmp_path: Path
) -> None:
    """A first line that looks like a row is exit 2, with the two ways; a name says which."""
    path = tmp_path / "a.csv"
    path.write_text(text)
    done = await run("batch", "-m", "fake/echo", str(path))
    assert (done.status, done.out) == (2, b"")
    assert "the first line looks like a row" in done.err
    assert "--no-header" in done.err
    first, *_ = await sent(str(path), "--no-header", "--prompt-field", column)
    assert first in text.splitlines()[0]
    if column == "column_1":
        header = text.splitlines()[0]
        assert await sent(str(path), "--prompt-field", header) == ["Name a city"]


async def test_a_header_may_be_odd(tmp_path: Path) -> None:
    """Years, questions beside a usual name, letters of any language, on standard input too."""
    path = tmp_path / "a.csv"
    for text, prompt in (
        ("land,2019,2020\nFrance,1,2\n", "France"),
        ("How are you?,question\nfine,Q\n", "Q"),
        ("№,вопрос\n1,Q\n", "Q"),
    ):
        path.write_text(text)
        assert await sent(str(path)) == [prompt]
    for text in ("übung,prompt\na,Q\n", "First name,Question\nAda,Q\n"):
        assert await sent(stdin=text.encode()) == ["Q"]
    text = 'город;вопрос\n"Рим";"Q, q"\n"";"R"\n'
    done = await run("batch", "-m", "fake/echo", stdin=text.encode())
    assert done.status == 2
    assert "there are: город, вопрос" in done.err


async def test_no_header_is_for_all_tables(tmp_path: Path) -> None:
    """Also of a workbook, from a pipe, and where the rows are counted."""
    path, book = tmp_path / "a.csv", tmp_path / "a.xlsx"
    path.write_text("hello\nho\n")
    book.write_bytes(xlsx([["hello"], ["ho"]]))
    for arguments, stdin in (((str(path),), b""), ((str(book),), b""), ((), path.read_bytes())):
        named = ("--input-format", "csv") if stdin else ()
        assert await sent(*arguments, *named, "--no-header", stdin=stdin) == ["hello", "ho"]
    out = tmp_path / "out.jsonl"
    failing = ("batch", "-m", "fake/echo?rejected=1", str(path), "--no-header", "-o", str(out))
    assert (await run(*failing, "--progress", "json")).status == 1
    found = await run("errors", str(out), "--rows", str(path), "--no-header")
    assert found.rows == [{"column_1": "hello"}, {"column_1": "ho"}]
