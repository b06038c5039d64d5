"""Folders and patterns among the inputs."""

import asyncio
import os
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import Prompt
from llmbatch_cli.rows.input.folders import expanded
from llmbatch_cli.rows.input.source import Inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "more").mkdir(parents=True)
    for name, text in (
        ("b.txt", "two\nlines\n"),
        ("a.md", "# one\n"),
        ("more/c", "id,prompt\n1,x\n"),
        ("more/d.jsonl", '"row"\n{"id": "r", "prompt": "other"}\n'),
        (".hidden", "no"),
        ("_SUCCESS", ""),
        ("empty.txt", ""),
    ):
        (tmp_path / "in" / name).write_text(text)
    return tmp_path / "in"


async def read(*names: str) -> list[tuple[int | str, str]]:
    inputs = Inputs(expanded(names))
    inputs.check()
    return await prompts(inputs)


async def prompts(inputs: Inputs) -> list[tuple[int | str, str]]:
    return [
        (row.id, row.messages[0]["content"])
        async for row in inputs.rows()
        if isinstance(row, Prompt)
    ]


async def test_a_text_file_of_a_folder_is_one_prompt(folder: Path) -> None:
    """Its id is its name below the folder; files of rows are rows; hidden ones are left out."""
    assert await read(str(folder)) == [
        ("a.md", "# one"),
        ("b.txt", "two\nlines"),
        ("more/c", "id,prompt\n1,x"),
        (3, "row"),
        ("r", "other"),
    ]


async def test_a_pattern_is_the_files_that_match(folder: Path) -> None:
    """With ** through all folders; ids begin where the pattern does."""
    assert await read(f"{folder}/*.txt") == [("b.txt", "two\nlines")]
    assert await read(f"{folder}/**/*.jsonl", f"{folder}/[a].md") == [
        (0, "row"),
        ("r", "other"),
        ("a.md", "# one"),
    ]


async def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    """And a file named by itself is a prompt a line, as ever."""
    path = tmp_path / "a[1].txt"
    path.write_text("one\ntwo\n")
    assert await read(str(path)) == [(0, "one"), (1, "two")]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    """Before anything is sent."""
    for name, words in ((str(tmp_path), "no files"), (f"{tmp_path}/*.txt", "no file matches")):
        with pytest.raises(UsageError, match=words):
            expanded([name])


async def test_a_pipe_in_a_folder_keeps_its_id_when_it_is_copied(tmp_path: Path) -> None:
    """As --strict and preview read it: it is one prompt, named by its place in the folder."""
    os.mkfifo(tmp_path / "a.txt")
    writing = asyncio.create_task(asyncio.to_thread((tmp_path / "a.txt").write_text, "two\nlines"))
    async with Inputs(expanded([str(tmp_path)])).spooled() as inputs:
        assert await prompts(inputs) == [("a.txt", "two\nlines")]
    await writing
