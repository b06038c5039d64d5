"""`llmbatch errors` as its users run it."""

import asyncio
import gzip
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.program import PROGRAM, Done, environment, jsonl

from llmbatch_cli.core.types import Prompt, Request, Row
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.keys import bad_row_key, request_key

ERRORS = (*PROGRAM, "errors")

PROMPTS = [
    {"id": "q1", "prompt": "one"},
    {"id": "q2", "prompt": "two", "label": "é"},
    "three",
    {"prompt": "four", "id": 3},
    {"prompt": 5},
    "three",
]


def errors(*arguments: str, stdin: bytes = b"") -> Done:
    done = subprocess.run(
        [*ERRORS, *arguments], input=stdin, capture_output=True, env=environment(), timeout=40
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def out_row(row: Row, kind: str | None, message: str) -> dict[str, Any]:
    if isinstance(row, Prompt):
        key = request_key("p", Request("m", row.messages, {}), row)
    else:
        key, kind, message = bad_row_key(row), "invalid_row", row.reason
    error = {"type": kind, "message": message, "status": None, "retryable": kind == "overloaded"}
    return {"index": row.index, "id": row.id, "key": key, "error": error if kind else None}


def output(prompts: Path, folder: Path, failed: dict[int, str], message: str = "sorry") -> Path:
    """The output of a run over these prompts in which some rows failed."""

    async def rows() -> list[Row]:
        return [row async for row in Inputs([str(prompts)]).rows()]

    found = [out_row(row, failed.get(row.index), message) for row in asyncio.run(rows())]
    path = folder / "answers.jsonl"
    path.write_bytes(jsonl(found[::-1]))
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(jsonl(PROMPTS))
    return path


def test_failed_rows_are_listed_by_kind(prompts: Path, tmp_path: Path) -> None:
    """Each kind has its count and up to three examples with id and message; exit 0."""
    prompts.write_bytes(jsonl([*PROMPTS, "six", "seven"]))
    failed = dict.fromkeys((0, 2, 6, 7), "overloaded") | {1: "refused"}
    done = errors(str(output(prompts, tmp_path, failed, "so\nsorry \x1b[31m")))
    assert (done.status, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    assert lines.pop(6).startswith("  4: ")
    assert lines == [
        "6 of 8 rows failed",
        "overloaded: 4, retryable",
        "  7: so sorry",
        "  6: so sorry",
        "  2: so sorry",
        "invalid_row: 1",
        "refused: 1",
        "  q2: so sorry",
    ]


def test_failed_rows_as_json(prompts: Path, tmp_path: Path) -> None:
    """Programs get one object with the same numbers."""
    path = output(prompts, tmp_path, {1: "overloaded"}, "a\nb")
    done = errors(str(path), "--json")
    (told,) = done.rows
    assert (told["file"], told["rows"], told["failed"]) == (str(path), 6, 2)
    assert told["kinds"][1] == {
        "type": "overloaded",
        "count": 1,
        "retryable": True,
        "examples": [{"index": 1, "id": "q2", "message": "a\nb"}],
    }


def test_an_output_from_standard_input_or_gzip(prompts: Path, tmp_path: Path) -> None:
    """- is standard input, .gz is unpacked, and a line that is being written is left out."""
    data = output(prompts, tmp_path, {0: "refused"}).read_bytes()
    torn = data + b'{"index": 8, "id'
    packed = tmp_path / "answers.jsonl.gz"
    packed.write_bytes(gzip.compress(torn)[:-8])
    for done in (errors("-", stdin=torn), errors(str(packed))):
        assert (done.status, done.out[:19]) == (0, b"2 of 6 rows failed\n"), done.err


def test_nothing_has_failed(tmp_path: Path) -> None:
    """An output without failures, or without rows, is said to be so."""
    path = tmp_path / "answers.jsonl"
    path.touch()
    assert errors(str(path)).out == b"0 of 0 rows failed\n"


def test_a_terminal_shows_a_table(prompts: Path, tmp_path: Path) -> None:
    """On a terminal it is a table, and a message has no power over it."""
    path = output(prompts, tmp_path, {0: "refused"}, "[bold]no\x1b]0;title\x07 way[/bold]")
    ours, theirs = pty.openpty()
    done = subprocess.run([*ERRORS, str(path)], stdout=theirs, env=environment(), timeout=40)
    os.write(theirs, b"end")
    data = b""
    while not data.endswith(b"end"):
        data += os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    shown = data.decode()
    assert done.returncode == 0
    assert "[bold]no way[/bold]" in shown
    assert "title" not in shown
    assert "kind" in shown


def test_the_rows_that_failed_are_printed_again(prompts: Path, tmp_path: Path) -> None:
    """--rows prints the lines of input byte by byte, each as often as it has failed."""
    lines = prompts.read_bytes().splitlines(keepends=True)
    path = output(prompts, tmp_path, {1: "overloaded", 3: "refused", 5: "refused"})
    done = errors(str(path), "--rows", str(prompts))
    assert (done.status, done.err) == (0, "")
    assert done.out == lines[1] + lines[2] + lines[3] + lines[4]


def test_rows_are_found_wherever_they_stand_now(prompts: Path, tmp_path: Path) -> None:
    """The input may be reordered, in several files, on standard input, packed or text."""
    path = output(prompts, tmp_path, {0: "refused", 2: "refused", 3: "refused"})
    lines = prompts.read_bytes().splitlines(keepends=True)
    wanted = {lines[0], lines[2], lines[3], lines[4]}
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl"
    first.write_bytes(gzip.compress(b'"new"\n\n' + b"".join(lines[:2:-1])))
    second.write_bytes(b"".join(lines[:3]))
    files = errors(str(path), "--rows", str(first), str(second))
    mixed = errors(str(path), "--rows", str(first), "-", stdin=second.read_bytes())
    assert files.out == mixed.out
    found = files.out.splitlines(keepends=True)
    assert (len(found), set(found) - {lines[5]}) == (4, wanted - {lines[2]})


def test_text_prompts_are_printed_again(tmp_path: Path) -> None:
    """A line of a text is printed as it is; a text that is one prompt, as a JSON string."""
    text = tmp_path / "questions.txt"
    text.write_text("one\n\ntwo\nthree")
    assert errors(str(output(text, tmp_path, {2: "x"})), "--rows", str(text)).out == b"three\n"
    whole = tmp_path / "essay.md"
    whole.write_text("a\nb\n")
    done = errors(str(output(whole, tmp_path, {0: "x"})), "--rows", str(whole))
    assert json.loads(done.out) == "a\nb"


def test_rows_that_are_gone_are_told(prompts: Path, tmp_path: Path) -> None:
    """Failed rows that the input has no more are counted; with none left it is exit 2."""
    path = output(prompts, tmp_path, {0: "refused", 1: "refused"})
    prompts.write_bytes(jsonl(PROMPTS[1:]))
    done = errors(str(path), "--rows", str(prompts))
    assert (done.status, len(done.rows)) == (0, 2)
    assert "1 of 3 failed rows are not in this input now" in done.err
    prompts.write_bytes(jsonl(["other"]))
    done = errors(str(path), "--rows", str(prompts))
    assert (done.status, done.out, "none of the 3 failed rows" in done.err) == (2, b"", True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-file"],
        ["FILE", "PROMPTS"],
        ["FILE", "--rows"],
        ["FILE", "--rows", "--json", "PROMPTS"],
        ["FILE", "--rows", "no-such-file"],
        ["-", "--rows", "-"],
        ["PROMPTS"],
        ["."],
    ],
)
def test_wrong_usage(prompts: Path, tmp_path: Path, arguments: list[str]) -> None:
    """What cannot be done ends with 2, one clear line, and nothing on standard output."""
    names = {"FILE": str(output(prompts, tmp_path, {})), "PROMPTS": str(prompts)}
    done = errors(*(names.get(argument, argument) for argument in arguments))
    assert (done.status, done.out) == (2, b"")
    assert "Traceback" not in done.err
    assert done.err


def test_rows_without_keys_cannot_be_printed(prompts: Path, tmp_path: Path) -> None:
    """An output of a version before keys is listed, but its rows are unknown."""
    error = {"type": "refused", "message": "no", "status": 400, "retryable": False}
    path = tmp_path / "old.jsonl"
    path.write_bytes(jsonl([{"index": 0, "id": 0, "text": None, "error": error}]))
    assert errors(str(path)).status == 0
    done = errors(str(path), "--rows", str(prompts))
    assert (done.status, "1 failed rows have no key" in done.err) == (2, True)


def test_a_reader_that_goes_is_no_error(prompts: Path, tmp_path: Path) -> None:
    """`| head` ends it quietly with 0."""
    prompts.write_bytes(jsonl([f"prompt {number} {'x' * 99}" for number in range(3_000)]))
    path = output(prompts, tmp_path, dict.fromkeys(range(3_000), "refused"))
    with subprocess.Popen(
        [*ERRORS, str(path), "--rows", str(prompts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(40) == 0
        assert process.stderr.read() == b""
