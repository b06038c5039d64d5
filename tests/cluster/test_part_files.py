"""What lies in the folder of an output: what disks lose of it, and how a run goes on with it."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from cluster.one_part import OPEN, answers, begun, outcome, put

from llmbatch_cli.cluster.ground import begin_run, ground_of, stand_of
from llmbatch_cli.cluster.layout import WORK, done_file, epoch_file, part_file
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Failure, Prompt
from llmbatch_cli.rows.output.render import render


def test_a_part_of_this_run_is_not_sent_again(folder: LocalFolder) -> None:
    """Its worker was lost after the link: the next hears that all is done, with its figures."""
    first = begun(folder, 1)
    record = put(first, [outcome(0, "0"), outcome(1, None)])
    first.publish(record)
    after = Part(folder, Lease(0, 2, 1))
    OPEN.append(after)
    earlier = after.begin("all")
    assert earlier is not None
    assert earlier.whole is not None
    assert earlier.whole["tally"] == record["tally"]


def test_the_next_counts_what_the_one_before_has_written_since(folder: LocalFolder) -> None:
    """It was still writing when the next began: the rows are those written first, and the figures
    are theirs."""
    slow = begun(folder, 1)
    put(slow, [outcome(0, "0")])
    after = begun(folder, 2)
    put(slow, [outcome(1, "early"), outcome(2, None)])
    record = put(after, [outcome(1, None), outcome(2, "late"), outcome(3, "3")])
    said = after.publish(record)
    assert answers(folder) == {0: "0", 1: "early", 2: "late", 3: "3"}
    assert (said["tally"]["rows"], said["tally"]["answered"]) == (4, 4)
    assert (said["failed"], said["tally"]["failed"]) == (0, {})


# What disks do


@pytest.mark.parametrize("bad", [b"\0" * 40 + b"\n", b"{}\n", b"[1]\n", b"null\n", b'{"index":'])
def test_what_a_disk_has_lost_is_sent_again(folder: LocalFolder, bad: bytes) -> None:
    """Lines of NULs, of nothing known, and a torn end."""
    first = begun(folder, 1)
    put(first, [outcome(0, "0")])
    with (folder.path / epoch_file(0, 1)).open("ab") as file:
        file.write(bad)
    after = begun(folder, 2)
    assert [after.has(Prompt(n, [], n, key=f"key{n}")) for n in (0, 1)] == [True, False]
    after.publish(put(after, [outcome(1, "1")]))
    assert answers(folder) == {0: "0", 1: "1"}


def test_halves_of_two_rows_are_no_row(folder: LocalFolder) -> None:
    """Of a row's several lines the last was lost, and of the next one the first."""
    first = begun(folder, 1)
    row = {"error": None, "text": "x", "key": "key"}
    for index, part in ((0, [1, 2]), (1, [2, 2]), (2, [1, 2]), (2, [2, 2])):
        first.write(orjson.dumps({"index": index, "part": part, **row}) + b"\n")
    asyncio.run(first.flush(sync=True))
    after = Part(folder, Lease(0, 2, 1))
    OPEN.append(after)
    earlier = after.begin("none")
    assert earlier is not None
    assert list(earlier.keys) == [2]


def test_a_part_that_lacks_rows_is_never_published(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full once, and has room again when the shard is to be published."""
    part = begun(folder, 1)
    part.write(render(outcome(0, "0"), "jsonl"))
    full = True

    def sync(file: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(part.flush(sync=True))
    full = False
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(part.flush(sync=True))


def test_a_link_that_was_made_but_not_answered_counts(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a call that is sent again finds its own work."""
    link = os.link

    def twice(source: Any, target: Any, **more: Any) -> None:
        link(source, target, **more)
        link(source, target, **more)

    monkeypatch.setattr(os, "link", twice)
    part = begun(folder, 1)
    part.publish(put(part, [outcome(0, "0")]))
    assert folder.names() == [part_file(0)]


class LateList(LocalFolder):
    """A shared disk that lists a folder as it was; what is asked by name is true."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.known: dict[str, list[str]] = {}

    def look(self) -> None:
        self.known = {under: super(LateList, self).names(under) for under in ("", WORK)}

    def names(self, under: str = "") -> list[str]:
        return self.known.get(under, [])


def test_a_folder_may_be_listed_late(folder: LocalFolder) -> None:
    """The next worker's machine shows neither the file of the one before nor its part."""
    first = begun(folder, 1)
    late = LateList(folder.path)
    record = put(first, [outcome(n, str(n)) for n in range(3)])
    after = begun(late, 2)
    assert after.has(Prompt(0, [], 0, key="key0"))
    after.publish(put(after, [outcome(3, "3")]))
    assert answers(folder) == {n: str(n) for n in range(4)}
    first.publish(record)  # late
    assert answers(folder) == {n: str(n) for n in range(4)}


def test_a_part_that_is_not_listed_is_seen(folder: LocalFolder) -> None:
    first = begun(folder, 1)
    first.publish(put(first, [outcome(0, "0"), outcome(1, None)]))
    begin_run(folder)
    after = begun(LateList(folder.path), 2, 2)
    assert [after.has(Prompt(n, [], n, key=f"key{n}")) for n in (0, 1)] == [True, False]
    after.publish(put(after, [outcome(1, "1")]))
    assert answers(folder) == {0: "0", 1: "1"}


# Going on


@pytest.mark.parametrize(
    ("retry", "sent"), [("all", [1, 2]), ("retryable", [1]), ("none", list[int]())]
)
def test_failed_rows_are_sent_again_as_asked(
    folder: LocalFolder, retry: RetryFailed, sent: list[int]
) -> None:
    first = begun(folder, 1)
    bad = outcome(2, None)
    bad.error = Failure("rejected", "never", 400, False)
    record = put(first, [outcome(0, "0"), outcome(1, None), bad])
    first.publish({**record, "retryable": 1})
    begin_run(folder)
    ground = ground_of(folder, [3], retry_failed=retry)
    assert (0 in ground.done) == (sent == [])
    part = begun(folder, ground.epochs[0] + 1, ground.base[0], retry)
    rows = [Prompt(n, [], n, key=f"key{n}") for n in range(3)]
    assert [row.index for row in rows if not part.has(row)] == sent
    said = part.publish(put(part, [outcome(n, "again") for n in sent]))
    assert {n for n, text in answers(folder).items() if text == "again"} == set(sent)
    assert said["tally"]["rows"] == len(sent)
    if sent:
        assert [*ground_of(folder, [3], retry_failed=retry).tallies] == [0]
    begin_run(folder)
    assert ground_of(folder, [3], retry_failed=retry).tallies == {}


def test_a_row_with_another_key_takes_the_place_of_the_old_one(folder: LocalFolder) -> None:
    """As by an attachment that was edited: what was paid for last is what was asked for."""
    first = begun(folder, 1)
    first.publish(put(first, [outcome(0, "old"), outcome(1, None)]))
    begin_run(folder)
    part = begun(folder, 2, 2)
    assert not part.has(Prompt(0, [], 0, key="edited"))
    said = part.publish(put(part, [outcome(0, "new", key="edited"), outcome(1, "1")]))
    assert answers(folder) == {0: "new", 1: "1"}
    assert (said["tally"]["rows"], said["tally"]["skipped"]) == (2, 0)


def test_an_older_part_beside_the_new_one_goes(folder: LocalFolder) -> None:
    """Of a worker that was lost between the link and the deletion."""
    first = begun(folder, 1)
    first.publish(put(first, [outcome(0, "0"), outcome(1, None)]))
    old = {name: (folder.path / name).read_bytes() for name in (part_file(0), done_file(0, 1, 1))}
    begin_run(folder)
    part = begun(folder, 2, 2)
    part.publish(put(part, [outcome(1, "1")]))
    for name, data in old.items():
        (folder.path / name).write_bytes(data)
    begin_run(folder)
    assert folder.names() == [part_file(0, 2)]
    assert not folder.has(done_file(0, 1, 1))
    assert stand_of(folder).done[0]["failed"] == 0


def test_a_part_without_its_record_is_looked_at_again(folder: LocalFolder) -> None:
    """Nobody knows whether it has failed rows: they are found, and nothing else is sent."""
    first = begun(folder, 1)
    first.publish(put(first, [outcome(0, "0"), outcome(1, None)]))
    folder.delete(done_file(0, 1, 1))
    begin_run(folder)
    ground = ground_of(folder, [2])
    assert ground.done == {}
    part = begun(folder, ground.epochs.get(0, 0) + 1, ground.base.get(0, 1))
    assert [part.has(Prompt(n, [], n, key=f"key{n}")) for n in (0, 1)] == [True, False]
    part.publish(put(part, [outcome(1, "1")]))
    assert answers(folder) == {0: "0", 1: "1"}


def test_what_was_in_the_making_is_swept_away(folder: LocalFolder) -> None:
    for name in ("00000.w3.tmp", "run.json.123.new"):
        (folder.path / WORK / name).write_bytes(b"x")
    begin_run(folder)
    assert folder.names(WORK) == ["run.json"]
