"""Whole shards under their names, whoever writes, is slow, or is killed at which file operation."""

import asyncio
import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from cluster.stage import rows_in
from cluster.steps import Killed, Life, StageFolder, Steps

from llmbatch_cli.cluster.ground import begin_run, ground_of, stand_of
from llmbatch_cli.cluster.layout import WORK, done_file, epoch_file, part_file
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.cluster.tallies import tally_of
from llmbatch_cli.core.events import Finished, Started
from llmbatch_cli.core.options import RetryFailed
from llmbatch_cli.core.types import Completion, Failure, Outcome, Prompt
from llmbatch_cli.rows.output.render import render
from llmbatch_cli.ui.totals import Totals

ROWS = 4
OPEN: list[Part] = []
FAILED = Failure("server_error", "no", 500, True)


def outcome(index: int, text: str | None, *, key: str = "") -> Outcome:
    done = None if text is None else Completion(text, "stop")
    failure = FAILED if text is None else None
    return Outcome(index, f"r{index}", "m", "p", done, failure, 0.1, 1, key=key or f"key{index}")


def put(part: Part, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Write them; returns the record that goes with them."""
    totals = Totals()
    failed = sum(one.error is not None for one in outcomes)
    for one in outcomes:
        part.write(render(one, "jsonl"))
        totals(Started(one.index))
        totals(Finished(one))
    asyncio.run(part.flush(sync=True))
    return {"tally": tally_of(totals), "failed": failed, "retryable": failed}


def begun(folder: LocalFolder, epoch: int, base: int = 1, retry: RetryFailed = "retryable") -> Part:
    part = Part(folder, Lease(0, epoch, base))
    OPEN.append(part)
    assert part.begin(retry) is not None
    return part


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def answers(folder: LocalFolder) -> dict[int, str | None]:
    rows = rows_in(folder.path)
    assert max(Counter(row["index"] for row in rows).values(), default=1) == 1
    return {row["index"]: row["text"] for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    made = LocalFolder(tmp_path / "out")
    made.make(WORK)
    return made


# Two who publish one shard


class Publishing:
    """One who publishes in steps."""

    def __init__(self, folder: LocalFolder, part: Part, record: Mapping[str, Any]) -> None:
        self.life = Life("w")
        part._folder = StageFolder(folder.path, self.life)
        self.steps = Steps(lambda: part.publish(record))

    def go(self, count: int | None = None) -> bool:
        """Do so many file operations, or all; returns whether it has ended."""
        while not self.steps.ended and count != 0:
            self.steps.step()
            count = None if count is None else count - 1
        if self.steps.error is not None and not isinstance(self.steps.error, Killed):
            raise self.steps.error
        return self.steps.ended

    def kill(self) -> None:
        self.life.dead = self.steps.kills = True
        while not self.steps.ended:
            self.steps.step()


Scene = tuple[LocalFolder, Publishing, Publishing]


def late_and_next(path: Path, *, again: bool) -> Scene:
    """One whose lease has ended when all was written, and the next, who has all from its file.
    `again`: they send failed rows again, of a part of an earlier run."""
    folder = LocalFolder(path)
    folder.make(WORK)
    base = 1
    if again:
        first = begun(folder, 1)
        first.publish(put(first, [outcome(0, "0"), *(outcome(n, None) for n in (1, 2, 3))]))
        begin_run(folder)
        base = 2
    late = begun(folder, base, base)
    its = put(late, [outcome(n, str(n)) for n in range(ROWS) if n or not again])
    after = begun(folder, base + 1, base)
    assert all(after.has(Prompt(n, [], n, key=f"key{n}")) for n in range(ROWS))
    return folder, Publishing(folder, late, its), Publishing(folder, after, its)


def check_whole(folder: LocalFolder, *, killed: bool = False) -> None:
    assert answers(folder) == {n: str(n) for n in range(ROWS)}
    ground = ground_of(folder, [ROWS])
    assert list(ground.done) == [0]
    assert ground.tallies[0]["failed"] == {}
    if killed:
        begin_run(folder)
    left = [name for name in folder.names(WORK) if "done" not in name and name != "run.json"]
    assert left == []
    assert len(folder.names()) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_late_link_loses_nothing_and_none_is_twice_there(tmp_path: Path, again: bool) -> None:
    """The orders of their file operations in which each pauses once at most, a sixth of them."""
    number = 0
    for first in range(60):
        for second in range(first % 6, 90, 6):
            number += 1
            folder, late, after = late_and_next(tmp_path / str(number), again=again)
            early = late.go(first)
            between = after.go(second)
            late.go()
            after.go()
            check_whole(folder)
            shutil.rmtree(folder.path)
            if between:
                break
        if early:
            return
    pytest.fail("they do more than was tried")


def old_and_new(path: Path) -> Scene:
    """A worker of an earlier run that was stopped before it published failed rows, and one of this
    run that has sent them again."""
    folder = LocalFolder(path)
    folder.make(WORK)
    old = begun(folder, 1)
    its = put(old, [outcome(0, "0"), *(outcome(n, None) for n in (1, 2, 3))])
    begin_run(folder)
    new = begun(folder, 2, 2)
    record = put(new, [outcome(n, str(n)) for n in (1, 2, 3)])
    return folder, Publishing(folder, old, its), Publishing(folder, new, record)


def test_a_worker_of_an_earlier_run_publishes_late(tmp_path: Path) -> None:
    """At any time: what this run has been answered stays."""
    for first in range(60):
        for second in range(first % 3, 60, 3):
            folder, old, new = old_and_new(tmp_path / f"{first}-{second}")
            early = old.go(first)
            between = new.go(second)
            old.go()
            new.go()
            check_whole(folder)
            if between:
                break
        if early:
            return
    pytest.fail("they do more than was tried")


@pytest.mark.parametrize("again", [False, True])
def test_one_is_killed_anywhere_and_the_next_makes_it_whole(tmp_path: Path, again: bool) -> None:
    """Wherever the first is killed; the next may be at work by then, or begin after."""
    for dies_at in range(60):
        folder, late, after = late_and_next(tmp_path / str(dies_at), again=again)
        ended = late.go(dies_at)
        after.go(dies_at % 7)
        late.kill()
        after.go()
        check_whole(folder, killed=True)
        if ended:
            return
    pytest.fail("it does more than was tried")


@pytest.mark.parametrize("again", [False, True])
def test_a_coordinator_sees_what_is_whole(tmp_path: Path, again: bool) -> None:
    """Wherever a worker is killed, a new coordinator believes no part that lacks its rows."""
    base = 2 if again else 1
    for dies_at in range(60):
        folder, late, after = late_and_next(tmp_path / str(dies_at), again=again)
        after.kill()
        ended = late.go(dies_at)
        late.kill()
        ground = ground_of(folder, [ROWS])
        if 0 in ground.done:
            assert answers(folder) == {n: str(n) for n in range(ROWS)}
            assert ground.tallies[0]["rows"] == (3 if again else 4)
        else:
            part = begun(folder, ground.epochs[0] + 1, base)
            part.publish(put(part, []))
            assert answers(folder) == {n: str(n) for n in range(ROWS)}
        if ended:
            return
    pytest.fail("it does more than was tried")


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
