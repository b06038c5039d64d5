"""What is counted, over any order of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.events import Counted, Dropped, Event, Finished, Notice, Pulled, Started
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome, Racer
from llmbatch_cli.ui.totals import Totals


class Clock:
    """A clock that stands until it is told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def answered(index: int, usage: Usage | None = None, finish: str = "stop") -> Finished:
    completion = Completion("text", "length" if finish == "length" else "stop", usage=usage)
    return Finished(Outcome(index, index, "m", "fake", completion=completion))


def failed(index: int, kind: str = "rejected") -> Finished:
    return Finished(Outcome(index, index, "m", "fake", error=Failure(kind, "no")))


COUNTS = st.none() | st.integers(0, 100)
INDEXES = st.integers(0, 5)
EVENTS = st.one_of(
    st.builds(Started, INDEXES),
    st.builds(Dropped, INDEXES),
    st.builds(Counted, st.integers(0, 9)),
    st.builds(answered, INDEXES, st.none() | st.builds(Usage, COUNTS, COUNTS)),
    st.builds(failed, INDEXES, st.sampled_from(["rejected", "overloaded"])),
    st.just(Notice("words")),
    st.just(Pulled("weights", 1, None)),
)


@given(st.lists(EVENTS))
def test_any_events_add_up(events: list[Event]) -> None:
    """Rows are the answered and the failed; what is in flight was begun and has not ended."""
    totals = Totals(Clock())
    open_rows: set[int] = set()
    tokens = 0
    for event in events:
        totals(event)
        if isinstance(event, Started):
            open_rows.add(event.index)
        elif isinstance(event, Dropped):
            open_rows.discard(event.index)
        elif isinstance(event, Finished):
            open_rows.discard(event.outcome.index)
            if (done := event.outcome.completion) and done.usage:
                tokens += (done.usage.prompt_tokens or 0) + (done.usage.completion_tokens or 0)
        assert totals.in_flight == len(open_rows)
        assert totals.rows == totals.answered + totals.failed_rows
    assert totals.tokens == tokens
    assert totals.rows <= sum(isinstance(event, Finished) for event in events)


@given(st.permutations(range(12)), st.integers(0, 12))
def test_a_run_that_ends_leaves_nothing_in_flight(order: list[int], dropped: int) -> None:
    """Every row that was begun is in the end answered, failed or dropped."""
    totals = Totals(Clock())
    for index in range(12):
        totals(Started(index))
    for place, index in enumerate(order):
        ends = (answered(index), failed(index))
        totals(Dropped(index) if place < dropped else ends[index % 2])
    assert totals.in_flight == 0
    assert totals.rows + totals.dropped == 12


def test_a_race_counts_as_one_row() -> None:
    """Further outcomes of a row cost tokens, but make no further row."""
    totals = Totals(Clock())
    for index in range(3):
        totals(Started(index))
        for _ in range(2):
            totals(answered(index, Usage(10, 1, 11)))
    assert (totals.rows, totals.answered, totals.in_flight, totals.tokens) == (3, 3, 0, 66)


def test_what_is_told_about_answers_is_kept_apart() -> None:
    """Truncated answers and unknown usage each have a number of their own."""
    totals = Totals(Clock())
    for index, event in enumerate(
        [
            answered(0, Usage(10, 20, 30), "length"),
            answered(1, Usage(None, 5)),
            answered(2, None),
            answered(3, Usage(total_tokens=9)),
        ]
    ):
        totals(Started(index))
        totals(event)
    assert (totals.truncated, totals.unknown_usage) == (1, 2)
    assert (totals.prompt_tokens, totals.completion_tokens) == (10, 25)


def test_time_runs_from_the_first_row() -> None:
    """A download before the first row is no part of the run's time and speed."""
    clock = Clock()
    totals = Totals(clock)
    clock.now_s += 60
    assert totals.elapsed_s == 60
    totals(Started(0))
    assert totals.elapsed_s == 0
    clock.now_s += 2
    totals(answered(0))
    assert totals.rows_per_s == 0.5
    assert totals.speed().rows_per_s == 0.5


def finish(totals: Totals, rows: range) -> None:
    for index in rows:
        totals(Started(index))
        totals(answered(index, Usage(10, 100, 110)))


def test_the_pace_forgets_what_is_long_ago() -> None:
    """The speed is that of the last ten seconds, and so is the time left."""
    clock = Clock()
    totals = Totals(clock)
    totals(Counted(200))
    totals(Started(999))
    for second in range(20):
        finish(totals, range(second, second + 1))
        clock.now_s += 1
        totals.speed()
    for second in range(10):
        finish(totals, range(20 + 5 * second, 25 + 5 * second))
        clock.now_s += 1
        speed = totals.speed()
    assert speed.rows_per_s == 5
    assert (speed.prompt_tokens_per_s, speed.completion_tokens_per_s) == (50, 500)
    assert speed.left_s == (200 - 70) / 5


def test_a_pause_has_no_speed_but_a_time_left() -> None:
    """When nothing ends for a while, the guess goes by the whole run."""
    clock = Clock()
    totals = Totals(clock)
    totals(Counted(20))
    assert totals.speed().left_s is None
    finish(totals, range(10))
    for _ in range(20):
        clock.now_s += 1
        speed = totals.speed()
    assert (speed.rows_per_s, speed.left_s) == (0, 20)
    finish(totals, range(10, 25))
    assert totals.speed().left_s == 0


def test_all_requests_and_their_answers_times_count() -> None:
    """A race's are those of all its racers; an answer from the cache has no time of its own."""
    totals = Totals()
    racers = [Racer("m", "p", "won", 0.4, attempts=2), Racer("n", "p", "cancelled", 0.1)]
    done = Completion("a", usage=Usage(10, 5, 15, cached_tokens=4, reasoning_tokens=3))
    for outcome in (
        Outcome(0, 0, "m", "p", done, latency_s=0.2, attempts=1),
        Outcome(1, 1, "m", "p", done, latency_s=0.4, attempts=2, race=racers),
        Outcome(2, 2, "m", "p", done, latency_s=None, attempts=0, cached=True),
        Outcome(3, 3, "m", "p", error=Failure("rejected", "no"), latency_s=9.0, attempts=4),
    ):
        totals(Finished(outcome))
    assert (totals.attempts, totals.retries) == (1 + 3 + 4, 1 + 3)
    assert totals.latencies_s.at(0, 1) == [0.2, 0.4]
    assert (totals.cached_tokens, totals.reasoning_tokens) == (4, 3)


def test_money_an_hour_is_that_of_the_last_ten_seconds() -> None:
    """Where enough rows have ended in them; else that of the whole run."""
    clock = Clock()
    totals = Totals(clock)
    totals(Started(999))
    index = 0
    for usd, rows in ((1, 10), (3, 10), (9, 1)):
        for _ in range(rows):
            totals(Finished(Outcome(index, index, "m", "p", Completion("a"), cost_usd=usd)))
            index += 1
        clock.now_s += 20
        speed = totals.speed()
        clock.now_s += 1e-9
        hour = totals.usd_per_hour
        assert speed.usd_per_hour == pytest.approx(hour if rows == 1 or usd == 1 else 5_400)


def test_retries_are_requests() -> None:
    """Those beyond the first to each model; a row that only waited to be tried again adds none."""
    totals = Totals()
    for index, attempts in enumerate((1, 3, 0)):
        totals(Started(index))
        totals(Finished(Outcome(index, index, "m", "openai", Completion("a"), attempts=attempts)))
    assert totals.retries == 2
