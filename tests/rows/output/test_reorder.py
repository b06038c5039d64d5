"""An output in the order of its input."""

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.types import Prompt, Request
from llmbatch_cli.rows.keys import request_key
from llmbatch_cli.rows.output.reorder import put_in_order
from llmbatch_cli.rows.resume import prepare


def prompt(text: str, index: int) -> Prompt:
    return Prompt(index, [{"role": "user", "content": text}], index)


def key(row: Prompt) -> str:
    return request_key("p", Request("m", row.messages, {}), row)


def line(row: Prompt) -> bytes:
    text = row.messages[0]["content"]
    found = {"index": row.index, "key": key(row), "text": text * 3, "error": None}
    return orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)


def write(path: Path, lines: list[bytes]) -> None:
    data = b"".join(lines)
    with path.open("ab") as file:
        file.write(gzip.compress(data) if path.suffix == ".gz" else data)


def lines_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)


@pytest.fixture(params=["out.jsonl", "out.jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_rows_stand_by_their_index(path: Path) -> None:
    """A run's own rows are put in input order, each whole; equal ones stay as they stood."""
    found = [line(prompt("é" * index, index)) for index in (3, 0, 7, 1, 0, 2)]
    write(path, found)
    path.chmod(0o604)
    assert put_in_order(path)
    assert lines_of(path) == [found[place] for place in (1, 4, 3, 5, 0, 2)]
    assert path.stat().st_mode & 0o777 == 0o604
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_in_order_is_left_alone(path: Path) -> None:
    """Nothing is rewritten where nothing changes."""
    write(path, [line(prompt("a", index)) for index in range(4)])
    before = path.stat()
    assert not put_in_order(path)
    assert path.stat() == before or path.stat().st_ino == before.st_ino


def test_an_empty_output_is_in_order(path: Path) -> None:
    """An output without rows is one, too."""
    path.touch()
    assert not put_in_order(path)


@given(
    before=st.lists(st.sampled_from("abcdef"), max_size=10),
    now=st.lists(st.sampled_from("abcdef"), max_size=10),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_resumed_output_follows_the_input_as_it_is_now(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], now: list[str], data: Any
) -> None:
    """Old and new rows stand where their row of input stands; rows of none go last, in their
    old order."""
    path = tmp_path_factory.mktemp("order") / "out.jsonl"
    done = data.draw(st.permutations([prompt(text, i) for i, text in enumerate(before)]))
    old = [line(row) for row in done]
    write(path, old)
    finished = prepare(path)
    rows = [prompt(text, index) for index, text in enumerate(now)]
    sent = [left for row in rows if (left := finished.claim(key(row), row)) is not None]
    new = data.draw(st.permutations([line(row) for row in sent if isinstance(row, Prompt)]))
    write(path, new)
    put_in_order(path, finished)
    found = lines_of(path)
    assert sorted(found) == sorted([*old, *new])
    assert [orjson.loads(row)["text"] for row in found[: len(now)]] == [text * 3 for text in now]
    places = [old.index(row) for row in found[len(now) :]]
    assert places == sorted(places)


@pytest.mark.parametrize("broken", [b"not JSON\n", b"{}\n", b"[]\n", b'{"index": "x"}\n'])
def test_what_cannot_be_ordered_is_left_as_it_is(path: Path, broken: bytes) -> None:
    """A row that cannot be read ends the ordering with the old file whole."""
    write(path, [line(prompt("b", 1)), line(prompt("a", 0)), broken])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="cannot put"):
        put_in_order(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_old_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error amid the rewrite loses nothing."""
    write(path, [line(prompt("b", 1)), line(prompt("a", 0))])
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        put_in_order(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
