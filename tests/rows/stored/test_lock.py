"""One run per output in a store."""

import os
from pathlib import Path

import orjson
import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.stored import lock as locks
from llmbatch_cli.rows.stored.lock import DEAD_S, store_lock
from llmbatch_cli.storage import Storage, storage_at


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return storage_at(str(tmp_path))


def foreign(storage: Storage, **changes: object) -> None:
    """The lock of a run on another machine, seen at the time 1000."""
    owner = {"token": "t", "machine": "elsewhere/1", "pid": 7, "seen_at": 1000.0}
    storage.put("out.lock", orjson.dumps({**owner, **changes}))


def test_a_second_run_is_refused_while_the_first_lives(storage: Storage) -> None:
    """And says who has it; at the end nothing is left."""
    with store_lock(storage, "out"):
        with pytest.raises(UsageError, match=rf"another run \(process {os.getpid()} on "):
            store_lock(storage, "out").__enter__()
        assert storage.entry("out.lock") is not None
    assert [*storage.list()] == []


def test_a_lock_of_another_machine_is_kept_while_it_is_fresh(storage: Storage) -> None:
    """The error says how to break it."""
    foreign(storage)
    with pytest.raises(UsageError, match="seen 30 s ago") as caught:
        store_lock(storage, "out", lambda: 1030.0).__enter__()
    assert f"delete {storage.address}/out.lock" in (caught.value.hint or "")


def test_a_lock_that_was_not_renewed_is_taken(storage: Storage) -> None:
    """Its owner has died."""
    foreign(storage)
    with store_lock(storage, "out", lambda: 1001.0 + DEAD_S) as lock:
        assert orjson.loads(storage.read("out.lock"))["token"] == lock.token


def test_a_lock_of_a_process_that_is_gone_is_taken_at_once(storage: Storage) -> None:
    """After a kill nobody waits on the same machine."""
    foreign(storage, machine=locks._machine(), pid=2**22 + 1)
    with store_lock(storage, "out", lambda: 1000.0):
        pass


def test_what_is_no_lock_of_ours_is_not_waited_for(storage: Storage) -> None:
    """Half a lock, or another program's file, has no owner."""
    storage.put("out.lock", b"{")
    with store_lock(storage, "out"):
        pass


def test_a_beat_renews_it_and_sees_that_it_is_lost(storage: Storage) -> None:
    """A lock that another run has taken is neither renewed nor removed."""
    now = 1000.0
    with store_lock(storage, "out", lambda: now) as lock:
        now = 1050.0
        lock.beat()
        assert orjson.loads(storage.read("out.lock"))["seen_at"] == now
        seen = [lock.is_lost]
        foreign(storage)
        lock.beat()
        assert [*seen, lock.is_lost] == [False, True]
    assert orjson.loads(storage.read("out.lock"))["token"] == "t"
