"""A local folder and the prefix of a store do the same."""

import pickle
import threading
from pathlib import Path

import pytest

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.folders import folder_at
from llmbatch_cli.cluster.layout import WORK, epoch_file
from llmbatch_cli.cluster.store_folder import CHUNK_BYTES

EPOCH = epoch_file(17, 3)


def grown(folder: Folder, name: str, *pieces: bytes) -> None:
    """A file that was written in pieces, and synced after each."""
    file = folder.create(name)
    assert file is not None
    for piece in pieces:
        file.write(piece)
        file.sync()
    file.close()


def test_a_file_is_replaced_as_a_whole(any_folder: Folder) -> None:
    name = f"{WORK}/plan.json"
    assert any_folder.read(name) is None
    any_folder.replace(name, b"one")
    any_folder.replace(name, b"two")
    assert any_folder.read(name) == b"two"
    assert not any_folder.is_empty()
    assert any_folder.names(WORK) == ["plan.json"]
    any_folder.delete(name, name)
    assert any_folder.read(name) is None


def test_a_file_is_added_once(any_folder: Folder) -> None:
    """The first stays, and nothing else is left."""
    name = f"{WORK}/plan.json"
    assert any_folder.add(name, b"one")
    assert not any_folder.add(name, b"two")
    assert any_folder.read(name) == b"one"
    assert any_folder.names(WORK) == ["plan.json"]


def test_a_growing_file_is_one_file(any_folder: Folder) -> None:
    """However many syncs it took, in pieces of any size."""
    many = [b'{"index": %d}\n' % one for one in range(25)]
    grown(any_folder, EPOCH, *many, b"x" * (CHUNK_BYTES + 1) + b"\n", b"a\rb\n", b"torn")
    assert any_folder.names(WORK) == ["00017.e3.jsonl"]
    assert any_folder.names() == []
    lines = [*any_folder.lines(EPOCH)]
    assert lines == [*many, b"x" * (CHUNK_BYTES + 1) + b"\n", b"a\rb\n"]
    assert b"".join(any_folder.blocks(EPOCH)) == b"".join(lines) + b"torn"
    any_folder.delete(EPOCH)
    assert any_folder.names(WORK) == []


def test_a_line_may_lie_in_two_pieces(any_folder: Folder) -> None:
    grown(any_folder, EPOCH, b"one\ntw", b"", b"o\n", b"\nthree\n")
    assert [*any_folder.lines(EPOCH)] == [b"one\n", b"two\n", b"\n", b"three\n"]


def test_a_growing_file_may_be_empty(any_folder: Folder) -> None:
    """It is there from its creation on."""
    grown(any_folder, EPOCH)
    assert any_folder.names(WORK) == ["00017.e3.jsonl"]
    assert [*any_folder.lines(EPOCH)] == []
    assert any_folder.publish(EPOCH, "part-00017.jsonl")
    assert any_folder.read("part-00017.jsonl") == b""


def test_of_many_that_create_a_file_one_has(any_folder: Folder) -> None:
    """That is the fence: two workers never write to the same epoch."""
    won: list[int] = []

    def create(number: int) -> None:
        if (file := any_folder.create(EPOCH)) is not None:
            won.append(number)
            file.write(b"%d\n" % number)
            file.sync()
            file.close()

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [*any_folder.lines(EPOCH)] == [b"%d\n" % won[0]]
    assert len(won) == 1


def test_what_is_not_synced_may_be_missing_and_what_is_never_is(any_folder: Folder) -> None:
    file = any_folder.create(EPOCH)
    assert file is not None
    file.write(b"1\n")
    file.sync()
    file.write(b"2\n")
    assert [*any_folder.lines(EPOCH)][:1] == [b"1\n"]
    file.close()
    assert [*any_folder.lines(EPOCH)][:1] == [b"1\n"]


def test_a_published_file_replaces_none(any_folder: Folder) -> None:
    """The first one that has the name stays; the same one may be published twice."""
    grown(any_folder, EPOCH, b"1\n", b"2\n")
    other = epoch_file(17, 4)
    grown(any_folder, other, b"other\n")
    final = "part-00017.jsonl"
    assert any_folder.publish(EPOCH, final)
    assert not any_folder.publish(other, final)
    assert any_folder.read(final) == b"1\n2\n"
    assert any_folder.names() == [final]
    assert any_folder.names(WORK) == ["00017.e3.jsonl", "00017.e4.jsonl"]
    any_folder.delete(EPOCH, other)
    assert any_folder.read(final) == b"1\n2\n"
    assert any_folder.names(WORK) == []


def test_a_file_appears_whole_or_not_at_all(any_folder: Folder) -> None:
    name = f"{WORK}/00017.w3.tmp"

    def written(data: bytes, error: Exception | None = None) -> None:
        with any_folder.writer(name) as file:
            for _ in range(40):
                file.write(data)
            assert any_folder.read(name) in (None, b"old" * 40)
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        written(b"torn", ZeroDivisionError())
    assert any_folder.names(WORK) == []
    written(b"old")
    written(b"new" * 2**17)
    assert any_folder.publish(name, "part-00017-2.jsonl")
    assert any_folder.read("part-00017-2.jsonl") == b"new" * 2**17 * 40


def test_programs_read_and_write_files_on_this_machine(any_folder: Folder) -> None:
    """As one that makes tables."""
    any_folder.replace("part-00001.jsonl", b"rows\n")
    with (
        any_folder.here("part-00001.jsonl") as rows,
        any_folder.made_here("part-00001.csv") as table,
    ):
        table.write_bytes(rows.read_bytes().upper())
    assert any_folder.read("part-00001.csv") == b"ROWS\n"
    assert any_folder.names() == ["part-00001.csv", "part-00001.jsonl"]


def test_it_goes_to_another_process(any_folder: Folder) -> None:
    """By its address, without what only this process knows."""
    any_folder.replace("a", b"1")
    data = pickle.dumps(any_folder)
    again = pickle.loads(data)
    assert again.address == any_folder.address
    assert again.read("a") == b"1"
    assert b"PLANTED" not in data.upper()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        folder_at(tmp_path / "out").is_empty()
