"""Shards on a disk and in a store, under several epochs."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cluster.stage import shards_of

from llmbatch_cli.cluster import store_folder
from llmbatch_cli.cluster.active import Active
from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.ground import Presence, begin_run, ground_of, stand_of
from llmbatch_cli.cluster.layout import WORK
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.ui.totals import Totals

RECORD: Mapping[str, Any] = {"tally": {}, "failed": 0, "retryable": 0}


def line(index: int, text: str | None) -> bytes:
    """The row of an outcome; without a text it has failed."""
    error = {"type": "server_error", "message": "", "retryable": True} if text is None else None
    row = {"index": index, "id": str(index), "key": f"k{index}", "text": text, "error": error}
    return json.dumps(row).encode() + b"\n"


async def answered(folder: Folder, lease: Lease, texts: Mapping[int, str | None]) -> Part:
    """A part with these rows, all of them on the storage."""
    part = Part(folder, lease)
    assert part.begin("retryable") is not None
    for index, text in texts.items():
        part.write(line(index, text))
        await part.flush(sync=True)
    return part


def texts(folder: Folder, name: str) -> list[tuple[int, str | None]]:
    return [(row["index"], row["text"]) for row in map(json.loads, folder.lines(name))]


async def test_a_lost_workers_rows_are_in_the_whole(any_folder: Folder) -> None:
    """What it still writes later is no other's, and changes no whole shard."""
    begin_run(any_folder)
    lost = await answered(any_folder, Lease(0, 1, 1), {0: "a", 1: None})
    part = Part(any_folder, Lease(0, 2, 1))
    earlier = part.begin("retryable")
    assert earlier is not None
    assert earlier.keys == {0: "k0", 1: "k1"}  # a failed row of this run has ended, too
    part.write(line(2, "c"))
    await part.flush(sync=True)
    lost.write(line(2, "late"))
    await lost.flush(sync=True)
    lost.write(line(3, "never flushed"))
    part.publish(RECORD)
    assert texts(any_folder, "part-00000.jsonl") in ([(0, "a"), (1, None), (2, "late")],
                                                 [(0, "a"), (1, None), (2, "c")])  # fmt: skip
    whole = any_folder.read("part-00000.jsonl")
    lost.write(line(4, "later"))
    await lost.flush(sync=True)
    lost.close()
    assert any_folder.read("part-00000.jsonl") == whole
    begin_run(any_folder)
    ground = ground_of(any_folder, [3], retry_failed="none")
    assert (ground.done, ground.epochs) == ({0: 2}, {0: 2})


async def test_failed_rows_come_again_in_a_later_run(any_folder: Folder) -> None:
    begin_run(any_folder)
    first = await answered(any_folder, Lease(0, 1, 1), {0: "a", 1: None})
    first.publish({**RECORD, "failed": 1, "retryable": 1})
    begin_run(any_folder)
    ground = ground_of(any_folder, [2])
    assert (ground.done, ground.base) == ({}, {0: 2})
    second = Part(any_folder, Lease(0, 2, 2))
    earlier = second.begin("retryable")
    assert earlier is not None
    assert earlier.keys == {0: "k0"}
    second.write(line(1, "b"))
    await second.flush(sync=True)
    second.publish(RECORD)
    assert any_folder.names() == ["part-00000-2.jsonl"]
    assert texts(any_folder, "part-00000-2.jsonl") == [(0, "a"), (1, "b")]
    assert any_folder.names(WORK) == ["00000.done2.e2.json", "run.json"]
    assert stand_of(any_folder).parts == {0: [(2, "part-00000-2.jsonl")]}


async def test_failed_rows_that_are_not_sent_again_are_known(any_folder: Folder) -> None:
    """In shards that stay whole, and in those that come again for other rows."""
    begin_run(any_folder)
    first = await answered(any_folder, Lease(0, 1, 1), {0: "a", 1: None})
    first.publish({**RECORD, "failed": 1, "retryable": 0})
    begin_run(any_folder)
    ground = ground_of(any_folder, [2])
    assert (ground.done, ground.failed) == ({0: 1}, 1)
    second = Part(any_folder, Lease(0, 2, 2))
    earlier = second.begin("none")
    second.close()
    assert earlier is not None
    active = Active(shards_of(1, 2)[0], second, Totals())
    active.recount(earlier)
    assert (active.totals.skipped, active.totals.failed_before) == (2, 1)


async def test_an_epoch_is_one_workers(any_folder: Folder) -> None:
    (await answered(any_folder, Lease(0, 1, 1), {})).close()
    assert Part(any_folder, Lease(0, 1, 1)).begin("none") is None


async def test_killed_between_publishing_and_tidying(
    any_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole stays whole, and the rest goes."""
    begin_run(any_folder)
    part = await answered(any_folder, Lease(0, 1, 1), {0: "a"})
    with monkeypatch.context() as patch:
        patch.setattr(any_folder, "delete", lambda *names: None)
        part.publish(RECORD)
    assert ground_of(any_folder, [1]).done == {0: 1}
    assert texts(any_folder, "part-00000.jsonl") == [(0, "a")]
    again = Part(any_folder, Lease(0, 2, 1))
    earlier = again.begin("retryable")
    again.close()
    assert earlier is not None
    assert earlier.whole is not None
    assert earlier.whole["epoch"] == 1


def test_of_two_runs_one_stays(any_folder: Folder) -> None:
    """Also where both began at the same moment: the first one hears of the second."""
    first, second = Presence(any_folder), Presence(any_folder)
    assert first.seen() is None
    assert second.seen() is None
    assert first.say()
    assert second.say()
    assert first.seen() is not None
    assert not first.say()
    assert second.say()
    assert second.say(ended=True)
    assert Presence(any_folder).seen() is None


async def test_rows_go_to_a_store_in_few_requests(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written since the last sync goes at once; a lot does not wait for it."""
    monkeypatch.setattr(store_folder, "CHUNK_BYTES", 1_000)
    folder = store_folder.StoreFolder(f"{bucket.address}/out")
    part = Part(folder, Lease(0, 1, 1))
    part.begin("none")
    for index in range(5):
        part.write(line(index, "a"))
        await part.flush(sync=False)
    assert bucket.names == ["out/_work/00000.e1/00000.jsonl"]
    await part.flush(sync=True)
    part.write(line(5, "b" * 2_000))
    await part.flush(sync=False)
    assert bucket.names[1:] == [f"out/_work/00000.e1/0000{n}.jsonl" for n in (1, 2)]
    assert len(bucket.get("out/_work/00000.e1/00001.jsonl").splitlines()) == 5


async def test_a_reply_of_a_store_is_lost(bucket: Any) -> None:
    """A copy that was made and not acknowledged is made; of another one it is not."""
    folder = store_folder.StoreFolder(f"{bucket.address}/out")
    folder.replace("a", b"1")
    folder.replace("b", b"2")
    assert folder.publish("a", "final")
    assert folder.publish("a", "final")
    assert not folder.publish("b", "final")


async def test_what_is_left_of_a_series_is_nobodys(bucket: Any) -> None:
    """Its worker put a chunk when another had published and deleted its epoch."""
    folder = store_folder.StoreFolder(f"{bucket.address}/out")
    slow = await answered(folder, Lease(0, 1, 1), {0: "a"})
    epoch = f"{WORK}/00000.e1.jsonl"
    assert (folder.has(epoch), folder.size(epoch)) == (True, len(line(0, "a")))
    folder.delete(epoch)
    slow.write(line(1, "late"))
    await slow.flush(sync=True)
    assert bucket.names == ["out/_work/00000.e1/00002.jsonl"]
    assert (folder.has(epoch), folder.size(epoch)) == (False, None)
    with pytest.raises(FileNotFoundError):
        list(folder.lines(epoch))
    after = Part(folder, Lease(0, 2, 1))
    earlier = after.begin("none")
    assert earlier is not None
    assert earlier.keys == {}
    after.publish(RECORD)
    begin_run(folder)
    assert folder.names(WORK) == ["00000.done1.e2.json", "run.json"]
