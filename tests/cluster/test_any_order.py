"""Workers that are killed, slow or cut off from their coordinator, which is killed, too, in virtual
time: every row stands once in whole parts, and nothing is sent once a shard is another's."""

import tempfile
from collections import Counter
from pathlib import Path

import orjson
import pytest
from cluster.stage import LEASE_S, Rules, Stage, rows_in
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.types import Failure

NO = Failure("rejected", "no", 400, False)
MOST_OPERATIONS = 80


def staged(path: Path, rules: Rules, *, failing: frozenset[int] = frozenset()) -> Stage:
    stage = Stage(path, rules)
    stage.failing = lambda index: NO if index in failing else None
    return stage.run()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("restarts", [(), (2.0,)])
def test_a_worker_is_killed_at_any_file_operation(
    tmp_path: Path, restarts: tuple[float, ...], ordered: bool
) -> None:
    """No row is sent more often than was in flight, and not again what was on the disk."""
    step = 1 if not (restarts or ordered) else 3
    for dies_at in range(1, MOST_OPERATIONS, step):
        rules = Rules(
            workers=2, shards=2, rows=3, dies_at=(dies_at,), restarts=restarts, ordered=ordered
        )
        stage = staged(tmp_path / str(dies_at), rules, failing=frozenset({1}))
        stage.check().check_figures()
        assert max(stage.sent.values()) <= 2
        if not stage.lives[0].dead:
            return
    pytest.fail("it does more than was tried")


def test_a_worker_is_slower_than_its_lease_at_any_file_operation(tmp_path: Path) -> None:
    """So that its link comes late, when another has the shard, or has published it."""
    for at in range(1, MOST_OPERATIONS):
        rules = Rules(workers=2, shards=2, rows=3, slow=((0, at, 3 * LEASE_S),))
        # It does not know that it is slow, but its link fails, so that its lease ends.
        rules.cuts = ((0, 0.8, 4 * LEASE_S),)
        stage = staged(tmp_path / str(at), rules, failing=frozenset({1}))
        stage.check().check_figures()
        if stage.lives[0].operations < at:
            return
    pytest.fail("it does more than was tried")


seconds = st.floats(0, 15)
anything = st.builds(
    Rules,
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 4),
    shards=st.integers(1, 5),
    rows=st.integers(1, 6),
    ordered=st.booleans(),
    dies_at=st.lists(st.none() | st.integers(1, 40), max_size=5),
    slow=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(1, 40),
            st.sampled_from([1.0, LEASE_S + 1, 3 * LEASE_S]),
        ),
        max_size=5,
    ),
    cuts=st.lists(
        st.tuples(st.integers(0, 4), seconds, st.sampled_from([1.0, LEASE_S, 2 * LEASE_S])),
        max_size=2,
    ),
    lost=st.sampled_from([0.0, 0.0, 0.1, 0.2]),
    late=st.sampled_from([0.0, 0.0, 0.1, 0.2]),
    restarts=st.lists(seconds, max_size=2).map(sorted),
)


@settings(max_examples=30, deadline=None)
@given(anything, st.frozensets(st.integers(0, 29), max_size=8))
def test_whatever_happens_every_row_is_there_once(rules: Rules, failing: frozenset[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = staged(Path(folder), rules, failing=failing)
        if stage.status.why is None:
            stage.check().check_figures()
            return
        # Too many were lost with one shard: another run goes on.
        assert stage.wrong == []
        rows = [row["index"] for row in rows_in(Path(folder))]
        assert max(Counter(rows).values(), default=1) == 1
        calm = Rules(workers=2, shards=rules.shards, rows=rules.rows, ordered=rules.ordered)
        staged(Path(folder), calm, failing=failing).check()


def test_a_second_run_sends_what_has_failed_and_nothing_else(tmp_path: Path) -> None:
    """Over several runs, with workers that are killed: the figures are those of each run."""
    rules = Rules(workers=2, shards=3, rows=4)
    first = Stage(tmp_path, rules)
    first.failing = lambda index: Failure("server_error", "no", 500, index % 2 == 0)
    first.run().check().check_figures()
    answered = [index for index in range(12) if index % 2]
    for dies_at in (5, 12, 25):
        second = Stage(tmp_path, Rules(workers=2, shards=3, rows=4, dies_at=(dies_at,)))
        if dies_at != 25:
            second.failing = lambda index: Failure("server_error", "no", 500, True)
        second.run().check().check_figures(before=answered)
        assert set(second.sent) == set(range(12)) - set(answered)
    third = Stage(tmp_path, rules).run().check().check_figures(before=range(12))
    assert third.sent == {}


@pytest.mark.parametrize("torn", [b"", b'{"index": 3, "te', b"\0\0\0\n"])
def test_a_run_goes_on_after_all_machines_were_lost(tmp_path: Path, torn: bytes) -> None:
    """Nothing that is on the disk is sent again; what an epoch has lost at its end is."""
    ends = set()
    for dies_at in range(5, 14):
        path = tmp_path / str(dies_at)
        stage = Stage(path, Rules(workers=1, shards=2, rows=5, dies_at=[dies_at] * 40)).run()
        ends.add(stage.status.why is None)
        there = {
            row["index"]
            for file in (*path.glob("part-*.jsonl"), *(path / "_work").glob("*.e*.jsonl"))
            for row in map(_json, file.read_bytes().splitlines())
            if row is not None
        }
        for file in (path / "_work").glob("*.e*.jsonl"):
            with file.open("ab") as opened:
                opened.write(torn)
        second = Stage(path, Rules(workers=2, shards=2, rows=5)).run()
        second.check().check_figures(before=sorted(there))
        assert set(second.sent) == set(range(10)) - there
    assert False in ends  # nobody got on


def _json(line: bytes) -> dict[str, int] | None:
    try:
        found: dict[str, int] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found
