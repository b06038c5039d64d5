"""The law of shards: for any bytes, names and options, cut equals whole."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from cluster.cut import cut, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.rows.input import chunks
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.inputs import InputPath, TextFormat
from llmbatch_cli.rows.input.shape import Shape
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition, TextTemplate

ROWS = st.sampled_from(
    [b'{"prompt": "a"}', b'{"id": "x", "prompt": "b", "seed": 3}', b'{"text": "c"}', b'"d"', b"",
     b'{"text": "t", "question": "q"}', b'{"x": 1}', b'{"q1": "e", "q2": "f"}', b'{"temprature": 1,',
     b'"prompt": "g"}', b'{"prompt": "h"} {"prompt": "i"}', b'{"prompt": "j"}, ', b"{", b"}", b"[", b"]",
     b'{"text": "k", "temperature": 1, "maxtokens": 7}', b'[{"prompt": "l"}, {"prompt": "m"}]',
     b'[{"role": "user", "content": "n"}]', b'prompt,note', b'o,p', b'"q', b'r",s', b'"t"",u",v', b"w;x",
     b"\t", b"\xef\xbb\xbf", b"\x1f\x8b", b"\xff", b"\0", b"y" * 30, b'{"prompt": "' + b"z" * 30 + b'"}',
     b"sep=;", b"text;question", b"a\rb", b'{"prompt": ""}', "é".encode(), b'{"prompt": NaN}']
)  # fmt: skip
LINES = st.lists(ROWS | ROWS.map(lambda row: b"\n".join([row] * 21)), max_size=12)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\r"])
STARTS = st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"prompt,id\n", b"text\tid\n", b"\n"])
BYTES = st.builds(
    lambda start, lines, end, last: start + end.join(lines) + last,
    STARTS,
    LINES,
    ENDS,
    st.sampled_from([b"\n", b"", b"\r\n"]),
) | st.binary(max_size=80)
NAMES = st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.jsonl", "a.txt", "a.md", "a"])
MAKERS: tuple[Callable[[], Shape], ...] = (
    Shape,
    Shape,
    lambda: Shape(asks=TextTemplate("{{ text | default(row | json) }}", "-t")),
    lambda: Shape(where=Condition("text is defined", "--where")),
    lambda: Shape(prompt_field="text", id_field="id"),
)
FORMATS: tuple[InputFormat, ...] = ("auto", "auto", "csv", "tsv", "jsonl", "text", "whole")
CHOICES = st.just(Choice()) | st.builds(
    Choice,
    offset=st.integers(0, 4),
    sample=st.none() | st.integers(1, 5),
    repeat=st.integers(1, 3),
)


@settings(deadline=None)
@given(
    files=st.lists(st.tuples(NAMES, BYTES), min_size=1, max_size=3),
    shape=st.sampled_from(MAKERS),
    form=st.sampled_from(FORMATS),
    for_text=st.sampled_from(["lines", "whole"]),
    choice=CHOICES,
    limit=st.none() | st.integers(0, 9),
    has_header=st.booleans(),
    encoding=st.sampled_from([None, None, None, "cp1252", "utf-16", "shift_jis"]),
    max_line_bytes=st.sampled_from([2**20, 24]),
    target_rows=st.integers(1, 9),
    chunk_bytes=st.sampled_from([2**18, 2**18, 16, 3]),
    is_folder=st.booleans(),
)
def test_cut_equals_whole(
    files: list[tuple[str, bytes]],
    shape: Callable[[], Shape],
    form: InputFormat,
    for_text: TextFormat,
    choice: Choice,
    limit: int | None,
    has_header: bool,
    encoding: str | None,
    max_line_bytes: int,
    target_rows: int,
    chunk_bytes: int,
    is_folder: bool,
) -> None:
    """Rows, indexes, ids, lines, what is wrong with them, and what a person is told."""
    with tempfile.TemporaryDirectory() as folder, patch.object(chunks, "CHUNK_BYTES", chunk_bytes):
        names = [Path(folder) / f"{place}{name}" for place, (name, _) in enumerate(files)]
        for name, (_, data) in zip(names, files, strict=True):
            name.write_bytes(data)
        inputs = Inputs(
            [InputPath(name, row_id=name.name if is_folder else None) for name in names],
            form,
            max_line_bytes,
            limit,
            for_text,
            encoding,
            has_header,
            shape=shape(),
            choice=choice,
        )
        assert cut(inputs, target_rows) == whole(inputs)
