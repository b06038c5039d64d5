"""Signals: the first asks a run to finish what is in flight, the second drops it."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Any, Final

from llmbatch_cli.cli.say import say
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.ui.totals import Totals

GRACE_S: Final = 2.0
"""From the second signal until whatever still holds the run is given up."""

NUMBERS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupts:
    """What signals have asked of one run."""

    def __init__(self, stop: Stop, totals: Totals) -> None:
        self.count = 0
        self._stop = stop
        self._totals = totals
        self._loop = asyncio.get_running_loop()
        self._main: asyncio.Task[Any] | None = asyncio.current_task()

    def interrupt(self) -> None:
        """Begin no new row; the second time drop those in flight."""
        self.count += 1
        in_flight = self._totals.in_flight
        if self.count > 1 or not (in_flight or self._totals.rows):
            self._stop.cancel()
            self._loop.call_later(GRACE_S if in_flight else 0, self._give_up)
        else:
            self._stop.drain()
            if in_flight:
                say(f"stopping: {in_flight} rows in flight will finish; Ctrl-C again drops them")

    def _give_up(self) -> None:
        if self._main is not None:
            self._main.cancel()


@contextlib.contextmanager
def interrupts(stop: Stop, totals: Totals) -> Iterator[Interrupts]:
    """While this is open, SIGINT, SIGTERM and SIGHUP end the run in good order."""
    asked = Interrupts(stop, totals)
    loop = asyncio.get_running_loop()
    before = [(number, signal.getsignal(number)) for number in NUMBERS]
    for number in NUMBERS:
        try:
            loop.add_signal_handler(number, asked.interrupt)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(asked.interrupt))
    try:
        yield asked
    finally:
        for number, handler in before:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
