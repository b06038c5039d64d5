"""Any bytes as a table, an array or a row of data: one row each or a refusal, no part of one."""

import asyncio
import csv
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import InputFormat
from llmbatch_cli.core.types import Prompt, Row
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.shape import Shape
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition, TextTemplate

UNHURRIED = settings(deadline=None)
PIECES = st.sampled_from(
    [b"prompt", b"text", b"id", b",", b";", b"\t", b'"', b'""', b"\n", b"\r\n", b"\r", b"a", b" b ",
     b"7", b"[", b"]", b"{", b"}", b":", b'"prompt":', b'"x"', b"null", b"\\", b"\xff", b"\0",
     b"\xef\xbb\xbf", b"\xff\xfe", b"{{ text }}", "é".encode()]
)  # fmt: skip
BYTES = st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=80)
MAKERS: tuple[Callable[[], Shape], ...] = (
    Shape,
    lambda: Shape(asks=TextTemplate("{{ text | default(row | json) }}", "-t")),
    lambda: Shape(where=Condition("text is defined", "--where")),
    lambda: Shape(prompt_field="text", id_field="id"),
)
FORMATS: tuple[InputFormat, ...] = ("auto", "csv", "tsv", "jsonl", "text")
NAMES = st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.md", "a", "-"])
CHOICES = st.builds(
    Choice,
    offset=st.integers(0, 2),
    sample=st.none() | st.integers(1, 3),
    repeat=st.integers(1, 3),
)


def rows_of(name: str, data: bytes, **options: Any) -> list[Row]:
    """The rows of a file of this name, or of standard input; none where it is refused."""

    async def read(path: str) -> list[Row]:
        inputs = Inputs([path], **options)
        if path != "-":
            inputs.check()
        async with aclosing(inputs.rows(stdin=io.BytesIO(data))) as rows:
            return [row async for row in rows]

    with tempfile.TemporaryDirectory() as folder:
        path = name if name == "-" else str(Path(folder) / name)
        if name != "-":
            Path(path).write_bytes(data)
        try:
            return asyncio.run(read(path))
        except UsageError:
            return []


@UNHURRIED
@given(BYTES, NAMES, st.sampled_from(MAKERS), st.sampled_from(FORMATS), CHOICES, st.booleans())
def test_any_bytes_are_rows_or_refused(
    data: bytes,
    name: str,
    shape: Callable[[], Shape],
    form: InputFormat,
    choice: Choice,
    has_header: bool,
) -> None:
    """In every format, with all options: numbered one by one, and each prompt says something."""
    rows = rows_of(
        name, data, shape=shape(), input_format=form, choice=choice, has_header=has_header
    )
    assert [row.index for row in rows] == list(range(len(rows)))
    for row in rows:
        if isinstance(row, Prompt):
            assert any(message.get("content") for message in row.messages)
        else:
            assert row.reason


@UNHURRIED
@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_only_whole_cells_are_sent(data: bytes) -> None:
    """Of a table as Python's own reader has it, however broken it is."""
    table = b"prompt,note\n" + data.replace(b"\0", b"").replace(b"\r", b"")
    text = table.decode(errors="replace")
    cells = {record[0] for record in csv.reader(io.StringIO(text, newline="")) if len(record) > 1}
    for row in rows_of("a.csv", table):
        if isinstance(row, Prompt):
            assert row.messages[0]["content"] in cells


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prompt", "text", "id", "x", "role"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@UNHURRIED
@given(
    st.lists(
        st.builds(lambda text: {"prompt": f"p{text}"}, st.text(max_size=9)) | ITEMS, max_size=6
    ),
    st.sampled_from([None, 0, 2]),
    st.sampled_from(["a.json", "-"]),
    st.booleans(),
)
def test_every_item_of_an_array_is_a_row(
    items: list[Any], indent: int | None, name: str, is_inside: bool
) -> None:
    """Also of one in an object; a prompt among them is sent as it is, whatever stands beside it."""
    items = [{"prompt": "first"}, *items]
    value: Any = {"version": 1, "data": items} if is_inside else items
    rows = rows_of(name, json.dumps(value, indent=indent).encode())
    if is_inside and not all(isinstance(item, dict) and "role" not in item for item in items):
        return  # not clearly rows
    assert len(rows) == len(items)
    for item, row in zip(items, rows, strict=True):
        if isinstance(item, dict) and str(item.get("prompt")).strip() and item.keys() == {"prompt"}:
            prompt = item["prompt"]
            if isinstance(prompt, str):
                assert isinstance(row, Prompt)
                assert row.messages == [{"role": "user", "content": prompt}]
        elif isinstance(item, dict) and "prompt" not in item:
            assert not isinstance(row, Prompt)


@pytest.mark.parametrize("name", ["a.json", "-"])
@given(st.data())
@UNHURRIED
def test_an_array_that_is_cut_or_damaged_is_not_sent_twice(name: str, data: st.DataObject) -> None:
    """Each item at most once, in order, and no part of one."""
    whole = orjson.dumps([{"prompt": f"item {number}"} for number in range(4)])
    place = data.draw(st.integers(0, len(whole)))
    broken = whole[:place] + data.draw(st.sampled_from([b"", b"]", b'"', b"x", b"}", b"\n", b","]))
    broken += whole[place + data.draw(st.integers(0, 3)) :]
    texts = [row.messages[0]["content"] for row in rows_of(name, broken) if isinstance(row, Prompt)]
    whole_items = [text for text in texts if text in {f"item {number}" for number in range(4)}]
    assert whole_items == sorted(set(whole_items))
    assert len(texts) - len(whole_items) <= 1  # the one whose text is damaged
