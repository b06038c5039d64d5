"""Progress as lines."""

import io
import json
from decimal import Decimal
from functools import partial

import pytest

from llmbatch_cli.core.events import Counted, Finished, Gauges, Opened, Pulled, Started
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.plain import Display, Failures, Json, Plain
from llmbatch_cli.ui.stderr import Stderr
from llmbatch_cli.ui.totals import Totals


class Run:
    """Totals with a clock of their own, and what is written."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.totals = Totals(lambda: self.now_s)
        self.out = io.StringIO()
        self.err = Stderr(self.out)

    def rows(self, first: int, last: int, failed: int = 0, usd: Decimal | int | None = 0) -> None:
        """Rows that end, the first of them badly."""
        for index in range(first, last):
            outcome = Outcome(index, index, "m", "fake", cost_usd=usd)
            if index - first < failed:
                outcome.error = Failure("rejected", "no")
            else:
                outcome.completion = Completion("x", usage=Usage(10, 35))
            self.totals(Finished(outcome))

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_a_line_tells_where_a_run_is() -> None:
    """Done of total, failed, in flight, speeds of the last 10 s, time passed and left."""
    run = Run()
    plain = Plain(run.err, run.totals)
    run.totals(Counted(5_000))
    for index in range(1_264):
        run.totals(Started(index))
    run.now_s += 28.2
    run.rows(0, 886, failed=6)
    plain.tick()
    run.now_s += 10
    run.rows(886, 1_200)
    plain.tick()
    assert run.lines[1] == (
        "llmbatch: 1,200/5,000 rows, 6 failed, 64 in flight, 31.4 rows/s, "
        "1,099 tokens/s out, 38 s, 2 min left"
    )


def test_a_run_without_a_known_end_has_a_count_only() -> None:
    """No total, no time left."""
    run = Run()
    plain = Plain(run.err, run.totals)
    run.totals(Started(0))
    run.now_s += 4
    run.rows(0, 1)
    plain.tick()
    plain.close()
    assert (
        run.lines
        == ["llmbatch: 1 rows, 0 failed, 0 in flight, 0.25 rows/s, 8.8 tokens/s out, 4 s"] * 2
    )


def test_a_short_run_is_told_by_its_summary() -> None:
    """The last line repeats nothing where no line came before it."""
    run = Run()
    Plain(run.err, run.totals).close()
    assert run.lines == []


def test_a_download_is_a_line_per_tenth() -> None:
    """However often it is told; a download of unknown size is a line per 10 MB."""
    run = Run()
    plain = Plain(run.err, run.totals)
    for percent in range(101):
        plain.pulled(Pulled("smol\x1b[31mlm2", percent * 981_000, 98_100_000))
    assert len(run.lines) == 10
    assert run.lines[0] == "llmbatch: fetching smollm2: 10 %, 9.8 MB of 98.1 MB"
    for megabytes in range(26):
        plain.pulled(Pulled("other", megabytes * 1_000_000, None))
    assert run.lines[10:] == [
        "llmbatch: fetching other: 10.0 MB",
        "llmbatch: fetching other: 20.0 MB",
    ]


def test_progress_for_programs_is_json() -> None:
    """Every line is an object, whatever happens, and only the last is final."""
    run = Run()
    shown = Json(run.err, run.totals)
    run.totals(Counted(4))
    shown.pulled(Pulled("smollm2", 5, None))
    shown.pulled(Pulled("smollm2", 7, 10))
    for index in range(3):
        run.totals(Started(index))
    run.now_s += 2
    run.rows(0, 2, failed=1)
    shown.tick()
    shown.say('a "notice"\x07')
    run.now_s += 2
    run.rows(2, 3)
    shown.close()
    pull, progress, notice, final = [json.loads(line) for line in run.lines]
    assert pull == {"pull": "smollm2", "done_bytes": 7, "total_bytes": 10}
    assert notice == {"notice": 'a "notice"\x07'}
    assert progress == {
        "rows": 2, "total": 4, "answered": 1, "failed": 1, "errors": {"rejected": 1},
        "truncated": 0, "dropped": 0, "in_flight": 1, "waiting": 0,
        "held_by": None, "held_s": None,
        "retries": 0, "rows_per_s": 1.0, "prompt_tokens": 10, "cost": 0.0,
        "projected": None, "per_hour": 0.0, "cap": None,
        "cost_unknown_rows": 0, "maybe_billed": 0.0,
        "not_finished": {"rows": 0, "cost": 0.0, "maybe_billed": 0.0},
        "completion_tokens": 35, "elapsed_s": 2.0, "eta_s": 2.0, "final": False,
    }  # fmt: skip
    assert (final["rows"], final["rows_per_s"], final["final"]) == (3, 0.75, True)
    assert final["eta_s"] is None
    run.rows(3, 4)
    shown.close()
    assert json.loads(run.out.getvalue().splitlines()[-1])["eta_s"] == 0


def test_nothing_known_is_null_and_not_a_number() -> None:
    """Before the first row nothing divides by zero, and what is unknown is null."""
    run = Run()
    Json(run.err, run.totals).tick()
    shown = json.loads(run.lines[0])
    assert (shown["total"], shown["eta_s"], shown["rows_per_s"]) == (None, None, 0)


def test_money_is_part_of_the_line() -> None:
    """The cost so far, of the cap; of the whole run; an hour; and the rows of unknown cost."""
    run = Run()
    plain = Plain(run.err, run.totals)
    run.totals(Opened(Gauges(cap_usd=2.5)))
    run.totals(Counted(100))
    run.totals(Started(0))
    run.now_s += 10
    run.rows(0, 25, usd=Decimal("0.01"))
    plain.tick()
    run.rows(25, 26, usd=None)
    plain.tick()
    assert ", $0.25 of $2.50, about $1.00 in all, $90.00/h, 10 s, " in run.lines[0]
    assert ", $0.25 of $2.50, about $0.99 in all, $90.00/h, cost unknown for 1 row" in run.lines[1]


def test_an_unknown_cost_is_never_nothing() -> None:
    """It is null for programs, and a number of rows for people."""
    run = Run()
    run.totals(Counted(100))
    run.totals(Started(0))
    run.now_s += 10
    run.rows(0, 30, usd=None)
    Plain(run.err, run.totals).tick()
    Json(run.err, run.totals).tick()
    assert "$" not in run.lines[0]
    assert ", cost unknown for 30 rows, " in run.lines[0]
    shown = json.loads(run.lines[1])
    assert [shown[name] for name in ("cost", "projected", "per_hour")] == [None] * 3
    assert shown["cost_unknown_rows"] == 30


@pytest.mark.parametrize(
    ("total", "done", "in_flight", "projected"),
    [(None, 50, 0, None), (100, 19, 0, None), (100, 20, 0, 1.0), (100, 20, 30, None),
     (100, 100, 0, 1.0), (5, 5, 0, 0.05), (80, 100, 0, 1.0)],
)  # fmt: skip
def test_the_whole_cost_is_projected_from_enough_rows(
    total: int | None, done: int, in_flight: int, projected: float | None
) -> None:
    """Of 20 rows, and as many as are in flight; and never without the number of rows."""
    run = Run()
    if total is not None:
        run.totals(Counted(total))
    for index in range(in_flight):
        run.totals(Started(1_000 + index))
    run.rows(0, done, usd=Decimal("0.01"))
    Json(run.err, run.totals).tick()
    assert json.loads(run.lines[0])["projected"] == projected


def test_failures_are_told_ten_a_second() -> None:
    """A flood of failed rows becomes ten lines a second and a count of the others."""
    run = Run()
    failures = Failures(Display(run.err, run.totals), lambda: run.now_s)
    for second in range(2):
        for index in range(47):
            failures.add(partial("row {}.{}".format, second, index))
        run.now_s += 1
    assert len(run.lines) == 10 + 1 + 10
    assert run.lines[10] == "llmbatch: (+37 more failed rows)"
    failures.flush(final=True)
    failures.flush(final=True)
    assert run.lines[21:] == ["llmbatch: (+37 more failed rows)"]
