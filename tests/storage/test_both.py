"""The laws of every storage: a local folder, and a bucket of a simulated S3."""

import threading
from pathlib import Path

import pytest

from llmbatch_cli.storage import Storage, storage_at


@pytest.fixture(params=["local", "store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return storage_at(str(tmp_path / "not" / "there"))
    return storage_at(f"{request.getfixturevalue('bucket').address}/some/prefix")


def test_what_was_put_is_listed_and_read(storage: Storage) -> None:
    """Names are sorted and relative; a range is cut where the file or object ends."""
    assert [*storage.list()] == []
    storage.put("b/2", b"two")
    storage.put("a", b"0123456789")
    storage.put("b/1", b"")
    assert [(entry.name, entry.size) for entry in storage.list()] == [
        ("a", 10),
        ("b/1", 0),
        ("b/2", 3),
    ]
    assert [entry.name for entry in storage.list("b")] == ["b/1", "b/2"]
    assert storage.read("a", 8, 20) == b"89"
    assert storage.read("a", 3) == b"3456789"
    assert storage.read("a", 20) == b""


def test_of_many_that_create_one_one_has(storage: Storage) -> None:
    """And what is there is that one's."""
    won: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        if storage.create("fence", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read("fence") == b"%d" % won[0]
    assert len(won) == 1


def test_what_is_published_replaces_none(storage: Storage) -> None:
    """The first one that is published stays."""
    storage.put("1", b"first")
    storage.put("2", b"second")
    assert storage.publish("1", "parts/out")
    assert not storage.publish("2", "parts/out")
    assert storage.read("parts/out") == b"first"
    assert storage.entry("1") is not None
