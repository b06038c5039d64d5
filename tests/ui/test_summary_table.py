"""The summary as a table."""

import io

import pytest
from ui.screen import Screen

from llmbatch_cli.core.events import Finished
from llmbatch_cli.core.ledger import MaybeBilled, Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.summary_table import print_table
from llmbatch_cli.ui.totals import Totals

ENVIRON = {"TERM": "xterm-256color", "NO_COLOR": "1"}


def shown(totals: Totals, columns: int, *notes: str) -> Screen:
    out = io.StringIO()
    print_table(out, {**ENVIRON, "COLUMNS": str(columns)}, totals, notes)
    return Screen(columns).feed(out.getvalue())


def a_run() -> Totals:
    totals = Totals(lambda: 7.0)
    done = Completion("a", usage=Usage(10, 5, 15))
    for index in range(3):
        outcome = Outcome(index, index, "m", "p", done, latency_s=0.25, attempts=1, cost_usd=None)
        totals(Finished(outcome))
    message = "no \x1b]0;title\x07[red]way[/red] " + "and on " * 30
    failed = Outcome(3, 3, "m", "p", error=Failure("timed_out", message), attempts=2)
    failed.maybe_billed = MaybeBilled(2, None)
    totals(Finished(failed))
    return totals


def test_an_unknown_cost_is_a_number_of_rows() -> None:
    """And what a message says has no power over the terminal."""
    lines = shown(a_run(), 200, "a note").lines
    assert lines[0] == "llmbatch: 4 rows: 3 answered, 1 failed in 0.00 s"
    assert lines[1].startswith("  1 timed_out  no [red]way[/red] and on")
    assert lines[2:] == [
        "  tokens in    30",
        "  tokens out   15",
        "  cost         unknown for 3 rows",
        "               may have been billed unseen: an unknown amount for 2 attempts",
        "  latency      0.25 s median, 0.25 s p95",
        "  attempts     5, 1 of them retries",
        "  rate         0.0 rows/s",
        "  a note",
    ]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_no_line_of_the_table_is_folded_by_the_terminal(columns: int) -> None:
    """Long messages go on below, in their own column."""
    screen = shown(a_run(), columns, "a note of many words " * 5)
    (heading, *_) = screen.lines
    assert screen.folds == (len(heading) < len("llmbatch: 4 rows: 3 answered, 1 failed in 0.00 s"))


def test_a_terminal_that_is_gone_is_no_error() -> None:
    """Its window was closed."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    print_table(Gone(), ENVIRON, a_run(), ["a note"])
