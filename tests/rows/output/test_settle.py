"""An output gets the ids and the order of its input at the end of a resumed run."""

import gzip
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.types import Prompt, Request
from llmbatch_cli.rows.finished import FinishedRows
from llmbatch_cli.rows.keys import request_key
from llmbatch_cli.rows.output.render import dump
from llmbatch_cli.rows.output.settle import settle
from llmbatch_cli.rows.resume import prepare


def prompt(text: str, index: int, **more: Any) -> Prompt:
    row = Prompt(index, [{"role": "user", "content": text}], index)
    row = replace(row, **more)
    row.key = request_key("p", Request("m", row.messages, {}), row)
    return row


def fields_of(row: Prompt) -> dict[str, Any]:
    return {"index": row.index, "id": row.id, "metadata": dict(row.metadata), "key": row.key}


def line(row: Prompt, **more: Any) -> bytes:
    text = row.messages[0]["content"]
    return dump({**fields_of(row), "text": text * 3, "error": None, **more})


def write(path: Path, lines: Sequence[bytes]) -> None:
    data = b"".join(lines)
    with path.open("ab") as file:
        file.write(gzip.compress(data) if path.suffix == ".gz" else data)


def lines_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)


def go_on(path: Path, rows: Sequence[Prompt]) -> tuple[FinishedRows, list[Prompt]]:
    """The rows to send."""
    finished = prepare(path)
    return finished, [row for row in rows if not finished.claim(row)]


def put_in_order(path: Path) -> bool:
    return bool(settle(path, FinishedRows(), ordered=True))


@pytest.fixture(params=["out.jsonl", "out.jsonl.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def names(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir()]


def test_rows_stand_by_their_index(path: Path) -> None:
    """A run's own rows are put in input order, each whole; equal ones stay as they stood."""
    found = [line(prompt("é" * index, index)) for index in (3, 0, 7, 1, 0, 2)]
    write(path, found)
    path.chmod(0o604)
    assert put_in_order(path)
    assert lines_of(path) == [found[place] for place in (1, 4, 3, 5, 0, 2)]
    assert path.stat().st_mode & 0o777 == 0o604
    assert names(path) == [path.name]


@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_right_is_left_alone(path: Path, ordered: bool) -> None:
    """Nothing is rewritten where nothing changes."""
    rows = [prompt("a", index) for index in range(4)]
    write(path, [line(row) for row in (rows if ordered else reversed(rows))])
    before = path.stat()
    finished, sent = go_on(path, rows)
    assert not settle(path, finished, ordered=ordered)
    assert (sent, path.stat().st_ino) == ([], before.st_ino)


def test_an_empty_output_is_in_order(path: Path) -> None:
    """An output without rows is one, too."""
    path.touch()
    assert not put_in_order(path)


def test_a_renamed_row_is_written_under_its_new_id(path: Path) -> None:
    """It gets the new id, index, metadata and key; everything else keeps its value."""
    more = {"usage": {"cost": 0.1 + 0.2}, "tool": [2**80, -(2**70), 1.5e300], "ü": "\u2028"}
    old = [prompt("a", 0, id="x", metadata={"n": 1}), prompt("b", 1)]
    write(path, [line(old[0], **more), line(old[1])])
    rows = [prompt("b", 0), prompt("a", 1, id="y", metadata={"n": 2**90, "new": "é"})]
    finished, sent = go_on(path, rows)
    assert (sent, finished.changed) == ([], 2)
    assert settle(path, finished, ordered=False)
    assert lines_of(path) == [line(rows[1], **more), line(rows[0])]
    assert names(path) == [path.name]
    finished, sent = go_on(path, rows)
    assert (sent, finished.changed, finished.untaken) == ([], 0, 0)


def test_a_number_that_was_the_index_stays_the_id(path: Path) -> None:
    """An id that happens to be the row's index is kept when the row moves."""
    write(path, [line(prompt("a", 0, id=0))])
    row = prompt("a", 1, id=0)
    finished, sent = go_on(path, [prompt("z", 0, id=9), row])
    assert [row.id for row in sent] == [9]
    assert settle(path, finished, ordered=False)
    assert lines_of(path) == [line(row)]


def test_many_new_fields_go_to_a_file_without_a_name(path: Path) -> None:
    """New fields of any size are written, and nothing stands beside the output meanwhile."""
    write(path, [line(prompt(str(index), index)) for index in range(300)])
    rows = [prompt(str(index), index, metadata={"m": "m" * 10_000}) for index in range(300)]
    finished, sent = go_on(path, rows)
    assert (sent, names(path)) == ([], [path.name])
    assert settle(path, finished, ordered=True)
    assert lines_of(path) == [line(row) for row in rows]


class Inputs:
    """Inputs and how people edit them."""

    ids = st.none() | st.integers(0, 4) | st.sampled_from(["x", "y"])
    lines = st.lists(st.tuples(st.sampled_from("abc"), ids, st.sampled_from([None, 1])), max_size=8)

    @staticmethod
    def rows(lines: Sequence[tuple[str, Any, Any]]) -> list[Prompt]:
        return [
            prompt(text, index, id=index if own is None else own, metadata={"m": more})
            for index, (text, own, more) in enumerate(lines)
        ]


@given(before=Inputs.lines, now=Inputs.lines, ordered=st.booleans(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_every_row_of_the_input_stands_in_the_output_once(
    tmp_path_factory: pytest.TempPathFactory, before: Any, now: Any, ordered: bool, data: Any
) -> None:
    """After any edits and kills, each row of input has one row of output with its index, id,
    metadata and key; no request that is there is sent; rows of no input row stay as they were,
    with `ordered` at the end."""
    path = tmp_path_factory.mktemp("settled") / data.draw(st.sampled_from(["o", "o.gz"]))
    old = data.draw(st.permutations(Inputs.rows(before)))
    write(path, [line(row) for row in old])
    there = Counter(row.messages[0]["content"] for row in old)
    for _ in range(data.draw(st.integers(0, 2))):  # runs that are killed before they settle
        _, sent = go_on(path, Inputs.rows(now))
        some = data.draw(st.permutations(sent))[: data.draw(st.integers(0, len(sent)))]
        write(path, [line(row) for row in some])
        there += Counter(row.messages[0]["content"] for row in some)
    stood = lines_of(path)

    rows = Inputs.rows(now)
    finished, sent = go_on(path, rows)
    wanted = Counter(row.messages[0]["content"] for row in rows)
    assert Counter(row.messages[0]["content"] for row in sent) == wanted - there
    write(path, [line(row) for row in data.draw(st.permutations(sent))])
    settle(path, finished, ordered=ordered)

    found = lines_of(path)
    left = Counter(found) - Counter(line(row) for row in rows)
    assert left.total() == len(found) - len(rows) == finished.untaken
    assert left <= Counter(stood)
    if ordered:
        assert found[: len(rows)] == [line(row) for row in rows]
        places = [stood.index(row) for row in found[len(rows) :]]
        assert places == sorted(places)
    assert go_on(path, rows)[1] == []


@pytest.mark.parametrize("broken", [b"not JSON\n", b"{}\n", b"[]\n", b'{"index": "x"}\n'])
def test_what_cannot_be_read_is_left_as_it_is(path: Path, broken: bytes) -> None:
    """A row that cannot be read ends the rewrite with the old file whole."""
    write(path, [line(prompt("b", 1)), line(prompt("a", 0)), broken])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="cannot rewrite"):
        put_in_order(path)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error amid the rewrite loses nothing."""
    write(path, [line(prompt("b", 1)), line(prompt("a", 0))])
    before = path.read_bytes()
    finished, _ = go_on(path, [prompt("b", 0)])

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        settle(path, finished, ordered=False)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


def test_a_full_disk_amid_the_claims_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where new fields cannot be stored the run ends with a message, not with a wrong id."""
    finished = FinishedRows(tmp_path / "gone")
    finished.add(prompt("a", 0).key or "", 0)
    with pytest.raises(OutputError, match="cannot store"):
        finished.claim(prompt("a", 1, metadata={"m": "m" * 2**21}))
