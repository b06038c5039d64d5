"""Rows in a list within an object, and objects that are rows themselves."""

import asyncio
import io
import json
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.source import Inputs

ITEMS = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]


async def rows(name: str, data: bytes = b"") -> list[Row]:
    async with aclosing(Inputs([name]).rows(stdin=io.BytesIO(data))) as found:
        return [row async for row in found]


def texts(found: list[Row]) -> list[str]:
    return [row.messages[0]["content"] for row in found if isinstance(row, Prompt)]


@pytest.mark.parametrize(
    "value",
    [
        {"data": ITEMS},
        {"version": "1.0", "meta": {"n": [1]}, "data": ITEMS, "license": "MIT"},
        {"note": 'a "[" in a text', "rows": ITEMS, "empty": []},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
async def test_the_items_are_the_rows(value: Any, indent: int | None, tmp_path: Path) -> None:
    """Pretty-printed or on one line, in a file as in a pipe; each with its line."""
    path = tmp_path / "a.json"
    text = json.dumps(value, indent=indent)
    path.write_text(text)
    found = await rows(str(path))
    assert [row.id for row in found] == ["a", "b"]
    if indent:
        assert text.splitlines()[(found[1].line or 0) - 1].strip() == "{"
    assert texts(await rows("-", text.encode() + b"\n")) == ["one", "two"]


async def test_a_long_list_is_read_item_by_item(tmp_path: Path) -> None:
    """What is longer than what is looked at goes the same way."""
    path = tmp_path / "a.json"
    items = [{"id": n, "prompt": f"{n} " + "x" * 1_000} for n in range(3_000)]
    path.write_text(json.dumps({"version": 1, "data": items, "end": True}))
    found = await rows(str(path))
    assert [row.id for row in found] == list(range(3_000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt": "hi", "sources": [{"url": "x"}]}, ["hi"]),
        ({"question": "hi", "answers": [{"text": "x"}]}, ["hi"]),
        ({"messages": [{"role": "user", "content": "hi"}]}, ["hi"]),
        ({"conversations": [{"from": "human", "value": "hi"}]}, ["hi"]),
    ],
)
async def test_a_row_with_a_list_is_a_row(
    value: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    for indent in (None, 1):
        path.write_text(json.dumps(value, indent=indent))
        assert texts(await rows(str(path))) == expected


async def test_several_objects_are_rows(tmp_path: Path) -> None:
    """Objects with a list each, one a line: none of them is the file."""
    path = tmp_path / "a.json"
    line = json.dumps({"title": "hi", "links": [{"to": "x"}]})
    path.write_text(f"{line}\n{line}\n")
    assert texts(await rows(str(path))) == ["hi", "hi"]


async def test_a_list_that_is_cut_off_is_an_error_at_its_end(tmp_path: Path) -> None:
    """The rows before are read where the list is long; else nothing of it is a row."""
    path = tmp_path / "a.json"
    items = [{"id": n, "prompt": "x" * 1_000} for n in range(3_000)]
    path.write_text(json.dumps({"data": items})[:-500])
    found = await rows(str(path))
    assert len(found) == 3_000
    assert isinstance(found[-1], BadRow)


async def test_rows_over_many_lines_in_a_pipe_do_not_wait() -> None:
    """For what comes behind, as an object around a list has to: each is a row once it is whole."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb", buffering=0) as writer:
        async with aclosing(Inputs(["-"]).rows(stdin=stdin)) as found:
            for text in ("one", "two"):
                row = {"prompt": text, "links": [{"to": "x"}]}
                writer.write(json.dumps(row, indent=1).encode() + b"\n")
                async with asyncio.timeout(5):
                    assert texts([await anext(found)]) == [text]
            writer.close()
