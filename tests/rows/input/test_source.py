"""Rows out of files, pipes and values: every line is one row, as soon as it is there."""

import asyncio
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice, Observer, ignore
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input import inputs as files
from llmbatch_cli.rows.input.source import Inputs

NO_TEXT = (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
UNHURRIED = settings(deadline=None)
BOM = b"\xef\xbb\xbf"
PIECES = st.sampled_from(
    [b'{"prompt": "a"}', b'"b"', b"[", b"{", b"\n", b"\n", b"\r\n", b" ", b"\xff", BOM, b"x"]
)
BYTES = st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=60)


async def read(
    *inputs: str, observe: Observer = ignore, stdin: Any = None, **options: Any
) -> list[Row]:
    async with aclosing(Inputs(inputs, **options).rows(observe, stdin)) as rows:
        return [row async for row in rows]


def rows_of(data: bytes, **options: Any) -> list[Row]:
    """The rows that these bytes give on standard input."""
    return asyncio.run(read("-", stdin=io.BytesIO(data), **options))


def texts(rows: Sequence[Row]) -> list[str | None]:
    """What each row says; None for a bad one."""
    return [str(row.messages[-1]["content"]) if isinstance(row, Prompt) else None for row in rows]


class Cut(io.BytesIO):
    """A stream that gives its bytes in the pieces it was told."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        super().__init__(data)
        self._sizes = iter(sizes)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(next(self._sizes, size))


# The law: a line, a row


@UNHURRIED
@given(BYTES)
def test_every_line_with_something_on_it_is_one_row(data: bytes) -> None:
    """Any bytes give one row for each line that is not blank, numbered in order."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [number for number, line in enumerate(lines, 1) if line.strip()]
    if data.startswith(NO_TEXT):
        return
    for form in ("jsonl", "text"):
        if form == "text" and expected and b"\0" in lines[expected[0] - 1]:
            del expected[1:]
        rows = rows_of(data, input_format=form)
        assert [row.line for row in rows] == expected
        assert [row.index for row in rows] == list(range(len(expected)))
        assert {row.file for row in rows} <= {"<stdin>"}


@UNHURRIED
@given(BYTES, st.lists(st.integers(1, 5), max_size=80), st.sampled_from(["auto", "jsonl", "whole"]))
def test_rows_do_not_depend_on_how_bytes_arrive(data: bytes, sizes: list[int], form: str) -> None:
    """However a pipe cuts the bytes, packed or not, the rows are the same."""
    whole = rows_of(data, input_format=form)
    assert whole == asyncio.run(read("-", input_format=form, stdin=Cut(data, sizes)))
    if not data.startswith(b"\x1f\x8b"):
        assert whole == rows_of(gzip.compress(data, mtime=0), input_format=form)


@UNHURRIED
@given(BYTES, st.integers(1, 12))
def test_a_line_over_the_cap_is_one_bad_row(data: bytes, cap: int) -> None:
    """A line that is too long costs itself alone."""
    capped = rows_of(data, input_format="text", max_line_bytes=cap)
    free = {row.line: row for row in rows_of(data, input_format="text")}
    for row in capped:
        if isinstance(row, BadRow) and "longer than" in row.reason:
            assert row.reason == f"the line is longer than {cap} bytes (--max-line-bytes)"
            free.pop(row.line, None)
        else:
            assert texts([free.pop(row.line)]) == texts([row])
    assert not free or data.startswith(b"\x1f\x8b")


@UNHURRIED
@given(BYTES)
def test_counting_ahead_agrees_with_reading(data: bytes) -> None:
    """The cheap count of a plain file is the number of its rows, where it is told."""
    if data.startswith(NO_TEXT) or b"\0" in data:
        return
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(data)
        file.flush()
        assert files.count_rows(file.name) == len(asyncio.run(read(file.name)))


# Formats


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b'"x"\n{"prompt": "y"}', ["x", "y"]),
        ("a.jsonl", b"plain text\n", [None]),
        ("A.NDJSON", b'"x"\n', ["x"]),
        ("a.json", b'"x"\n"y"\n', ["x", "y"]),
        ("a.txt", b'"x"\r\n\r\n y \r\n', ['"x"', " y "]),
        ("a.md", b"# one\n\ntwo\n", ["# one\n\ntwo"]),
        ("a.md", b" \n", []),
        ("a", b'\n  {"prompt": "x"}\n', ["x"]),
        ("a.csv", b"x\ny\n", ["x", "y"]),
        ("a", b"", []),
        ("a.jsonl", b"\xef\xbb\xbf\"x\"\r\n", ["x"]),
        ("a.txt", b"\xef\xbb\xbf\n", []),
    ],
)  # fmt: skip
async def test_a_file_goes_by_its_name(
    tmp_path: Path, name: str, data: bytes, expected: list[str | None]
) -> None:
    """The suffix tells the format, packed or not; without a known one the first character does."""
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    for path in (plain, packed):
        assert texts(await read(str(path))) == expected


@pytest.mark.parametrize(
    ("data", "for_text", "expected", "told"),
    [
        (b'{"prompt": "x"}\n', "lines", ["x"], 0),
        (b'\r\n "x"\n', "whole", ["x"], 0),
        (b"x\n[y\n", "lines", ["x", "[y"], 1),
        (b"\nx\ny\n", "whole", ["\nx\ny"], 1),
        (b" \n", "lines", [], 0),
        (b"", "whole", [], 0),
    ],
)
async def test_standard_input_goes_by_its_first_character(
    data: bytes, for_text: str, expected: list[str | None], told: int
) -> None:
    """What does not begin as JSON is text, and that guess is said once."""
    events: list[Event] = []
    stdin = io.BytesIO(data)
    rows = await read("-", for_text=for_text, stdin=stdin, observe=events.append)
    assert texts(rows) == expected
    guesses = [event.message for event in events if isinstance(event, Notice)]
    assert len(guesses) == told == len(events)
    if told:
        assert guesses[0].startswith("standard input does not begin with JSON: read as plain text")


async def test_blanks_before_the_first_row_are_not_held() -> None:
    """More white space than is looked at makes text of the input; no line is lost."""
    data = b"\n" * 3_000_000 + b"x\n"
    (row,) = await read("-", stdin=io.BytesIO(data))
    assert (texts([row]), row.line) == (["x"], 3_000_001)


async def test_the_whole_input_has_a_cap() -> None:
    """As one prompt, too, an input is at most max_line_bytes."""
    (row,) = await read("-", input_format="whole", max_line_bytes=5, stdin=io.BytesIO(b"123456"))
    assert isinstance(row, BadRow)
    assert row.reason == "the text is longer than 5 bytes (--max-line-bytes)"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a",}', "bad JSON: .* at column 15"),
        (b'{"prompt": "\xff"}', "not UTF-8: byte 0xff at column 13"),
        ('{"prompt": "é'.encode() + b"\x80", "not UTF-8: byte 0x80 at column 14"),
        (b'"\\ud800"', "bad JSON: .*surrogate.* at column 2"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 0xed at column 2"),
        (b"\xff\xfe\"\0", "not UTF-8: byte 0xff at column 1 \\(it looks like UTF-16\\)"),
        (b"[" * 5000, "bad JSON: .* at column .*"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_json_says_where(line: bytes, reason: str) -> None:
    """The reason has the column, from 1, and the lines around it are read."""
    before, row, after = rows_of(b'"a"\n' + line + b'\n"b"\n', input_format="jsonl")
    assert isinstance(row, BadRow)
    assert re.fullmatch(reason, row.reason)
    assert (row.place, row.id) == ("<stdin>:2", 1)
    assert texts([before, after]) == ["a", "b"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl"])
async def test_a_file_in_utf_16_is_one_bad_row(tmp_path: Path, codec: str, name: str) -> None:
    """With a mark or by its NUL bytes: it says how to convert it, and no text is a prompt."""
    path = tmp_path / name
    path.write_bytes('"one"\n"two"\n"three"\n'.encode(codec))
    rows = await read(str(path))
    assert texts(rows) == [None] * len(rows)
    assert (rows[0].line, files.count_rows(str(path))) in [(1, None), (1, 1)]
    if codec == "utf-16" or not name.endswith("jsonl"):
        assert [type(row) for row in rows] == [BadRow]
        assert "iconv -f utf-16 -t utf-8" in getattr(rows[0], "reason")  # noqa: B009


async def test_a_nul_byte_further_down_costs_its_line(tmp_path: Path) -> None:
    """A broken line in a text stops nothing."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\nt\0wo\nthree\n")
    assert texts(await read(str(path))) == ["one", None, "three"]


WIDE = 123456789012345678901234567890


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, WIDE])
def test_integers_of_any_size_are_carried_exactly(number: int) -> None:
    """Metadata is what the row says, at any depth; nothing else changes."""
    row: dict[str, object] = {
        "prompt": "x",
        "ref": number,
        "deep": [{"n": number, "f": 1.5}],
        "big": 1e300,
    }
    for value in (row, {"id": 0.5, **row}):
        (found,) = rows_of(json.dumps(value).encode())
        assert found.metadata == {name: row[name] for name in ("ref", "deep", "big")}
        assert type(found.metadata["ref"]) is int


def test_an_id_that_is_too_large_says_so() -> None:
    """It is told as what it is, and not as a float."""
    (row,) = rows_of(b'{"id": 18446744073709551616, "prompt": "x"}')
    assert isinstance(row, BadRow)
    assert row.reason == '"id" has more than 64 bits: write it as a string'


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b'\n[\n  {"prompt": "a"},\n  {"prompt": "b"}\n]\n', "jq -c '.[]' FILE"),
        (b'[{"prompt": "a"},\n{"prompt": "b"}]\n', "jq -c '.[]' FILE"),
        (b'{\n  "prompt": "a"\n}\n', "jq -c . FILE"),
    ],
)
async def test_a_json_file_that_is_one_value_is_one_bad_row(
    tmp_path: Path, data: bytes, hint: str
) -> None:
    """One row with the way out, instead of an error a line; the next input is read."""
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    path.write_bytes(data)
    other.write_bytes(b'"x"')
    row, after = await read(str(path), str(other))
    assert isinstance(row, BadRow)
    assert hint in row.reason
    assert texts([after]) == ["x"]
    assert len(await read("-", input_format="jsonl", stdin=io.BytesIO(data))) > 1


async def test_a_broken_line_further_down_a_json_file_stops_nothing(tmp_path: Path) -> None:
    """Only the first line can show that a .json file is one value."""
    path = tmp_path / "a.json"
    path.write_bytes(b'"x"\n[\n"y"\n')
    assert texts(await read(str(path))) == ["x", None, "y"]


# Several inputs, limits, damage


async def test_several_inputs_are_read_in_a_row(tmp_path: Path) -> None:
    """The index runs on over all inputs, the line starts again in each."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.txt"
    first.write_bytes(b'"a"\n\nbroken\n')
    second.write_bytes(b"c")
    rows = await read(str(first), "-", str(second), stdin=io.BytesIO(b'"b"\n'))
    assert texts(rows) == ["a", None, "b", "c"]
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert [(row.file, row.line) for row in rows] == [
        (str(first), 1),
        (str(first), 3),
        ("<stdin>", 1),
        (str(second), 1),
    ]


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (3, 3), (4, 4), (9, 4), (None, 4)])
async def test_limit_is_the_first_rows(tmp_path: Path, limit: int | None, expected: int) -> None:
    """Bad rows count, and files do not start anew."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'"a"\nbroken\n')
    rows = await read(str(path), str(path), limit=limit)
    assert [row.index for row in rows] == list(range(expected))


async def test_damaged_gzip_is_its_rows_and_one_bad_row(tmp_path: Path) -> None:
    """What was whole is read; half a prompt is never sent; the next file is read."""
    path, other = tmp_path / "a.txt.gz", tmp_path / "b.txt"
    packed = gzip.compress(b"".join(b"%x\n" % hash(i) for i in range(1000, 90_000)))
    path.write_bytes(packed[: len(packed) // 2])
    other.write_bytes(b"x\n")
    *rows, row, after = await read(str(path), str(other))
    assert len(rows) > 1000
    assert texts(rows) == [f"{hash(i):x}" for i in range(1000, 1000 + len(rows))]
    assert isinstance(row, BadRow)
    assert row.reason == "the gzip data ends too early: the file is incomplete"
    assert row.line == len(rows) + 1
    assert texts([after]) == ["x"]


async def test_a_file_that_is_gone_is_one_bad_row(tmp_path: Path) -> None:
    """A file that disappears after the start is told as a row; the others are read."""
    path = tmp_path / "b.txt"
    path.write_bytes(b"x\n")
    row, after = await read(str(tmp_path / "a.txt"), str(path))
    assert isinstance(row, BadRow)
    assert row.reason == "cannot be read: No such file or directory"
    assert texts([after]) == ["x"]


# Live pipes


async def test_a_row_is_there_when_its_line_is_complete() -> None:
    """From a live pipe each row comes before the next is written; half a line is no row."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        async with aclosing(Inputs(["-"]).rows(stdin=stdin)) as rows:
            for number in range(5):
                pipe.write(b'{"prompt": ')
                half = asyncio.ensure_future(anext(rows))
                await asyncio.sleep(0.02)
                assert not half.done()
                pipe.write(b'"%d"}\n' % number)
                assert texts([await asyncio.wait_for(half, 10)]) == [str(number)]
            pipe.write(b'"no newline"')
            pipe.close()
            assert texts([row async for row in rows]) == ["no newline"]


async def test_the_limit_is_reached_without_waiting_for_more() -> None:
    """The last row that is wanted ends the reading, though the pipe is open."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(b'"a"\n"b"\n')
        rows = await asyncio.wait_for(read("-", limit=2, stdin=stdin), 10)
    assert texts(rows) == ["a", "b"]


async def test_a_named_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """Neither the check nor the count opens a fifo; a writer may come late."""
    path = str(tmp_path / "fifo.jsonl")
    os.mkfifo(path)
    files.check_inputs([path])
    assert files.count_rows(path) is None
    reading = asyncio.ensure_future(read(path))
    await asyncio.sleep(0.05)
    assert not reading.done()
    await asyncio.to_thread(Path(path).write_bytes, b'"a"\n"b"\n')
    assert texts(await asyncio.wait_for(reading, 10)) == ["a", "b"]


async def test_an_idle_pipe_blocks_nobody() -> None:
    """While a read waits the loop goes on, and cancelling it takes no time."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb"):
        rows = Inputs(["-"]).rows(stdin=stdin)
        waiting = asyncio.ensure_future(anext(rows))
        started = time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await rows.aclose()
        assert time.monotonic() - started < 2
        assert not waiting.done() or waiting.cancelled()


def test_the_program_ends_while_a_read_is_blocked() -> None:
    """An interpreter whose reading thread hangs on standard input exits at once, cleanly."""
    program = (
        "import asyncio\n"
        "from llmbatch_cli.rows.input.source import Inputs\n"
        "async def main():\n"
        "    rows = Inputs(['-']).rows()\n"
        "    print((await anext(rows)).id, flush=True)\n"
        "    await asyncio.wait([asyncio.ensure_future(anext(rows))], timeout=0.1)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b'{"id": "first", "prompt": "a"}\n')
    process.stdin.flush()
    assert process.wait(30) == 0
    out, err = process.communicate()
    assert (out.strip(), err) == (b"first", b"")


async def test_memory_is_flat(tmp_path: Path) -> None:
    """Reading 40 MB of rows holds a few MiB at a time."""
    path = tmp_path / "big.jsonl"
    line = orjson.dumps({"id": "r", "prompt": "x" * 4000}) + b"\n"
    path.write_bytes(line * 10_000)
    tracemalloc.start()
    try:
        count = 0
        async for row in Inputs([str(path)]).rows():
            count += isinstance(row, Prompt)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 10 * 2**20


# Before anything starts


def test_inputs_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    """A missing file, a directory, an impossible name, stdin twice: one line each, at once."""
    for inputs, words in (
        ([str(tmp_path / "gone.jsonl")], "no such file: "),
        ([str(tmp_path)], "is a directory"),
        (["a\0b"], "cannot read "),
        ([str(tmp_path / ("x" * 300))], "File name too long"),
        (["-", "-"], "standard input is named twice"),
    ):
        with pytest.raises(UsageError) as caught:
            files.check_inputs(inputs)
        assert words in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    """A file without permission is an error before the start."""
    path = tmp_path / "secret.jsonl"
    path.touch(mode=0o200)
    with pytest.raises(UsageError, match="Permission denied"):
        files.check_inputs([str(path)])


def test_good_inputs_pass_and_nothing_is_read(tmp_path: Path) -> None:
    """Files, devices and standard input are left for the reading."""
    path = tmp_path / "a.jsonl"
    path.touch()
    files.check_inputs([str(path), "/dev/null", "-"])


async def test_a_name_that_is_no_unicode_still_has_a_place(tmp_path: Path) -> None:
    """A file's name in messages is always valid text."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")
    Path(path).write_bytes(b"\xff\n")
    (row,) = await read(path)
    assert isinstance(row, BadRow)
    assert row.place.encode().endswith("/\N{REPLACEMENT CHARACTER}.txt:1".encode())


def test_what_cannot_be_counted_cheaply_is_unknown(tmp_path: Path) -> None:
    """Standard input, gzip, a missing file and a count that was stopped have no number."""
    packed, plain = tmp_path / "a.jsonl.gz", tmp_path / "a.jsonl"
    packed.write_bytes(gzip.compress(b'"a"\n'))
    plain.write_bytes(b'"a"\n\n  \n"b"')
    enough = threading.Event()
    assert files.count_rows("-") is None
    assert files.count_rows(str(packed)) is None
    assert files.count_rows(str(tmp_path / "gone")) is None
    assert files.count_rows(str(plain), enough) == 2
    assert files.count_rows(str(plain), input_format="whole") == 1
    (tmp_path / "empty.md").write_bytes(b" \n")
    assert files.count_rows(str(tmp_path / "empty.md")) == 0
    assert files.count_rows("-", input_format="whole") is None
    enough.set()
    assert files.count_rows(str(plain), enough) is None


def test_a_json_file_that_is_one_value_counts_as_one(tmp_path: Path) -> None:
    """The count knows of the one bad row that such a file becomes."""
    path = tmp_path / "a.json"
    path.write_bytes(b'\n[\n"a",\n"b"\n]\n')
    assert files.count_rows(str(path)) == 1 == len(asyncio.run(read(str(path))))


# Twice


async def test_a_spooled_pipe_can_be_read_twice_and_leaves_no_copy() -> None:
    data = b'"a"\n' + b"broken\n" * 30
    async with files.spooled(["-"], io.BytesIO(data)) as (copy,):
        first, again = await read(copy), await read(copy)
    assert first == again
    assert first[1].place == "<stdin>:2"
    assert texts(again) == ["a"] + [None] * 30
    assert not Path(copy).exists()


async def test_spooled_input_is_read_as_standard_input_is() -> None:
    """The guess at the format is made for the copy, too, and gzip is unpacked."""
    events: list[Event] = []
    async with files.spooled(["-"], io.BytesIO(gzip.compress(b"x\n"))) as (copy,):
        assert texts(await read(copy, observe=events.append)) == ["x"]
    assert isinstance(events[0], Notice)
    assert events[0].message.startswith("standard input ")


async def test_a_pipe_is_spooled_by_its_own_name(tmp_path: Path) -> None:
    """A fifo, as by <(...), can be read twice; a plain file is left where it is."""
    fifo, plain = tmp_path / "rows.jsonl", tmp_path / "a.txt"
    os.mkfifo(fifo)
    plain.touch()
    writing = asyncio.create_task(asyncio.to_thread(fifo.write_bytes, b'"a"\nbroken\n'))
    async with files.spooled([str(fifo), str(plain)]) as (copy, same):
        assert same == str(plain)
        assert texts(await read(copy)) == texts(await read(copy)) == ["a", None]
        assert (await read(copy))[1].place == f"{fifo}:2"
    await writing


async def test_waiting_for_the_whole_input_can_be_cancelled() -> None:
    """An input that never ends does not hold the program."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb"), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), files.spooled(["-"], stdin):
            pass
