"""How long a signal lets a run go on."""

import asyncio
import ctypes
import os
import signal
import sys

import pytest

from llmbatch_cli.cli import signals
from llmbatch_cli.cli.say import Voice
from llmbatch_cli.core.events import Gauges, Opened, Started
from llmbatch_cli.ui.report import summary
from llmbatch_cli.ui.totals import Totals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


async def test_what_is_in_flight_has_a_while_and_is_dropped_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and only what was on the wire may be billed."""
    monkeypatch.setattr(signals, "DRAIN_S", 0.1)
    totals = Totals()
    totals(Opened(Gauges(in_flight=lambda: 2)))  # one of the three only waits
    for index in range(3):
        totals(Started(index))
    asked = signals.Interrupts(Voice(as_json=False, quiet=False), totals)
    asked.interrupt(signal.SIGTERM)
    assert (asked.stop.draining, asked.stop.cancelling) == (True, False)
    await asyncio.sleep(0.3)
    assert asked.stop.cancelling
    asked.close()
    err = capsys.readouterr().err
    assert "2 rows in flight have 0.1 s to end; SIGTERM again drops them" in err
    assert "dropping 2 rows still in flight after 0.1 s" in err
    totals.dropped, totals.cut_short = 3, True
    assert "up to 2 rows dropped in flight may have been billed" in summary(totals)


async def test_handlers_are_taken_back_from_a_library(capsys: pytest.CaptureFixture[str]) -> None:
    """One in C that has put its own before them, as Ray does for SIGTERM."""
    with signals.interrupts(Voice(as_json=False, quiet=False), Totals()) as asked:
        ctypes.CDLL(None).signal(signal.SIGHUP, ctypes.c_void_p(1))  # ignored, and Python unaware
        signals.keep_handlers()
        asked.totals.rows = 1
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert asked.count == 1
