"""Which display is chosen, and what reaches it."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ui.screen import Screen

from llmbatch_cli.core.events import Counted, Event, Finished, Notice, Observer, Pulled, Started
from llmbatch_cli.core.options import DisplayOptions, ProgressMode
from llmbatch_cli.core.types import Failure, Outcome
from llmbatch_cli.ui.progress import Streams, open_progress
from llmbatch_cli.ui.totals import Totals

XTERM = {"TERM": "xterm-256color", "COLUMNS": "60"}
FAILED = Finished(Outcome(0, "q\x1b[1m1", "m", "fake", error=Failure("rejected", "no\nway " * 99)))
EVENTS: list[Event] = [Counted(2), Started(0), Notice("take\x1b[5m\nnote"), FAILED, Started(1)]


PLAIN = DisplayOptions(progress="plain")


class Tty(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


async def shown(
    mode: ProgressMode,
    stderr: Any,
    *,
    wait_s: float = 0.0,
    environ: Mapping[str, str] = XTERM,
    stdout_is_terminal: bool = False,
    stdout_is_pipe: bool = False,
    **options: Any,
) -> Totals:
    """The events shown in this mode, then a wait."""
    totals = Totals()
    streams = Streams(stderr, environ, stdout_is_terminal, stdout_is_pipe)
    async with open_progress(DisplayOptions(progress=mode, **options), streams, totals) as observe:
        for event in EVENTS:
            observe(event)
        await asyncio.sleep(wait_s)
    return totals


def drawn(out: io.StringIO) -> bool:
    return "\x1b[?25l" in out.getvalue()


@pytest.mark.parametrize(
    ("mode", "make", "environ", "options", "bar"),
    [
        ("auto", Tty, XTERM, {}, True),
        ("bar", Tty, XTERM, {}, True),
        ("auto", io.StringIO, XTERM, {}, False),
        ("bar", io.StringIO, XTERM, {}, False),
        ("auto", Tty, {"TERM": "dumb"}, {}, False),
        ("bar", Tty, {"TERM": "dumb"}, {}, False),
        ("plain", Tty, XTERM, {}, False),
        ("json", Tty, XTERM, {}, False),
        ("none", Tty, XTERM, {}, False),
        ("auto", Tty, XTERM, {"quiet": True}, False),
        ("auto", Tty, XTERM, {"stdout_is_terminal": True}, False),
        ("auto", Tty, XTERM, {"stdout_is_pipe": True}, False),
        ("bar", Tty, XTERM, {"stdout_is_pipe": True}, True),
    ],
)  # fmt: skip
async def test_a_display_is_drawn_only_where_it_can_be_seen(
    mode: ProgressMode, make: Callable[[], io.StringIO], environ: dict[str, str],
    options: dict[str, Any], bar: bool,
) -> None:  # fmt: skip
    """A terminal that can move its cursor, that nobody else writes to, and no other wish."""
    out = make()
    await shown(mode, out, wait_s=0.4, environ=environ, **options)
    assert drawn(out) is bar
    assert bar or "\x1b" not in out.getvalue()


@pytest.mark.parametrize("mode", ["auto", "plain", "none"])
async def test_notices_are_shown_at_once_and_clean(mode: ProgressMode) -> None:
    """In every mode but quiet, a notice is a line of its own."""
    out = Tty()
    await shown(mode, out)
    assert out.getvalue() == "llmbatch: take note\n"


@pytest.mark.parametrize("mode", ["auto", "bar", "plain", "json", "none"])
async def test_quiet_is_quiet(mode: ProgressMode) -> None:
    """Nothing is written, and everything is counted."""
    out = Tty()
    totals = await shown(mode, out, quiet=True, verbose=2, wait_s=0.4)
    assert out.getvalue() == ""
    assert (totals.rows, totals.total, totals.in_flight) == (1, 2, 1)


async def test_failed_rows_are_told_where_asked() -> None:
    """With -v, a failed row is one clean line, no wider than the terminal."""
    out = Tty()
    await shown("auto", out, verbose=1)
    line = out.getvalue().splitlines()[1]
    assert line.startswith("llmbatch: row q1: rejected: no way no way")
    assert len(line) == 60


async def test_programs_read_nothing_but_json() -> None:
    """Notices and failed rows too are objects, and the last line is final."""
    out = Tty()
    await shown("json", out, verbose=1)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [set(line) for line in lines[:2]] == [{"notice"}, {"notice"}]
    assert (lines[-1]["final"], lines[-1]["errors"]) == (True, {"rejected": 1})


async def test_downloads_and_notices_may_come_from_threads() -> None:
    """What a thread tells is shown by the loop's own thread, in order."""
    writers = set()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            writers.add(threading.get_ident())
            return super().write(text)

    out, totals = Watched(), Totals()

    def tell(observe: Observer) -> None:
        for tenth in range(11):
            observe(Pulled("weights", tenth * 100_000, 1_000_000))
        observe(Notice("pulled"))

    async with open_progress(PLAIN, Streams(out, {}), totals) as observe:
        await asyncio.to_thread(tell, observe)
        await asyncio.sleep(0.01)
    assert writers == {threading.get_ident()}
    assert len(out.getvalue().splitlines()) == 11
    assert out.getvalue().endswith("llmbatch: pulled\n")


class Gone(Tty):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("mode", ["auto", "plain", "json", "none"])
async def test_nobody_to_tell_is_no_reason_to_stop(mode: ProgressMode, tmp_path: Path) -> None:
    """A standard error that is closed, broken or not there changes nothing for the run."""
    closed = (tmp_path / "closed").open("w")
    closed.close()
    for stream in (Gone(), closed, None):
        wait_s = 0.35 if mode == "auto" else 0.0
        totals = await shown(mode, stream, wait_s=wait_s, verbose=1)
        assert totals.rows == 1


async def test_the_display_ends_with_an_error_too() -> None:
    """Whatever ends the run, the cursor is shown, and sys.stderr is what it was."""
    out, before = Tty(), sys.stderr
    with pytest.raises(RuntimeError, match="in the run"):
        async with open_progress(DisplayOptions(), Streams(out, XTERM), Totals()):
            await asyncio.sleep(0.4)
            raise RuntimeError("in the run")
    assert drawn(out)
    screen = Screen(60).feed(out.getvalue())
    assert (screen.lines, screen.cursor_shown) == ([], True)
    assert sys.stderr is before


async def test_no_thread_is_started_and_no_timer_left() -> None:
    """The display lives in the loop and is gone with its context."""
    threads = threading.active_count()
    out = Tty()
    await shown("auto", out, wait_s=0.5)
    assert threading.active_count() == threads
    size = len(out.getvalue())
    await asyncio.sleep(0.3)
    assert len(out.getvalue()) == size


async def test_what_others_print_stands_above_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the display is up, a print to standard error does not tear it."""
    out = Tty()
    monkeypatch.setattr(sys, "stderr", out)
    async with open_progress(DisplayOptions(), Streams(out, XTERM), Totals()):
        await asyncio.sleep(0.4)
        assert sys.stderr is not out
        assert sys.stderr.isatty()
        print("a whole line", file=sys.stderr)
        print("[half] a line", end="", file=sys.stderr, flush=True)
        print("no end", end="", file=sys.stderr)
    assert sys.stderr is out
    assert Screen(60).feed(out.getvalue()).lines == ["a whole line", "[half] a line", "no end"]
