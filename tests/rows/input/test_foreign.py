"""Inputs that are no prompts: refused by name, first bytes or shape, with the way from there."""

import asyncio
import gzip
import io
import zipfile
from contextlib import aclosing
from pathlib import Path

import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import BadRow, Row
from llmbatch_cli.rows.input.source import Inputs

CSV = b'id,question\n1,"What is 2+2?"\n2,"Name a city, please"\n'


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", "hi")
    return data.getvalue()


async def rows(
    name: str, data: bytes = b"", for_text: str = "lines", form: str = "auto"
) -> list[Row]:
    inputs = Inputs([name], input_format=form, for_text=for_text)  # type: ignore[arg-type]
    async with aclosing(inputs.rows(stdin=io.BytesIO(data))) as found:
        return [row async for row in found]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped(), "zip archive or an Office file"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "an archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (b"%PDF-1.7\n%", "a document"),
        (b"{\\rtf1\\ansi", "a document"),
        (b"SQLite format 3\0", "a database"),
        (b"\x93NUMPY\1\0", "binary data"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"a" * 257 + b"ustar\0", "an archive"),
        (b"\x0b\x02\x80hi\x03\n", "binary data"),  # brotli has no first bytes of its own
        (b"- prompt: one\n- prompt: two\n", "YAML"),
        (b"---\n- prompt: one\n", "YAML"),
        (b"<!DOCTYPE html>\n<html>\n", "HTML"),
    ],
)
async def test_an_input_that_is_no_prompts_ends_the_run(
    tmp_path: Path, data: bytes, words: str
) -> None:
    """From standard input, packed, or by a name that says otherwise (AditthyaSS/iloveAgents
    PR 615): no header line and no packed bytes are sent."""
    for name in ("-", "a", "a.txt", "a.jsonl"):
        for piece in (data, gzip.compress(data)):
            path = tmp_path / name
            if name == "-" or not data.startswith(b"{"):
                with pytest.raises(UsageError) as caught:
                    path.write_bytes(piece)
                    await rows(name if name == "-" else str(path), piece)
                assert words in caught.value.message
                assert caught.value.hint
    with pytest.raises(UsageError, match="cannot be read as prompts"):
        path = tmp_path / "b.txt"
        path.write_bytes(data)
        Inputs([str(path)]).check()


@pytest.mark.parametrize(
    "suffix",
    [*("zip", "lz4", "br", "7z", "pdf", "docx", "yaml")],
)
def test_a_name_that_says_so_is_enough(tmp_path: Path, suffix: str) -> None:
    """Before anything is read; the option that names the format reads it all the same."""
    path = tmp_path / f"prompts.{suffix.upper()}"
    path.write_bytes(b'"hi"\n')
    packed = tmp_path / f"prompts.{suffix}.gz"
    packed.write_bytes(gzip.compress(b'"hi"\n'))
    for name in (path, packed):
        with pytest.raises(UsageError, match="cannot be read as prompts"):
            Inputs([str(name)]).check()
        assert len(asyncio.run(rows(str(name), form="jsonl"))) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"Compare red, green and blue\nCompare one, two and three\n",
        b"red,green,blue\none,two,three\n",
        b"id,question\n",
        b"Prompt\n",
        b"text, please\nlabel, please\n",
        b"question, answer\nWhat is the question, and what is the answer, and why?\nx\n",
        b"ORC is what?\nPARIS\n",
        b"ID3 tags?\nPK and GGUF\n",
        b"- buy milk\n- buy eggs\n",
        b"<b>bold</b>?\n",
        b"",
    ],
)
async def test_what_may_be_text_is_text(data: bytes) -> None:
    """Only what is unmistakable is refused; each line is a prompt."""
    assert len(await rows("-", data)) == data.count(b"\n")


async def test_a_table_is_one_prompt_where_the_whole_is() -> None:
    """`cat table.csv | llmbatch race` asks about it; a line a prompt is what no one means."""
    (row,) = await rows("-", CSV, for_text="whole")
    assert not isinstance(row, BadRow)
    assert len(await rows("-", CSV, form="text")) == 3


async def test_a_text_of_json_rows_is_not_sent_line_by_line(tmp_path: Path) -> None:
    """JSON under a text's name says how to read it."""
    for data in (
        b'{"prompt": "a"}\n{"prompt": "b"}\n',
        b'[\n"a"\n]\n',
        b'{\n"prompt": "a"\n}',
        b'# one\n{"prompt": "a"}\n',
    ):
        path = tmp_path / "a.txt"
        path.write_bytes(data)
        with pytest.raises(UsageError, match="text with JSON in it") as caught:
            await rows(str(path))
        assert "--input-format jsonl" in (caught.value.hint or "")


async def test_behind_the_first_rows_it_is_one_bad_row(tmp_path: Path) -> None:
    """A pipe that turns out to be no prompts costs itself alone, once others are sent."""
    first, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b'"a"\n')
    other.write_bytes(CSV)
    inputs = Inputs([str(first), str(other)])
    found = [row async for row in inputs.rows()]
    assert [type(row) is BadRow for row in found] == [False, True]
    assert "a table (CSV)" in getattr(found[1], "reason")  # noqa: B009
    with pytest.raises(UsageError):
        inputs.check()
