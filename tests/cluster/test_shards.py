"""Shards of files as they mostly are, and files of which there can be none."""

import os
from pathlib import Path

import pytest
from cluster.cut import Result, cut, shards_of, whole

from llmbatch_cli.cluster.cutting import cut_file
from llmbatch_cli.cluster.fingerprint import fingerprint
from llmbatch_cli.cluster.shards import Changed, Shard, rows_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.folders import expanded
from llmbatch_cli.rows.input.source import Inputs


def lines(count: int) -> bytes:
    return b"".join(b'{"prompt": "p%d"}\n' % one for one in range(count))


def rows(result: Result) -> list[Row]:
    assert not isinstance(result, str), result
    return result[0]


def test_files_are_cut_where_rows_begin(tmp_path: Path) -> None:
    """JSONL and text: pieces of the target's size, small files together."""
    big, text, small = tmp_path / "big.jsonl", tmp_path / "text.txt", tmp_path / "small.jsonl"
    big.write_bytes(lines(100))
    text.write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\nthree")
    small.write_bytes(b'{"id": 7, "prompt": "x"}\nbroken\n')
    inputs = Inputs([str(big), str(text), str(small)])
    assert [shard.rows for shard in shards_of(inputs, 30)] == [30, 30, 30, 15]
    assert cut(inputs, 30) == whole(inputs)
    assert cut(inputs, 1) == whole(inputs)


def test_pieces_side_by_side_are_one(tmp_path: Path) -> None:
    """Files are cut before it is known how large shards are to be."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(100))
    inputs = Inputs([str(path)], choice=Choice(offset=7), limit=85)
    shards = shards_of(inputs, 30, fine_rows=10)
    assert [[piece.rows for piece in shard.pieces] for shard in shards] == [[23], [30], [30], [2]]
    assert cut(inputs, 30) == whole(inputs)


def test_a_huge_file_has_no_more_pieces(tmp_path: Path) -> None:
    """They are larger instead."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" * 100_000)
    cut = cut_file(str(path), Inputs([str(path)]), 1)
    assert 8_192 <= len(cut.pieces) <= 16_384
    assert {piece.rows for piece in cut.pieces[:-1]} == {8}


def test_values_over_many_lines_are_not_cut(tmp_path: Path) -> None:
    """A piece ends only where a reader that begins there sees what one read sees."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt":\n"a"}\n{"prompt": "b"} {"prompt":\n"c"}\n' + lines(3))
    inputs = Inputs([str(path)])
    assert [shard.rows for shard in shards_of(inputs, 1)] == [1, 2, 1, 1, 1]
    assert cut(inputs, 1) == whole(inputs)


def test_magic_in_the_middle_of_a_file_is_none(tmp_path: Path) -> None:
    """A shard that begins as a gzip file, a UTF-16 text or a table does is none."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\x1f\x8btwo\n\xff\xfet\0\n\xef\xbb\xbf{\nPAR1\x15\nprompt,id\n1,2\n")
    inputs = Inputs([str(path)], "text")
    assert len(shards_of(inputs, 1)) == 7
    assert cut(inputs, 1) == whole(inputs)


def test_a_folder_of_texts_is_few_shards(tmp_path: Path) -> None:
    """Each keeps the name that is its row's id, also one that is not UTF-8."""
    for number in range(50):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number}\n")
    (tmp_path / os.fsdecode(b"z\xff.txt")).write_text("last\n")
    inputs = Inputs(expanded([str(tmp_path)]))
    shards = shards_of(inputs, 20)
    assert [shard.rows for shard in shards] == [20, 20, 11]
    assert cut(inputs, 20) == whole(inputs)
    assert rows(cut(inputs, 20))[49].id == "049.txt"


def test_what_the_first_row_decides_holds_in_all_shards(tmp_path: Path) -> None:
    """Also where a later row would decide otherwise, and where a file before has decided."""
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b'{"a": "one", "b": 1}\n' + b'{"a": 1, "b": "two"}\n' * 9)
    for data in (b'{"a": "x", "b": "y"}\n' * 3, b'{"a": 1, "b": 2}\n{"a": "x", "b": 1}\n'):
        second.write_bytes(data + b'{"a": 1, "b": "z"}\n' * 3)
        inputs = Inputs([str(first), str(second)])
        result = cut(inputs, 2)
        assert result == whole(inputs)
        asked = [row.messages[0]["content"] for row in rows(result) if not hasattr(row, "reason")]
        assert {*asked} == {"one", "x"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"x": 1}\n', 'no field is "prompt"'),
        (b'{"prompt": ""}\n' * 30, "the first 20 rows are all invalid"),
        (b"%PDF-1.7\n", "it is a document"),
    ],
)
def test_what_ends_a_run_ends_the_cutting(tmp_path: Path, data: bytes, reason: str) -> None:
    """As one read would; behind another file it is rows that cannot be read."""
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    bad.write_bytes(data)
    good.write_bytes(lines(2))
    with pytest.raises(UsageError, match=reason):
        cut_file(str(bad), Inputs([str(bad)]), 10)
    inputs = Inputs([str(good), str(bad)])
    assert cut(inputs, 10) == whole(inputs)


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    """Standard input and pipes; a file that is not there is no file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name, words in (("-", "standard input"), (str(pipe), "pipe"), ("/none", "no such file")):
        with pytest.raises(UsageError, match=words):
            cut_file(name, Inputs([name]), 10)


async def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """Rows that are gone, or more than there were, end the shard: others have their numbers."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(20))
    inputs = Inputs([str(path)])
    first, second = shards_of(inputs, 10)

    async def read(shard: Shard) -> int:
        return len([row async for row in rows_of(shard, inputs)])

    path.write_bytes(lines(25))
    assert await read(first) == 10
    path.write_bytes(lines(20).replace(b"p3", b'"}\n{'))
    with pytest.raises(Changed, match="has changed"):
        await read(first)
    path.write_bytes(lines(15))
    with pytest.raises(Changed, match="has changed"):
        await read(second)
    path.unlink()
    with pytest.raises(Changed, match="No such file"):
        await read(second)


async def test_what_was_said_is_not_said_again(tmp_path: Path) -> None:
    """What is known from the cutting is said by whoever joins the files, and by no shard."""
    path, other, third = (tmp_path / name for name in ("a", "b.jsonl", "c.jsonl"))
    path.write_bytes(b"one\ntwo\nthree\n")
    other.write_bytes(b'{"text": "t", "temperature": 1}\n' * 9)
    third.write_bytes(other.read_bytes())
    inputs = Inputs([str(path), str(other), str(third)])
    said: list[Event] = []
    shards = shards_of(inputs, 2, said.append)
    words = [one.message.partition(": ")[2] for one in said if isinstance(one, Notice)]
    assert [one.partition(" (")[0] for one in words] == [
        "read as plain text, one prompt per line",
        'the prompt is the field "text"',
        'the field "temperature" is sent as a parameter',
        'the field "temperature" is sent as a parameter',
    ]
    said.clear()
    for shard in shards:
        assert [row async for row in rows_of(shard, inputs, said.append)]
    assert said == []


def test_a_prompt_of_the_command_line_is_a_shard() -> None:
    """With its repetitions."""
    inputs = Inputs((), prompt="hello", choice=Choice(repeat=3))
    assert [shard.rows for shard in shards_of(inputs, 10)] == [3]
    assert cut(inputs, 10) == whole(inputs)


def test_a_fingerprint_notices_an_edit(tmp_path: Path) -> None:
    """Of a small file any; of a large one those at its ends, and all that change its size."""
    small, large, copy = tmp_path / "small", tmp_path / "large", tmp_path / "copy"
    small.write_bytes(lines(10))
    copy.write_bytes(lines(10))
    assert fingerprint(str(small)) == fingerprint(str(copy))
    copy.write_bytes(lines(10).replace(b"p5", b"p6"))
    assert fingerprint(str(small)) != fingerprint(str(copy))
    data = lines(10) * 10_000
    large.write_bytes(data)
    known = fingerprint(str(large))
    for changed in (b"x" + data[1:], data[:-2] + b"x\n", data + b"\n"):
        large.write_bytes(changed)
        assert fingerprint(str(large)) != known
