"""The display in a process of its own, on a real pseudo-terminal."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ui.screen import Screen

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import termios

from support.terminal import all_of

DRIVE = Path(__file__).with_name("drive.py")
RUN = {"rows": 60, "rows_per_s": 110, "total": 60, "fail_every": 20}


def seen(width: int, environ: dict[str, str] | None = None, **options: Any) -> tuple[str, int]:
    """Everything that a terminal of this width got from a made-up run, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    kept = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")
    }
    process = subprocess.Popen(
        [sys.executable, str(DRIVE), json.dumps({**RUN, **options})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **(environ or {})},
    )
    os.close(theirs)
    try:
        got = all_of(ours)
    finally:
        os.close(ours)
    return got, process.wait(20)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_terminal_stays_whole(width: int) -> None:
    """Nothing wraps, the display is gone at the end, the cursor is shown."""
    text, status = seen(width)
    display, start, summary = text.rpartition("llmbatch: 60 rows: 57 answered, 3 failed ")
    screen = Screen(width).feed(display)
    assert (status, screen.folds, screen.cursor_shown) == (0, 0, True)
    assert "\x1b[?25l" in display
    assert screen.lines == []
    assert start
    assert "\x1b" not in summary


def test_what_is_said_in_between_stays() -> None:
    """Notices, failed rows and other people's lines stand above the summary, clean."""
    text, _ = seen(60, noise=True, verbose=1)
    screen = Screen(60).feed(text)
    lines = screen.lines
    assert screen.cursor_shown
    assert "somebody else's line" in lines
    assert "llmbatch: half of it red back next" in lines
    assert sum(line.startswith("llmbatch: row q") for line in lines) == 3
    assert not any("━" in line or "in flight" in line for line in lines)


def test_a_run_that_is_broken_off_leaves_a_usable_terminal() -> None:
    """After KeyboardInterrupt the display is gone and the cursor shown."""
    text, status = seen(80, raises=True, rows=200, total=200)
    screen = Screen(80).feed(text)
    assert "\x1b[?25l" in text
    assert (status, screen.lines, screen.cursor_shown) == (130, [], True)


def test_no_color_means_no_colour() -> None:
    """NO_COLOR leaves cursor movement, but no colour code."""
    assert "m" in Screen(80).feed(seen(80)[0]).codes
    assert "m" not in Screen(80).feed(seen(80, {"NO_COLOR": "1"})[0]).codes


def test_a_dumb_terminal_gets_plain_text() -> None:
    """TERM=dumb: no escape sequence at all."""
    text, _ = seen(80, {"TERM": "dumb"}, verbose=1, noise=True)
    assert "\x1b" not in text
    assert "llmbatch: row q" in text


def test_a_short_run_shows_its_summary_only() -> None:
    """Below 0.3 s there is no flash of a display."""
    text, _ = seen(80, rows=10, total=10, rows_per_s=1_000)
    assert text.startswith("llmbatch: 10 rows: ")
    assert "\x1b" not in text


def test_where_answers_are_printed_there_is_no_display() -> None:
    """Standard output on the same terminal: auto draws nothing over the answers."""
    text, _ = seen(80, stdout_is_terminal=True)
    assert text.startswith("llmbatch: 60 rows: ")
