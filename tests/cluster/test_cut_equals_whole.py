"""The law of shards: for any bytes, names and options, cut equals whole."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cluster.cut import cut, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.cluster import cutting
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.rows.input import chunks
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.inputs import InputPath
from llmbatch_cli.rows.input.shape import Shape
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition, TextTemplate

GOOD = [
    b'{"prompt": "a"}', b'{"id": "x", "prompt": "b", "seed": 3}', b'{"text": "c"}', b'"d"',
    b'[{"role": "user", "content": "e"}]', b'{"text": "f", "temperature": 1, "maxtokens": 7}',
    b'{"prompt": "' + b"g" * 30 + b'"}', '{"prompt": "é"}'.encode(), b'{"prompt": "", "n": 1}',
]  # fmt: skip
ODD = [
    b"", b" \r", b'{"text": "t", "question": "q"}', b'{"x": 1}', b'{"q1": "e", "q2": "f"}',
    b'{"temprature": 1,', b'"prompt": "g"}', b'{"prompt": "h"} {"prompt": "i"}', b"{", b"}",
    b'{"prompt": "j"}, ', b"[", b"]", b'[{"prompt": "l"}, {"prompt": "m"}]', b'{"prompt": NaN}',
    b"\t", b"\xef\xbb\xbf", b"\x1f\x8b", b"\xff", b"\0", b"y" * 30, b"a\rb", b"prompt,note",
]  # fmt: skip
CELLS = [
    b"a,b", b'"q', b'r",s', b'"t"",u",v', b"w;x", b"sep=;", b"text;question", b'"one\ntwo",3',
    b"1,2,3", b'""', b'"' + b"z" * 30 + b'",z', b'"a\r\n\r\nb",c', "é,ü".encode(), b"\xe9,\xff",
]  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\r"])
STARTS = st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"prompt,id\n", b"text\tid\n", b"\n"])
LAST = st.sampled_from([b"\n", b"", b"\r\n"])
MAKERS: tuple[Callable[[], Shape], ...] = (
    Shape,
    Shape,
    lambda: Shape(asks=TextTemplate("{{ text | default(row | json) }}", "-t")),
    lambda: Shape(where=Condition("text is defined", "--where")),
    lambda: Shape(prompt_field="text", id_field="id"),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "shape": st.sampled_from(MAKERS).map(lambda make: make()),
        "for_text": st.sampled_from(["lines", "whole"]),
        "limit": st.integers(0, 9),
        "has_header": st.booleans(),
        "encoding": st.sampled_from(["cp1252", "utf-16", "shift_jis"]),
        "max_line_bytes": st.just(24),
        "choice": st.builds(
            Choice,
            offset=st.integers(0, 4),
            sample=st.none() | st.integers(1, 5),
            repeat=st.integers(1, 3),
        ),
    },
)
SIZES = st.tuples(st.sampled_from([2**18, 2**18, 16, 3]), st.sampled_from([2**14, 4]))
"""Of what is read at once, and of the list of pieces."""


def joined(start: bytes, lines: Sequence[bytes], end: bytes, last: bytes) -> bytes:
    return start + end.join(lines) + last


def many(one: Sequence[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Some of these, or one of them more often than a run bears if it is invalid."""
    each = st.sampled_from(one)
    return st.lists(each, max_size=25) | each.map(lambda line: [line] * 21)


def check(
    files: Sequence[tuple[str, bytes]], target_rows: int, sizes: tuple[int, int], **options: Any
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(chunks, "CHUNK_BYTES", sizes[0]),
        patch.object(cutting, "MOST_PIECES", sizes[1]),
    ):
        names = [InputPath(Path(folder) / f"{n}{name}") for n, (name, _) in enumerate(files)]
        for name, (_, data) in zip(names, files, strict=True):
            Path(name).write_bytes(data)
            name.row_id = name if options.get("for_text") == "whole" else None
        inputs = Inputs(names, **options)
        found, expected = cut(inputs, target_rows), whole(inputs)
        if not inputs.is_whole and not isinstance(found, str) and not isinstance(expected, str):
            found, expected = (found[0], set()), (expected[0], set())  # rows that nobody asks
        assert found == expected


ANY = st.builds(joined, STARTS, many(GOOD + ODD + CELLS), ENDS, LAST) | st.binary(max_size=80)
NAMES = st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.jsonl", "a.txt", "a.md", "a"])
FORMATS: tuple[InputFormat, ...] = ("auto", "auto", "csv", "tsv", "jsonl", "text", "whole")


@settings(deadline=None)
@given(
    st.lists(st.tuples(NAMES, ANY), min_size=1, max_size=3),
    st.sampled_from(FORMATS),
    st.integers(1, 9),
    OPTIONS,
    SIZES,
)
def test_any_bytes(
    files: Sequence[tuple[str, bytes]],
    form: InputFormat,
    target_rows: int,
    options: dict[str, Any],
    sizes: tuple[int, int],
) -> None:
    """Rows, indexes, ids, lines, what is wrong with them, and what a person is told."""
    check(files, target_rows, sizes, input_format=form, **options)


JSONL = st.builds(joined, st.sampled_from([b"", b"\xef\xbb\xbf"]), many(GOOD * 3 + ODD), ENDS, LAST)


@settings(deadline=None)
@given(st.lists(JSONL, min_size=1, max_size=3), st.integers(1, 9), OPTIONS, SIZES)
def test_lines_of_json(
    files: Sequence[bytes], target_rows: int, options: dict[str, Any], sizes: tuple[int, int]
) -> None:
    """The same of files that mostly are what they should be."""
    check([("a.jsonl", GOOD[0] + b"\n" + data) for data in files], target_rows, sizes, **options)


HEADERS = st.sampled_from(
    [b"prompt,id\n", b"text,x\r\n", b"\xef\xbb\xbfquestion;b\n", b"a,prompt,a\n"]
)
CSV = st.builds(joined, HEADERS, many(CELLS * 2 + ODD), ENDS, LAST)


@settings(deadline=None)
@given(st.lists(CSV, min_size=1, max_size=3), st.integers(1, 9), OPTIONS, SIZES)
def test_tables_as_text(
    files: Sequence[bytes], target_rows: int, options: dict[str, Any], sizes: tuple[int, int]
) -> None:
    """The same of tables, which are cut outside of quotes."""
    check([("a.csv", data) for data in files], target_rows, sizes, **options)
