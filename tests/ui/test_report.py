"""Numbers in words."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.events import (
    Counted,
    Dropped,
    Finished,
    Gauges,
    Jobs,
    JobShown,
    LeftUndone,
    Opened,
    Started,
)
from llmbatch_cli.core.ledger import Attempt, MaybeBilled, Usage
from llmbatch_cli.core.text import format_count
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.money import format_cost
from llmbatch_cli.ui.report import (
    format_about,
    format_bytes,
    format_duration,
    format_rate,
    summary,
)
from llmbatch_cli.ui.totals import Totals


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"), (0.42, "0.42 s"), (0.994, "0.99 s"), (0.996, "1.0 s"), (38.2, "38.2 s"),
        (59.94, "59.9 s"), (59.96, "1 min"), (125, "2 min 5 s"), (120.2, "2 min"),
        (3_599.6, "1 h"), (3_780, "1 h 3 min"), (93_600, "1 d 2 h"), (-1, "0.00 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    """A duration is told by its two largest units."""
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "elapsed", "left"),
    [(0.9, "0 s", "1 s"), (38.6, "38 s", "39 s"), (59.9, "59 s", "1 min"),
     (125, "2 min 5 s", "2 min"), (3_590, "59 min 50 s", "1 h"), (3_780, "1 h 3 min", "1 h 3 min")],
)  # fmt: skip
def test_a_running_clock_and_a_guess(seconds: float, elapsed: str, left: str) -> None:
    """What has passed is told in whole seconds, what is left is rounded."""
    assert format_duration(seconds, whole=True) == elapsed
    assert format_about(seconds) == left


@given(st.floats(0, 5e6))
def test_no_duration_reads_sixty(seconds: float) -> None:
    """Rounding never leaves 60 s or 60 min."""
    for words in (
        format_duration(seconds),
        format_duration(seconds, whole=True),
        format_about(seconds),
    ):
        assert not {"60", "60.0"} & set(words.split())


@pytest.mark.parametrize(
    ("per_s", "words"),
    [(0, "0.0"), (0.25, "0.25"), (0.999, "1.0"), (31.42, "31.4"), (99.96, "100"),
     (1_090.4, "1,090")],
)  # fmt: skip
def test_rates(per_s: float, words: str) -> None:
    """A rate has about three figures."""
    assert format_rate(per_s) == words


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 kB"), (640_000, "640 kB"), (98_100_000, "98.1 MB"), (999_700, "1.0 MB"),
     (2.5e9, "2.5 GB")],
)  # fmt: skip
def test_bytes(n: float, words: str) -> None:
    """Bytes are told in decimal units."""
    assert format_bytes(n) == words


def test_counts_have_separators() -> None:
    """Thousands are set apart."""
    assert format_count(1_234_567) == "1,234,567"


class Run:
    """A run to sum up, by its own clock."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.totals = Totals(lambda: self.now_s)
        self.index = 0

    def rows(
        self, count: int, *, kind: str = "", usage: Usage | None = None, cut: bool = False
    ) -> None:
        """So many rows that end the same way."""
        for _ in range(count):
            self.totals(Started(self.index))
            outcome = Outcome(self.index, self.index, "m", "fake")
            if kind:
                outcome.error = Failure(kind, "no")
                outcome.failed_attempts = (
                    Attempt("overloaded", 503, 0.1, maybe_billed=False),
                    Attempt(kind, None, 0.1, maybe_billed=kind == "timed_out"),
                )
            else:
                outcome.completion = Completion("x", "length" if cut else "stop", usage=usage)
            self.totals(Finished(outcome))
            self.index += 1


def test_the_summary_in_its_plain_form() -> None:
    """Rows, answered, failed by kind, time, speed and tokens, on one line."""
    run = Run()
    run.rows(1_193, usage=Usage(20, 14))
    run.rows(1, usage=Usage(38, 600))
    run.rows(4, kind="rate_limited")
    run.rows(2, kind="rejected")
    run.now_s += 38.2
    assert summary(run.totals) == (
        "1,200 rows: 1,194 answered, 6 failed (4 rate_limited, 2 rejected) in 38.2 s, "
        "31.4 rows/s, 41,200 tokens\n"
        "  rate_limited: no\n"
        "  rejected: no"
    )


def test_what_is_not_there_is_not_told() -> None:
    """No failures, no usage: no words about them; one row is one row."""
    run = Run()
    run.rows(1)
    run.now_s += 0.5
    assert summary(run.totals) == "1 row: 1 answered in 0.50 s"
    assert summary(Totals()) == "no rows"
    run = Run()
    run.rows(1, kind="invalid_row")
    assert summary(run.totals).startswith("1 row: 0 answered, 1 failed (1 invalid_row) in 0.00 s\n")
    stopped = Totals()
    stopped(Counted(12))
    stopped.cut_short = True
    assert summary(stopped) == "12 rows not answered: the run ended early"


def test_a_count_that_was_too_high_is_no_missing_row() -> None:
    """Lines are counted ahead; where a value goes on over many of them, no row was left out."""
    run = Run()
    run.totals(Counted(7))
    run.rows(2)
    run.now_s += 1
    assert summary(run.totals) == "2 rows: 2 answered in 1.0 s, 2.0 rows/s"


def test_what_a_user_has_to_know_has_its_own_line() -> None:
    """Cut answers, unknown usage, missing rows and bills without answers."""
    run = Run()
    run.totals(Counted(20))
    run.rows(3, usage=Usage(10, 10), cut=True)
    run.rows(2)
    run.rows(4, kind="timed_out")
    run.totals(Opened(Gauges(in_flight=lambda: 2)))  # one of the three only waits
    for index in (100, 101, 102):
        run.totals(Started(index))
    run.totals.cancelled()
    run.totals.cut_short = True
    for index in (100, 101, 102):
        run.totals(Dropped(index))
    run.now_s += 10
    assert summary(run.totals) == (
        "9 rows: 5 answered, 4 failed (4 timed_out) in 10.0 s, 0.90 rows/s, "
        "60 tokens (unknown for 2 rows), 3 cut off by length\n"
        "  timed_out: no\n"
        "  11 rows not answered: the run ended early\n"
        "  up to 2 rows dropped in flight may have been billed\n"
        "  4 failed attempts may have been billed; 4 rows got no answer"
    )


def test_one_message_of_each_kind_of_failure_is_quoted() -> None:
    """The first of each kind, the most frequent kind first, cleaned and on one line, without the
    prompt."""
    totals = Totals()
    prompt = [{"role": "user", "content": "the patient 4711 has measles and more"}]
    for index, (kind, message) in enumerate(
        [
            ("refused", f"not this: {prompt[0]['content']}"),
            ("unknown_model", "no model\n\x1b[31mgpt-5o " + "x" * 200),
            ("unknown_model", "a second message"),
        ]
    ):
        failure = Failure(kind, message, messages=prompt)
        totals(Finished(Outcome(index, index, "m", "p", error=failure)))
    _, model, refused = summary(totals).splitlines()
    assert model == "  " + ("unknown_model: no model gpt-5o " + "x" * 200)[:159] + "…"
    assert refused.startswith("  refused: the provider's message repeats the prompt")


def test_rows_dropped_from_an_input_without_an_end_are_told() -> None:
    """Where the total is unknown, the rows that were begun are those that are missing."""
    run = Run()
    run.rows(1)
    run.totals(Started(7))
    run.totals(Dropped(7))
    run.now_s += 1
    assert summary(run.totals).splitlines()[1:] == ["  1 row not answered: the run ended early"]


def left(cost_usd: Decimal | None, unseen: Decimal | None = None) -> LeftUndone:
    billed = None if unseen is None else MaybeBilled(1, unseen)
    return LeftUndone(0, [Attempt(None, 200, 0.1, maybe_billed=True)], cost_usd, billed)


def test_what_rows_without_an_outcome_have_cost_is_told_with_the_rest() -> None:
    """In one sum, also where no row has an outcome; nothing is said of those that cost nothing."""
    totals = Totals(lambda: 0.0)
    totals.gauges = Gauges(cap_usd=0.05)
    totals.total, totals.cut_short = 9, True
    totals(left(Decimal(0)))
    assert "cost" not in summary(totals)
    for cost, unseen in [("0.01", None), ("0.0014", None), ("0", "0.02")]:
        totals(left(Decimal(cost), Decimal(unseen) if unseen else None))
    assert totals.undone.rows == 3
    assert ", $0.011 ($0.011 of it for 2 rows that were not finished)" in summary(totals)
    assert "may have been billed unseen: up to $0.020 more" in summary(totals)
    totals(left(None))
    totals.cost_usd, totals.unknown_cost = Decimal("0.03"), 2
    words = "$0.041 (unknown for 3 rows; $0.011 of it for 2 rows that were not finished)"
    assert words in summary(totals)
    assert format_cost(totals, 0.05) == words.replace(" (", " of $0.050 (", 1)
    assert totals.cost_usd == Decimal("0.03")  # as the output has it


@pytest.mark.parametrize(
    ("dropped", "words"),
    [(1, "at least 1 row not answered: the run ended before its input"),
     (0, "the run ended before its input; how many rows were left is unknown")],
)  # fmt: skip
def test_what_was_left_in_a_pipe_is_not_guessed(dropped: int, words: str) -> None:
    """A run that was ended early over an input of unknown length says so."""
    run = Run()
    run.rows(1)
    for index in range(dropped):
        run.totals(Started(7 + index))
        run.totals(Dropped(7 + index))
    run.totals.cut_short = True
    assert summary(run.totals).splitlines()[1:] == [f"  {words}"]


def test_rows_that_a_job_still_holds() -> None:
    """Of a job that is being collected, some rows have their outcome already."""
    run = Run()
    run.totals(Counted(5))
    run.totals(Jobs([JobShown("completed", 5, 0.0)]))
    assert summary(run.totals).endswith("5 rows are in 1 open job")
    run.rows(4)
    assert summary(run.totals).endswith("\n  1 row is in 1 open job")
