"""A local folder as a storage."""

import os
from pathlib import Path

import pytest

from llmbatch_cli.storage import Storage, located, storage_at


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_at(str(tmp_path / "not" / "there"))


def test_what_is_missing_is_told_apart(storage: Storage) -> None:
    """A missing file has no entry, cannot be read, and can be deleted."""
    assert storage.entry("a") is None
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    storage.delete("a")


def test_a_folder_without_links_has_the_same_laws(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has no hard links, neither is anything replaced."""

    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert storage.create("1", b"first")
    assert not storage.create("1", b"second")
    assert storage.publish("1", "out")
    assert not storage.publish("1", "out")
    assert storage.read("out") == b"first"


def test_a_file_appears_whole_or_not_at_all(storage: Storage) -> None:
    """While it is written, and after an error, the old one is there and nothing else."""
    storage.put("out", b"old")
    with pytest.raises(RuntimeError), storage.writer("out") as file:
        file.write(b"half")
        assert [entry.name for entry in storage.list()] == ["out"]
        raise RuntimeError
    assert storage.read("out") == b"old"
    with storage.writer("out") as file:
        file.write(b"new ")
        file.write(b"one")
    assert storage.read("out") == b"new one"
    assert len([*storage.list()]) == 1


def test_another_version_is_refused(storage: Storage) -> None:
    """A file that has changed since it was looked at is not read as that one."""
    storage.put("in", b"one")
    entry = storage.entry("in")
    assert entry is not None
    with storage.open("in", entry.version) as file:
        assert file.read(10) == b"one"
    storage.put("in", b"two!")
    with pytest.raises(OSError, match="the file has changed"):
        storage.open("in", entry.version)


@pytest.mark.parametrize("name", ["", "../a", "a/../b", "/etc/passwd", "a//b"])
def test_no_name_leads_out(storage: Storage, name: str) -> None:
    """A name is one of the folder's own."""
    with pytest.raises(ValueError, match="no name of a file"):
        storage.put(name, b"")


def test_an_address_is_a_folder_and_a_name(tmp_path: Path) -> None:
    """Of a path as of an object."""
    storage, name = located(f"{tmp_path}/a/rows.jsonl")
    assert (storage.address, name) == (f"{tmp_path}/a", "rows.jsonl")
    assert located("rows.jsonl")[0].address == "."
    assert located("/rows.jsonl")[0].address == "/"
