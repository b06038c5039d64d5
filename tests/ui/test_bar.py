"""The display, drawn into a terminal that is only computed."""

import io
import os
import time
from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from ui.screen import Screen

from llmbatch_cli.core.events import (
    Counted,
    Finished,
    Gauges,
    Jobs,
    JobShown,
    Opened,
    Pulled,
    Started,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Failure, Outcome
from llmbatch_cli.ui.bar import Bar
from llmbatch_cli.ui.stderr import Stderr
from llmbatch_cli.ui.totals import Totals

COLOURS = {"TERM": "xterm-256color"}


class Terminal:
    """A display, its run, and the screen that it draws on."""

    def __init__(
        self, width: int, environ: Mapping[str, str] = COLOURS, *, label: str = "fake/echo",
        rows: bool = True, height: int = 24,
    ) -> None:  # fmt: skip
        self.now_s = 10.0
        self.totals = Totals(lambda: self.now_s)
        self.out = io.StringIO()
        self.size = os.terminal_size((width, height))
        self.bar = Bar(Stderr(self.out), environ, label, self.totals, lambda: self.size, rows=rows)

    def run(self, done: int, failed: int = 0, in_flight: int = 0) -> None:
        """Rows begun, and all but `in_flight` of them ended one second later."""
        for index in range(done + in_flight):
            self.totals(Started(index))
        self.now_s += 1
        for index in range(done):
            outcome = Outcome(index, index, "m", "fake")
            if index < failed:
                outcome.error = Failure("rejected", "no")
            else:
                outcome.completion = Completion("x", usage=Usage(10, 35))
            self.totals(Finished(outcome))

    @property
    def screen(self) -> list[str]:
        """The lines that stand on the terminal."""
        return Screen(self.size.columns).feed(self.out.getvalue()).lines


FULL = (
    f"fake/echo {'━' * 50} 1,200/5,000 rows    3 s left\n"
    "1,200 rows/s, 11,940 tokens/s in, 41,790 out, 64 in flight, 6 failed, 1 s"
)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, FULL),
        (100, FULL),
        (60, """fake/echo ━━━━━━━━━━━━━━━━━━━━ 1,200/5,000 rows    3 s left
1,200 rows/s, 64 in flight, 6 failed, 1 s"""),
        (30, """━━━━━━━━━━━━ 1,200/5,000 rows
1,200 rows/s, 6 failed"""),
        (20, """━━━━━━━ 1,200/5,000
1,200/s, 6 failed"""),
    ],
)  # fmt: skip
def test_the_display_at_several_widths(width: int, shown: str) -> None:
    """The narrower the terminal, the fewer the fields; the count and the failures stay."""
    terminal = Terminal(width)
    terminal.totals(Counted(5_000))
    terminal.run(1_200, failed=6, in_flight=64)
    terminal.bar.tick()
    halves = str.maketrans("╸╺", "━━")
    assert "\n".join(terminal.screen).translate(halves) == shown


@pytest.mark.parametrize(
    ("width", "cap_usd", "unknown", "shown"),
    [
        (80, None, 0, "$12.35, about $51.44 in all, $44,444.16/h"),
        (80, 100.0, 6,
         "$12.35 of $100.00, about $51.64 in all, $44,444.16/h, cost unknown for 6 rows"),
        (60, 100.0, 0, "$12.35 of $100.00, about $51.44 in all, $44,444.16/h"),
        (60, 100.0, 6, "$12.35 of $100.00, about $51.64 in all, 6 unknown"),
        (30, 100.0, 6, "$12.35/$100.00, 6 unknown"),
        (20, 100.0, 6, "$12.35, 6 unknown"),
        (80, None, 1_200, "cost unknown for 1,200 rows"),
    ],
)  # fmt: skip
def test_money_has_a_line_of_its_own(
    width: int, cap_usd: float | None, unknown: int, shown: str
) -> None:
    """The cost so far, of the whole input and an hour; an unknown cost is a number of rows."""
    terminal = Terminal(width)
    terminal.totals(Opened(Gauges(cap_usd=cap_usd)))
    terminal.totals(Counted(5_000))
    terminal.run(1_200, failed=6, in_flight=64)
    terminal.totals.unknown_cost = unknown
    terminal.totals.cost_usd = Decimal("12.3456") if unknown < 1_200 else 0
    terminal.bar.tick()
    assert len(terminal.screen) == 3
    assert terminal.screen[-1] == shown


NUMBERS = st.integers(0, 10**10)


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(20, 200),
    label=st.text(max_size=70) | st.just("東京/" * 20),
    done=NUMBERS,
    total=st.none() | NUMBERS,
    seconds=st.floats(0, 1e8),
    environ=st.sampled_from([COLOURS, {**COLOURS, "NO_COLOR": "1"}, {"TERM": "vt100"}]),
    usd=st.none() | st.floats(0, 1e9),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, label: str, done: int, total: int | None, seconds: float, environ: dict[str, str],
    usd: float | None,
) -> None:  # fmt: skip
    """Whatever the numbers and the names, at 20 to 200 columns nothing wraps."""
    terminal = Terminal(width, environ, label=label)
    totals = terminal.totals
    totals(Started(0))
    terminal.bar.pulled(Pulled(label, 0, total))
    terminal.now_s += seconds
    totals.rows = totals.failed["x"] = totals.prompt_tokens = totals.completion_tokens = done
    totals.total = total
    totals.cost_usd, totals.unknown_cost = Decimal(usd or 0), done if usd is None else 0
    totals.gauges = Gauges(cap_usd=usd)
    terminal.bar.pulled(Pulled(label, done, total))
    terminal.bar.tick()
    assert all(0 < cell_len(line) < width for line in terminal.screen)
    assert cell_len(terminal.screen[-1]) <= width - len(" ^C")
    has_money = done if usd is None else usd
    assert len(terminal.screen) == 2 + (done < (total or 0)) + bool(has_money)


@pytest.mark.parametrize("narrow", [61, 40, 20])
def test_a_terminal_made_narrower_stays_whole(narrow: int) -> None:
    """The lines that the terminal has folded are taken away, and no line above them."""
    terminal = Terminal(120)
    terminal.totals(Counted(5_000))
    terminal.run(1_200, failed=6, in_flight=64)
    terminal.bar.say("above")
    terminal.bar.tick()
    screen = Screen(120).feed(terminal.out.getvalue())
    screen.resize(narrow)
    assert len(screen.lines) > 3
    seen = len(terminal.out.getvalue())
    terminal.size = os.terminal_size((narrow, 24))
    terminal.bar.tick()
    terminal.bar.say("below")
    screen.feed(terminal.out.getvalue()[seen:])
    above, below, _, speeds = screen.lines
    assert (above, below) == ("llmbatch: above", "llmbatch: below")
    assert speeds.startswith("1,200")


def test_markup_in_names_is_text() -> None:
    """What looks like rich's markup or emoji is shown as it is."""
    terminal = Terminal(100, label="[red]me[/red] :smile: \x1b[5m[/]")
    terminal.bar.tick()
    assert terminal.screen[0].startswith("[red]me[/red] :smile: [/] ")


def test_without_a_total_there_is_a_count_and_a_pulse() -> None:
    """No share can be drawn of an unknown whole, so the bar moves to show life."""
    terminal = Terminal(100, {**COLOURS, "NO_COLOR": "1"})
    terminal.run(12)
    terminal.bar.tick()
    assert terminal.screen[0].endswith(" 12 rows")
    assert "━" in terminal.screen[0]


def test_messages_stand_above_the_display() -> None:
    """A line said in the middle of a run stays, and the display stands whole below it."""
    terminal = Terminal(60)
    terminal.bar.say("before the first drawing")
    terminal.bar.tick()
    terminal.bar.say("first")
    terminal.bar.tick()
    terminal.bar.say("a message wider than the terminal " * 3)
    terminal.bar.say("last")
    lines = terminal.screen
    assert lines[:2] == ["llmbatch: before the first drawing", "llmbatch: first"]
    assert lines[-3] == "llmbatch: last"
    assert lines[-2].startswith("fake/echo ")
    assert sum("fake/echo" in line for line in lines) == 1


def test_the_display_is_gone_at_the_end() -> None:
    """What was said stays; the display leaves no line and no hidden cursor behind."""
    terminal = Terminal(60)
    terminal.bar.tick()
    terminal.bar.say("done")
    terminal.bar.close()
    terminal.bar.close()
    screen = Screen(60).feed(terminal.out.getvalue())
    assert (screen.lines, screen.cursor_shown) == (["llmbatch: done"], True)


def test_a_display_that_was_never_drawn_writes_nothing() -> None:
    """A run that ends before the first tick leaves the terminal as it was."""
    terminal = Terminal(60)
    terminal.bar.close()
    assert terminal.out.getvalue() == ""


def test_no_color_is_honoured() -> None:
    """With NO_COLOR there is no colour and no other attribute; without it there is colour."""
    for environ, coloured in ((COLOURS, True), ({**COLOURS, "NO_COLOR": "1"}, False)):
        terminal = Terminal(100, environ)
        terminal.totals(Counted(9))
        terminal.run(5, failed=2)
        terminal.bar.tick()
        assert ("m" in Screen(100).feed(terminal.out.getvalue()).codes) is coloured


def test_failures_are_red() -> None:
    """A failed row is seen at once; none is not coloured."""
    for failed in (0, 1):
        terminal = Terminal(100)
        terminal.run(5, failed=failed)
        terminal.bar.tick()
        assert (f"\x1b[31m{failed} failed" in terminal.out.getvalue()) is bool(failed)


def test_a_download_stands_alone_before_the_rows() -> None:
    """Until the first row only the download is shown; when both go on, both are."""
    terminal = Terminal(100)
    terminal.bar.pulled(Pulled("smollm2", 0, 98_100_000))
    terminal.now_s += 2
    terminal.bar.pulled(Pulled("smollm2", 49_050_000, 98_100_000))
    terminal.bar.tick()
    (line,) = terminal.screen
    assert line.startswith("fetching smollm2 ━")
    assert line.endswith("49.0 MB of 98.1 MB, 24.5 MB/s    2 s left")
    terminal.run(1)
    terminal.bar.tick()
    assert len(terminal.screen) == 3
    terminal.bar.pulled(Pulled("smollm2", 98_100_000, 98_100_000))
    terminal.bar.tick()
    assert [line.startswith("fetching") for line in terminal.screen] == [False, False]


def test_where_answers_are_printed_no_row_is_drawn() -> None:
    """Without rows there is a display for a download only, and it is gone with the first row."""
    terminal = Terminal(100, rows=False)
    terminal.bar.tick()
    assert terminal.out.getvalue() == ""
    terminal.bar.pulled(Pulled("smollm2", 1, 10))
    terminal.bar.tick()
    assert len(terminal.screen) == 1
    terminal.run(1)
    terminal.bar.tick()
    screen = Screen(100).feed(terminal.out.getvalue())
    assert (screen.lines, screen.cursor_shown) == ([], True)


def test_a_low_terminal_is_not_scrolled() -> None:
    """The display is never as high as the terminal."""
    for height, lines in ((1, 1), (2, 1), (3, 2)):
        terminal = Terminal(60, height=height)
        terminal.bar.tick()
        assert len(terminal.screen) == lines


def test_a_terminal_of_few_characters_gets_those() -> None:
    """Where the encoding has no box characters, the bar is of ASCII."""

    class Latin(io.StringIO):
        encoding = "ascii"

    terminal = Terminal(60)
    terminal.out = Latin()
    terminal.bar = Bar(
        Stderr(terminal.out), COLOURS, "東京", terminal.totals, lambda: terminal.size
    )
    terminal.bar.tick()
    assert terminal.out.getvalue().isascii()
    assert "-----" in terminal.screen[0]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, "1 job (in_progress), 9,000 of 50,000 rows done there, 2 h 5 min old, expires in 21 h"
         " 55 min"),
        (90, "1 job (in_progress), 9,000 of 50,000 rows done there, expires in 21 h 55 min"),
        (70, "1 job (in_progress), 9,000 of 50,000 rows done there"),
    ],
)  # fmt: skip
def test_jobs_are_told_at_any_width(width: int, shown: str) -> None:
    """They are waited for for hours, so their line is not left out for a word too many."""
    now_s = time.time()
    terminal = Terminal(width)
    terminal.totals(Counted(50_000))
    job = JobShown("in_progress", 50_000, now_s - 7_530, 9_000, now_s + 78_910)
    terminal.totals(Jobs([job]))
    terminal.bar.tick()
    assert terminal.screen[1].removeprefix("0 failed, ").removesuffix(", 0 s") == shown
