"""What the coordinator makes of reports, by its own clock."""

from typing import Any

from llmbatch_cli.cluster.coordinator import MOST_LOSSES, Coordinator, Ground, Rules
from llmbatch_cli.cluster.messages import Money, Orders, Report
from llmbatch_cli.cluster.purse import Purse
from llmbatch_cli.cluster.run import error_of
from llmbatch_cli.cluster.tallies import merged
from llmbatch_cli.core.errors import RunStopped

LEASE_S = 6.0


class Scene:
    """A coordinator and a clock; each report has the next number."""

    def __init__(self, shards: int = 1, cap: int | None = None, **ground: Any) -> None:
        self.now, self.number = 0.0, 0
        purse = None if cap is None else Purse(cap, 2, given={"lost": cap // 2})
        rules = Rules(2, LEASE_S)
        self.coordinator = Coordinator(
            Ground([3] * shards, **ground), rules, merged, purse, lambda: self.now
        )

    def beat(self, worker: str, **said: Any) -> Orders:
        self.number += 1
        return self.coordinator.beat(Report(worker, self.number, **said))

    def lease(self, worker: str) -> tuple[int, int]:
        (lease,) = self.beat(worker, wants=1).leases
        return lease.shard, lease.epoch

    def lose(self) -> None:
        self.now += LEASE_S + 1
        self.coordinator.tick()


def rows(count: int) -> dict[str, Any]:
    return {**merged([]), "rows": count, "answered": count}


def test_a_late_publication_counts_with_its_own_figures() -> None:
    """The worker was slow, and another has the shard by then: that one is told."""
    scene = Scene()
    first = scene.lease("slow")
    scene.lose()
    second = scene.lease("next")
    assert second == (0, 2)
    scene.beat("next", held=[second], tallies={second: rows(1)})
    scene.beat("slow", published=[first], tallies={first: rows(3)})
    assert scene.beat("next", held=[second], tallies={second: rows(2)}).lost == [second]
    status = scene.coordinator.status()
    assert (status.tally["rows"], status.is_over) == (3, True)
    scene.beat("next", published=[second], tallies={second: rows(3)})
    assert scene.coordinator.status().tally["rows"] == 3


def test_a_worker_without_a_shard_is_not_said_to_wait_for_input() -> None:
    scene = Scene()
    scene.beat("first", held_by="input")
    assert scene.coordinator.status().held_by is None
    scene.beat("first", held_by="input", held=[scene.lease("first")])
    assert scene.coordinator.status().held_by == "input"


def test_a_shard_that_workers_are_lost_with_ends_the_run_unless_it_gets_on() -> None:
    """Some are always lost in a long run; rows that kill whoever answers them are something
    else."""
    scene = Scene()
    for count in range(1, 3 * MOST_LOSSES):
        held = scene.lease(f"w{count}")
        scene.beat(f"w{count}", held=[held], tallies={held: rows(count)})
        scene.lose()
        assert scene.coordinator.why is None
    for count in range(MOST_LOSSES - 1):
        assert scene.coordinator.why is None
        scene.lease(f"v{count}")
        scene.lose()
    assert scene.coordinator.why is not None
    assert "5 workers were lost while they worked at shard 0" in scene.coordinator.why.message


def test_what_is_left_ends_the_run_when_all_else_is_done() -> None:
    """A row of one shard was postponed: nobody sends it in this run."""
    scene = Scene(shards=2)
    one, other = scene.lease("a"), scene.lease("b")
    scene.beat("a", held=[one], left=[one])
    assert scene.coordinator.status().stopping is None
    scene.beat("b", held=[other], published=[other], tallies={other: rows(3)})
    scene.coordinator.tick()
    assert scene.coordinator.status().stopping == "drain"
    assert not scene.coordinator.is_over  # who has left it says why, first
    scene.beat("a", is_idle=True)
    scene.beat("b", is_idle=True)
    assert scene.coordinator.is_over


def test_a_coordinator_that_is_started_anew_does_not_say_that_money_is_spent() -> None:
    """Before all had the time to say what they have not spent."""
    scene = Scene(cap=100, is_fresh=False)
    money = Money(20, 0, 0, 40)
    assert scene.beat("a", money=money).money_left is None
    scene.now += LEASE_S + 1
    assert scene.beat("a", money=money).money_left == 50


def test_it_leases_nothing_before_workers_had_the_time_to_speak() -> None:
    """Who holds a shard keeps it."""
    scene = Scene(is_fresh=False, epochs={0: 1})
    assert scene.beat("new", wants=1).leases == []
    assert scene.beat("old", held=[(0, 1)]).lost == []
    scene.now += LEASE_S - 1
    scene.beat("old", held=[(0, 1)])
    scene.now += 2
    assert scene.beat("new", wants=1).leases == []


def test_a_run_that_somebody_has_ended_is_not_one_that_is_whole() -> None:
    """Also for commands that only follow it."""
    scene = Scene(shards=2)
    held = scene.lease("w")
    scene.coordinator.stop("drain")
    scene.beat("w", published=[held], is_idle=True)
    status = scene.coordinator.status()
    assert status.is_over
    assert isinstance(error_of(status), RunStopped)
