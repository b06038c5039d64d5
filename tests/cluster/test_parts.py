"""Whole shards under their names, by several who publish one and are slow or killed anywhere."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster.one_part import OPEN, ROWS, answers, begun, outcome, put
from cluster.steps import Killed, Life, StageFolder, Steps

from llmbatch_cli.cluster.chosen import Earlier
from llmbatch_cli.cluster.ground import begin_run, ground_of
from llmbatch_cli.cluster.layout import WORK
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.messages import Lease
from llmbatch_cli.cluster.parts import Part
from llmbatch_cli.core.types import Prompt


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
def test_a_late_link_loses_nothing_and_none_is_twice_there(paths: Path, again: bool) -> None:
    """The orders of their file operations in which each pauses once at most, a sixth of them."""
    number = 0
    for first in range(60):
        for second in range(first % 6, 90, 6):
            number += 1
            folder, late, after = late_and_next(paths / str(number), again=again)
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


def test_the_next_begins_while_one_publishes(paths: Path) -> None:
    """Whatever it reads has just been deleted: it sends no row that was answered."""
    for first in range(60):
        for second in range(60):
            folder = LocalFolder(paths / f"{first}-{second}")
            folder.make(WORK)
            late = begun(folder, 1)
            record = put(late, [outcome(n, str(n)) for n in range(ROWS)])
            one = Publishing(folder, late, record)
            after = Part(StageFolder(folder.path, Life("w")), Lease(0, 2, 1))
            OPEN.append(after)
            found: list[Earlier | None] = []
            begin = Steps(partial(_begin, after, found))
            ended = one.go(first)
            for _ in range(second):
                if not begin.ended:
                    begin.step()
            was_over = begin.ended
            one.go()
            while not begin.ended:
                begin.step()
            assert begin.error is None
            assert found[0] is not None
            assert found[0].whole is not None or len(found[0].keys) == ROWS
            if was_over:
                break
        if ended:
            return
    pytest.fail("they do more than was tried")


def _begin(part: Part, found: list[Earlier | None]) -> None:
    found.append(part.begin("retryable"))


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


def test_a_worker_of_an_earlier_run_publishes_late(paths: Path) -> None:
    """At any time: what this run has been answered stays."""
    for first in range(60):
        for second in range(first % 3, 60, 3):
            folder, old, new = old_and_new(paths / f"{first}-{second}")
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
def test_one_is_killed_anywhere_and_the_next_makes_it_whole(paths: Path, again: bool) -> None:
    """Wherever the first is killed; the next may be at work by then, or begin after."""
    for dies_at in range(60):
        folder, late, after = late_and_next(paths / str(dies_at), again=again)
        ended = late.go(dies_at)
        after.go(dies_at % 7)
        late.kill()
        after.go()
        check_whole(folder, killed=True)
        if ended:
            return
    pytest.fail("it does more than was tried")


@pytest.mark.parametrize("again", [False, True])
def test_a_coordinator_sees_what_is_whole(paths: Path, again: bool) -> None:
    """Wherever a worker is killed, a new coordinator believes no part that lacks its rows."""
    base = 2 if again else 1
    for dies_at in range(60):
        folder, late, after = late_and_next(paths / str(dies_at), again=again)
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
