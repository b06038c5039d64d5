"""Rows out of files, pipes and values: every line is one row, as soon as it is there."""

import asyncio
import gzip
import io
import json
import math
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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice, Observer, ignore
from llmbatch_cli.core.types import BadRow, Failure, Outcome, Prompt, Row
from llmbatch_cli.rows.input import inputs as files
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.keys import row_digits
from llmbatch_cli.rows.lines import BLANK
from llmbatch_cli.rows.output.render import render

UNHURRIED = settings(deadline=None)
BOM = b"\xef\xbb\xbf"
USER = {"role": "user", "content": "d"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PIECES = st.sampled_from(
    [b'{"prompt": "a"}', b'"b"', b"[", b"{", b"\n", b"\n", b"\r\n", b" ", b"\xff", BOM, b"x"]
)
BYTES = st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=60)
LINES = st.lists(
    st.sampled_from([b'{"prompt": "a"}', b'"b"', b"", b" ", b"\xff", BOM, b"x", b"5", b"\r", b"]"])
).map(b"\n".join)
"""Lines each of which is a row by itself."""


async def read(
    *inputs: str, observe: Observer = ignore, stdin: Any = None, **options: Any
) -> list[Row]:
    async with aclosing(Inputs(inputs, **options).rows(observe, stdin)) as rows:
        return [row async for row in rows]


def rows_of(data: bytes, **options: Any) -> list[Row]:
    """The rows that these bytes give on standard input."""
    return asyncio.run(read("-", stdin=io.BytesIO(data), **options))


def whole_run(data: bytes | io.BytesIO, **options: Any) -> list[Any]:
    """The rows, or the error that ends the run before its first."""
    stdin = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return [*asyncio.run(read("-", stdin=stdin, **options))]
    except UsageError as error:
        return [error.message]


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


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": "a"},\n{"prompt": "b"},\n{"prompt": "c"}\n',  # an array without brackets
        b'{"prompt": "a"}\n\0\0\0\0{"prompt": "b"}\n{"prompt": "c"}\0\0\0\n',  # a power failure
        b'\x1e{"prompt": "a"}\n\x1e"b"\n\x1e"c"\n',  # json-seq, RFC 7464
    ],
)
def test_what_stands_beside_a_value_is_no_part_of_it(data: bytes) -> None:
    """Commas, NULs and record separators cost no row; a comma within a value stays."""
    assert texts(rows_of(b'{"a": {"b": 1},\n"prompt": "x"}\n', input_format="jsonl")) == ["x"]
    assert texts(rows_of(data, input_format="jsonl")) == ["a", "b", "c"]


@UNHURRIED
@given(LINES)
def test_every_line_with_something_on_it_is_one_row(data: bytes) -> None:
    """Any lines give one row for each that is not blank, numbered in order."""
    lines = data.split(b"\n")
    expected = [number for number, line in enumerate(lines, 1) if line.strip(BLANK)]
    for form in ("jsonl", "text"):
        rows = whole_run(data, input_format=form)
        assert [row.line for row in rows] == expected
        assert [row.index for row in rows] == list(range(len(expected)))
        assert {row.file for row in rows} <= {"<stdin>"}


@UNHURRIED
@example(b'\n\xef\xbb\xbf{"prompt": "a"}', [1, 1], "auto")
@given(BYTES, st.lists(st.integers(1, 5), max_size=80), st.sampled_from(["auto", "jsonl", "whole"]))
def test_rows_do_not_depend_on_how_bytes_arrive(data: bytes, sizes: list[int], form: str) -> None:
    """However a pipe cuts the bytes, packed or not, the rows are the same."""
    whole = whole_run(data, input_format=form)
    assert whole == whole_run(Cut(data, sizes), input_format=form)
    if not data.startswith(b"\x1f\x8b"):
        assert whole == whole_run(gzip.compress(data, mtime=0), input_format=form)


@UNHURRIED
@given(LINES, st.integers(1, 12))
def test_a_line_over_the_cap_is_one_bad_row(data: bytes, cap: int) -> None:
    """A line that is too long costs itself alone."""
    capped = whole_run(data, input_format="text", max_line_bytes=cap)
    free = {row.line: row for row in whole_run(data, input_format="text")}
    for row in capped:
        if isinstance(row, BadRow) and "longer than" in row.reason:
            assert row.reason == f"the line is longer than {cap} bytes (--max-line-bytes)"
            free.pop(row.line, None)
        else:
            assert texts([free.pop(row.line)]) == texts([row])
    assert not free


@UNHURRIED
@given(BYTES)
def test_counting_ahead_agrees_with_reading(data: bytes) -> None:
    """The cheap count of a plain file is the number of its rows, where it is told."""
    if BOM in data[1:]:
        return
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(data)
        file.flush()
        rows = whole_run(data, input_format="text")
        assert files.count_rows(file.name) in (None, len(rows)) or isinstance(rows[0], str)


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
        ("a.log", b"x\ny\n", ["x", "y"]),
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
        ('{"prompt": "é'.encode() + b'\x80"}', "not UTF-8: byte 0x80 at column 14"),
        (b'"\\ud800"', "bad JSON: .*surrogate.* at column 2"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 0xed at column 2"),
        (b"\xff\xfe\"\0", "not UTF-8: byte 0xff at column 1"),
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


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a", "a.jsonl.gz"])
async def test_a_file_in_utf_16_is_read(tmp_path: Path, codec: str, name: str) -> None:
    """As PowerShell writes it, with its mark or without (fox-it/flow.record 138)."""
    path = tmp_path / name
    data = "one\ntwo\n" if name == "a.txt" else '"one"\n"two"\n'
    path.write_bytes(gzip.compress(data.encode(codec)) if ".gz" in name else data.encode(codec))
    assert texts(await read(str(path))) == ["one", "two"]
    assert files.count_rows(str(path)) is None


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


# JSON that is not a value a line

PRETTY = '{\n  "id": "a",\n  "prompt": "one",\n  "stop": [\n    "END"\n  ]\n}\n'
ODD = ']}\\"'
ROWS = [{"id": 1, "prompt": "a", "deep": [[{"x": ODD}]]}, {"prompt": "b"}, "c", [USER]]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "-", "a.json.gz"])
async def test_an_array_is_its_rows(tmp_path: Path, name: str, indent: int | None) -> None:
    """On one line or on many (pkiraly/metadata-qa-api 184); each row knows its line."""
    data = json.dumps(ROWS, indent=indent).encode() + b"\n"
    path = tmp_path / name
    if name != "-":
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = await read("-" if name == "-" else str(path), stdin=io.BytesIO(data))
    assert texts(found) == ["a", "b", "c", "d"]
    assert [row.id for row in found] == [1, 1, 2, 3]
    assert found[0].metadata == {"deep": [[{"x": ODD}]]}
    assert files.count_rows(str(path)) is None
    lines = data.splitlines()
    assert [row.line for row in found][:1] == [1 if indent is None else 2]
    for row in found[1:3] if indent is not None else []:
        assert row.line is not None
        assert lines[row.line - 1].strip(b" ,") in (b"{", b'"c"')


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PRETTY, ["one"]),
        (PRETTY * 3, ["one"] * 3),  # jq
        (PRETTY.strip() + PRETTY, ["one", "one"]),  # files without a last newline
        ('"x"\n' + PRETTY + '"y"\n', ["x", "one", "y"]),
        ('{"prompt": "a"}{"prompt": "b"}\n', ["a", "b"]),
        ('[{"prompt": "a"},\n{"prompt": "b"}]\n', ["a", "b"]),
        ('[\n{"prompt": "a"}\n,\n{"prompt": "b"}\n]', ["a", "b"]),
        ('{"messages": [\n{"role": "user", "content": "a"}\n]}\n', ["a"]),
        ('[\n  {"role": "user", "content": "a"}\n]\n', ["a"]),  # one conversation
        ('[{"role": "user", "content": "a"}]\n[{"role": "user", "content": "b"}]', ["a", "b"]),
        ('[[{"role": "user", "content": "a"}],\n["b"]]', ["a", None]),
        ('["a",\n "b"]\n["c"]\n', ["a", "b", None]),
        ("[]\n", []),
        ("[\n]\n", []),
        ('\ufeff[{"prompt": "a"}]', ["a"]),
    ],
)
def test_values_over_many_lines_are_rows(data: str, expected: list[str | None]) -> None:
    """Pretty-printed JSON is read as what it says (opentargets/issues 211)."""
    assert texts(rows_of(data.encode())) == expected


@pytest.mark.parametrize(
    ("data", "expected", "words"),
    [
        (PRETTY.replace("  ]\n}", "  ],\n}"), [None], "line 6, column 4"),
        ('[\n{"prompt": "a"},\n{"prompt": "b},\n"END",\n"x"\n]\n', ["a", None], "bad JSON"),
        ('[{"prompt": "a"},\n{"prompt": "b"}\n"END"\n]\n', ["a", None], "',' or ']'"),
        ('["a",\n"b, "c",\n"d"]', ["a", None], "',' or ']'"),
        ('["a", "b, "c", "d"]', [None], "',' or ']'"),
        ('[{"prompt": "a"}, {"prompt": "b"', ["a", None], "has no end"),
        ('{\n"prompt": "a",\n"END"\n', [None], "has no end"),
        ('[\n"a",\n"b"', ["a", None], "the array has no end"),
        ('{"prompt": "two\nlines"}\n{"prompt": "b"}\n', [None, "b"], "up to the next line"),
        ('{"prompt": "cut o\n{"prompt": "b"}\n', [None, "b"], "end of data at column"),
        ('{"id": 1, "prompt":\n{"id": 2, "prompt": "b"}\n', [None, "b"], "end of data at column"),
        ('"x"\n{"id": 1,', ["x", None], "end of data at column 10"),
        ('{"prompt": "a"} ]\n"b"', [None, "b"], "after document"),
    ],
)
def test_no_part_of_a_broken_value_is_sent(
    data: str, expected: list[str | None], words: str
) -> None:
    """One error, and what follows is read only where it must be another row."""
    rows = rows_of(data.encode(), input_format="jsonl")
    assert texts(rows) == expected
    assert any(words in row.reason for row in rows if isinstance(row, BadRow))


@UNHURRIED
@given(
    st.lists(st.fixed_dictionaries({"prompt": st.text(min_size=1), "x": JSON}), max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.lists(st.integers(1, 9), max_size=60),
)
def test_rows_are_the_same_in_any_layout(
    values: list[Any], indent: int | None, is_array: bool, sizes: list[int]
) -> None:
    """An array, values over lines or a value a line: the rows are the same."""
    if is_array:
        data = json.dumps(values, indent=indent)
    else:
        data = "\n".join(json.dumps(value, indent=indent) for value in values)
    expected = [parse_row(value, index=index) for index, value in enumerate(values)]
    found = asyncio.run(read("-", input_format="jsonl", stdin=Cut(data.encode(), sizes)))
    assert [getattr(row, "messages", None) for row in found] == [
        getattr(row, "messages", None) for row in expected
    ]
    assert [row.metadata for row in found] == [row.metadata for row in expected]


async def test_an_array_is_read_item_by_item(tmp_path: Path) -> None:
    """However long it is, on one line, and as each item arrives."""
    path = tmp_path / "big.json"
    item = json.dumps({"id": "r", "prompt": "x" * 4000}).encode()
    path.write_bytes(b"[" + b", ".join([item] * 5_000) + b"]")
    tracemalloc.start()
    try:
        rows = [row.index async for row in Inputs([str(path)], max_line_bytes=10_000).rows()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == list(range(5_000))
    assert peak < 10 * 2**20
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        async with aclosing(Inputs(["-"]).rows(stdin=stdin)) as live:
            pipe.write(b'[\n{"prompt": "a"},\n{"prom')
            assert texts([await asyncio.wait_for(anext(live), 10)]) == ["a"]
            pipe.write(b'pt": "b"}\n]\n')
            pipe.close()
            assert texts([row async for row in live]) == ["b"]


def test_a_value_over_the_cap_ends_the_array() -> None:
    """It is an error as a line that is too long is."""
    rows = rows_of(b'[{"prompt": "a"}, {"prompt": "bbbbbbbbbbbbbbbbbbbb"}]', max_line_bytes=20)
    assert texts(rows) == ["a", None]
    assert "longer than 20 bytes" in getattr(rows[1], "reason")  # noqa: B009


# JSON as others write it


@pytest.mark.parametrize("form", ["jsonl", "text"])
def test_a_mark_at_any_line_is_dropped(form: str) -> None:
    """As `cat` leaves it (wbolster/jsonlines PR 69), in text as well."""
    lines = ["one", "two", ""] if form == "text" else ['{"prompt": "one"}', '"two"', ""]
    data = "".join(f"\ufeff{line}\n" for line in lines).encode()
    assert texts(rows_of(data, input_format=form)) == ["one", "two"]


@pytest.mark.parametrize("before", [BOM + BOM, BOM + b"\n" + BOM, b" \n" + BOM + b" " + BOM])
def test_marks_of_empty_files_do_not_turn_json_into_text(before: bytes) -> None:
    """As of an empty file in front, or several (viggy28/recall 38): the rows behind are JSON."""
    rows = rows_of(before + b'{"prompt": "one"}\n' + BOM + BOM + b'"two"\n')
    assert texts(rows) == ["one", "two"]


@pytest.mark.parametrize(
    ("fields", "metadata"),
    [
        ('"score": NaN', {"score": None}),
        ('"x": [Infinity, {"y": -Infinity}]', {"x": [math.inf, {"y": -math.inf}]}),
        ('"score": NaN, "temperature": NaN, "id": NaN', {"score": None}),
        (f'"ref": {"9" * 400}', {"ref": int("9" * 400)}),
        (f'"ref": {"9" * 5000}, "id": 0', {"ref": "9" * 5000}),
        (f'"a": 1e999, "b": {"9" * 20}', {"a": math.inf, "b": int("9" * 20)}),
    ],
)  # fmt: skip
def test_numbers_that_json_lacks_are_carried(fields: str, metadata: dict[str, Any]) -> None:
    """NaN is null (microsoft/eureka-ml-insights PR 127), and the row keeps its id."""
    (row,) = rows_of(f'{{"prompt": "one", {fields}}}\n'.encode())
    assert texts([row]) == ["one"]
    assert (row.id, row.metadata) == (0, metadata)
    failed = Outcome(0, row.id, None, None, error=Failure("x", "y"), metadata=row.metadata)
    assert b"NaN" not in render(failed, "jsonl").replace(b'"NaN"', b"")


def test_infinity_is_no_parameter() -> None:
    """It is not dropped as a missing number is."""
    (row,) = rows_of(b'{"id": "a", "prompt": "one", "temperature": Infinity}')
    assert isinstance(row, BadRow)
    assert (row.id, row.reason) == ("a", "temperature must be a number >= 0, not inf")


@pytest.mark.parametrize("depth", [199, 500, 900, 5_000, 100_000])
@pytest.mark.parametrize("field", ["note", "messages", "extra_body", "id"])
def test_a_row_that_is_nested_too_deep_is_one_bad_row(field: str, depth: int) -> None:
    """However deep and wherever: never a RecursionError."""
    deep = "[" * depth + "]" * depth
    line = f'{{"custom_id": "a", "prompt": "one", "{field}": {deep}}}\n"b"\n'
    row, after = rows_of(line.encode())
    assert texts([after]) == ["b"]
    if depth < 200 and field == "note":
        assert texts([row]) == ["one"]
    else:
        assert isinstance(row, BadRow)
    if depth in (500, 900):
        assert row.id == "a" or field == "id"
        assert "nested more than 200 levels deep" in getattr(row, "reason")  # noqa: B009
    assert len(row_digits(row)) == 12


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
