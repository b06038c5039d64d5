"""Shares of an account: whatever is lost, late, stopped or started anew, never more than all."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmbatch_cli.cluster.shares import LEASE_S, UNITS, Shares, Tenure, Told
from llmbatch_cli.engine.fence import Fenced
from llmbatch_cli.engine.limits.limiter import Learned
from llmbatch_cli.engine.limits.share import Seen

HELD, IDLE = Seen(held=True, used=1.0), Seen(held=False, used=0.05)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A worker: what it may use by its own clock, and how busy it is."""

    def __init__(self, name: str, clock: Clock, seen: Seen) -> None:
        self.name, self.seen = name, seen
        self.tenure = Tenure(clock)
        self.is_stopped = False
        """As by SIGSTOP: it neither reports nor listens."""
        self.gives_up_at = 0.0

    def says(self) -> Mapping[str, Seen]:
        return {"p/m": self.seen}


class Message:
    """A report on its way, and then its answer; each comes when its time has come."""

    def __init__(self, process: Process, coordinator: int, comes_at: float) -> None:
        self.process, self.coordinator, self.comes_at = process, coordinator, comes_at
        self.number, self.using = process.tenure.begin(), process.tenure.using
        self.said = process.says()
        self.told: Told | None = None


class Network(RuleBasedStateMachine):
    """Workers and a coordinator between which anything may be late or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.units = 12
        self.shares = Shares(self.clock, units=self.units)
        self.coordinator = 0
        self.heard: dict[str, int] = {}
        self.processes: list[Process] = []
        self.messages: list[Message] = []
        self.started = 0

    @rule(seen=st.sampled_from([HELD, IDLE]), many=st.integers(1, 3))
    def start(self, seen: Seen, many: int) -> None:
        for _ in range(many):
            self.started += 1
            self.processes.append(Process(f"w{self.started}", self.clock, seen))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), what=st.sampled_from(["die", "leave", "stop", "go on", "change"]))
    def happen(self, data: st.DataObject, what: str) -> None:
        process = data.draw(st.sampled_from(self.processes))
        if what == "leave":
            self.shares.leave(process.name)
            self.messages = [one for one in self.messages if one.process is not process]
        if what in ("die", "leave"):
            self.processes.remove(process)
        elif what == "change":
            process.seen = HELD if process.seen is IDLE else IDLE
        else:
            process.is_stopped = what == "stop"

    @rule()
    def restart_the_coordinator(self) -> None:
        self.shares = Shares(self.clock, units=self.units, is_fresh=False)
        self.coordinator += 1
        self.heard = {}

    @precondition(lambda self: self.processes)
    @rule(
        dice=st.randoms(use_true_random=False),
        seconds=st.sampled_from([1, 3, 10, 30]),
        lost=st.sampled_from([0.0, 0.0, 0.2, 0.6]),
        late=st.sampled_from([0.0, 0.0, 0.2, 0.6]),
    )
    def go_on(self, dice: Random, seconds: int, lost: float, late: float) -> None:
        """A report a second; one that is not answered in two is given up."""

        def later() -> float | None:
            if dice.random() < lost:
                return None
            return self.clock.now + (
                dice.choice([0.3, 1.5, 4.0, LEASE_S + 1]) if dice.random() < late else 0.0
            )

        for _ in range(4 * seconds):
            for process in self.processes:
                if not process.is_stopped and self.clock.now >= process.gives_up_at:
                    process.gives_up_at = self.clock.now + 2.0
                    message = Message(process, self.coordinator, self.clock.now)
                    if (comes_at := later()) is not None:
                        message.comes_at = comes_at
                        self.messages.append(message)
            for message in list(self.messages):
                if message.comes_at <= self.clock.now:
                    self.deliver(message, later())
            self.clock.now += 0.25
            self.never_more_than_all()

    def deliver(self, message: Message, comes_at: float | None) -> None:
        process = message.process
        if message.told is not None:
            if process.is_stopped:
                return
            if process.tenure.answered(message.number, message.told.units):
                process.gives_up_at = self.clock.now + 0.5
        elif comes_at is not None and message.number > self.heard.get(process.name, 0):
            self.heard[process.name] = message.number
            message.told = self.shares.beat(process.name, message.using, message.said)
            message.comes_at = comes_at
            return
        self.messages.remove(message)

    @invariant()
    def never_more_than_all(self) -> None:
        assert sum(process.tenure.using for process in self.processes) <= self.units


Network.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_the_shares_in_use_never_sum_up_to_more_than_the_account = Network.TestCase


class Quiet:
    """Workers whose reports are answered at once, each second."""

    def __init__(self, *, units: int = UNITS, is_fresh: bool = True) -> None:
        self.clock = Clock()
        self.shares = Shares(self.clock, units=units, is_fresh=is_fresh)
        self.processes: dict[str, Process] = {}

    def start(self, *names: str, seen: Seen = HELD) -> None:
        for name in names:
            self.processes[name] = Process(name, self.clock, seen)

    def beat(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            for process in self.processes.values():
                number, using = process.tenure.begin(), process.tenure.using
                told = self.shares.beat(process.name, using, process.says())
                process.tenure.answered(number, told.units)
            self.clock.now += 1.0

    @property
    def using(self) -> dict[str, float]:
        units = self.shares.free + sum(one.held for one in self.shares._members.values())
        return {name: one.tenure.using / units for name, one in self.processes.items()}


def test_all_get_the_same_within_two_reports() -> None:
    """A worker that joins has its share as soon as the others have heard and said so."""
    quiet = Quiet()
    quiet.start("a", "b", "c")
    quiet.beat(3)
    assert list(quiet.using.values()) == pytest.approx([1 / 3] * 3, abs=1e-5)
    quiet.start("d")
    quiet.beat(3)
    assert list(quiet.using.values()) == pytest.approx([1 / 4] * 4, abs=1e-5)
    assert sum(quiet.using.values()) <= 1


def test_a_dead_workers_share_goes_to_the_others_after_one_lease() -> None:
    """Not before, as it may be alive; one that says that it ends gives it back at once."""
    quiet = Quiet()
    quiet.start("a", "b", "c", "d")
    quiet.beat(3)
    quiet.processes.pop("d")
    quiet.beat(int(LEASE_S) - 2)
    assert quiet.using["a"] == pytest.approx(1 / 4, abs=1e-5)
    quiet.beat(4)
    assert quiet.using["a"] == pytest.approx(1 / 3, abs=1e-5)
    quiet.processes.pop("c")
    quiet.shares.leave("c")
    quiet.beat(2)
    assert quiet.using["a"] == pytest.approx(1 / 2, abs=1e-5)


def test_the_hungry_share_what_the_others_leave() -> None:
    """One without rows keeps a little, and has its part again soon after it has rows."""
    quiet = Quiet()
    quiet.start("a", "b", "c", "d")
    quiet.beat(3)
    quiet.processes["d"].seen = IDLE
    quiet.beat(15)
    using = quiet.using
    assert [using[name] for name in "abc"] == pytest.approx([0.329] * 3, abs=0.001)
    assert 0 < using["d"] < 0.05
    quiet.processes["d"].seen = HELD
    quiet.beat(10)
    assert quiet.using["d"] == pytest.approx(1 / 4, abs=1e-5)


def test_whole_slots_are_shared_out() -> None:
    """With as many units as slots each worker has whole ones, and of too many workers some none."""
    quiet = Quiet(units=10)
    quiet.start("a", "b", "c", "d")
    quiet.beat(3)
    assert sorted(one.tenure.using for one in quiet.processes.values()) == [2, 2, 3, 3]
    quiet = Quiet(units=2)
    quiet.start("a", "b", "c")
    quiet.beat(3)
    assert sorted(one.tenure.using for one in quiet.processes.values()) == [0, 1, 1]


def test_a_coordinator_that_is_started_anew_gives_nothing_for_a_lease() -> None:
    """Workers go on with what they have, and one that nobody knows of keeps its part."""
    quiet = Quiet()
    quiet.start("a", "b")
    quiet.beat(3)
    unheard = quiet.processes.pop("b")
    quiet.shares = Shares(quiet.clock, is_fresh=False)
    quiet.start("c")
    quiet.beat(int(LEASE_S) - 2)
    assert quiet.using["a"] == pytest.approx(1 / 2, abs=1e-5)
    assert quiet.using["c"] == 0
    quiet.beat(4)
    assert unheard.tenure.using == 0
    assert quiet.using["a"] == quiet.using["c"] == pytest.approx(1 / 2, abs=1e-5)


def test_a_worker_that_is_not_answered_sends_nothing_more() -> None:
    """By its own clock it ends before its share is given to others, and for good."""
    clock = Clock()
    tenure = Tenure(clock)
    with pytest.raises(Fenced):
        tenure.check()
    assert tenure.answered(tenure.begin(), 10)
    first = tenure.begin()
    clock.now += LEASE_S - 1.5
    tenure.check()
    clock.now += 1.0
    with pytest.raises(Fenced):
        tenure.check()
    assert not tenure.answered(first, 10)
    assert not tenure.answered(tenure.begin(), 10)
    assert tenure.using == 0


def test_one_learns_for_all() -> None:
    """The others hear what it has learned, it hears what they have sent, and another one learns
    when it is gone."""
    clock = Clock()
    shares = Shares(clock)
    learned = {"a": Learned(3000.0, sure=2), "b": Learned(7.0)}

    def beat(name: str, accepted: int) -> Told:
        seen = Seen(accepted=accepted, learned=learned[name])
        return shares.beat(name, 0, {"p/m": seen})

    beat("a", 5)
    assert beat("b", 500).limiters["p/m"].learned == learned["a"]
    clock.now += 1
    beat("b", 520)
    heard = beat("a", 30).limiters["p/m"]
    assert (heard.learned, heard.accepted) == (None, 20)
    clock.now += LEASE_S
    heard = beat("b", 600).limiters["p/m"]
    assert (heard.learned, heard.accepted) == (None, 25)


def test_what_a_provider_asks_of_one_holds_for_all() -> None:
    """The others wait for what is left of the time, and the one that said it is not told so."""
    clock = Clock()
    shares = Shares(clock)
    shares.beat("a", 0, {"p/m": Seen(wait_s=20.0), "p/n": Seen()})
    clock.now += 5
    told = shares.beat("b", 0, {"p/m": Seen(), "p/n": Seen()})
    assert told.limiters["p/m"].wait_s == 15.0
    assert told.limiters["p/n"].wait_s == 0.0
    assert shares.beat("a", 0, {"p/m": Seen()}).limiters["p/m"].wait_s == 0.0
