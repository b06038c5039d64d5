"""Signals: the first asks a run to finish what is on the wire, the second drops it.

Rows that are finished are written as long as their reader reads, until a third signal.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from llmbatch_cli.cli.say import Voice
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.ui.money import format_rows
from llmbatch_cli.ui.totals import Totals

GRACE_S: Final = 2.0
"""From the second signal until whatever still holds the run is given up."""

DRAIN_S: Final = 10.0
"""How long what is on the wire may take after the first signal: whoever sends SIGTERM, as docker,
Kubernetes and Slurm do, kills soon after."""

NUMBERS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def handled() -> Sequence[int]:
    """The signals that end a run, without those that whoever started us has had ignored.

    nohup does so with SIGHUP, and a shell with SIGINT of a script's `command &`.
    """
    return [number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN]


class Interrupts:
    """What signals have requested of one run."""

    def __init__(self, voice: Voice, totals: Totals) -> None:
        self.count = 0
        self.stop = Stop()
        """The run's."""
        self.totals = totals
        """The run's."""
        self.rows_waiting: Callable[[], int] = lambda: 0
        """How many finished rows are not yet written."""
        self._voice = voice
        self._loop = asyncio.get_running_loop()
        self._main: asyncio.Task[Any] | None = asyncio.current_task()
        self._drained: asyncio.TimerHandle | None = None
        self.stop.listen(lambda: totals.cancelled() if self.stop.cancelling else None)

    def interrupt(self, number: int) -> None:
        """Start no new row; the second time drop those in flight, the third those not written."""
        self.count += 1
        in_flight, unwritten = self.totals.in_flight, self.rows_waiting()
        again = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self.count > 1 or not (in_flight or self.totals.rows):
            self.stop.cancel()
            self._loop.call_later(GRACE_S if in_flight else 0, self._give_up)
            if unwritten and self.count == 2:
                message = f"writing {format_rows(unwritten)} that finished"
                self._voice.notice(f"{message}; {again} once more drops what is not written")
            return
        waiting = self.totals.waiting
        self.stop.drain()
        if in_flight:
            self._drained = self._loop.call_later(DRAIN_S, self._drop)
            have, them = ("has", "it") if in_flight == 1 else ("have", "them")
            message = f"stopping: {format_rows(in_flight)} in flight {have} {DRAIN_S:g} s to end"
            self._voice.notice(f"{message}; {again} again drops {them}")
        elif unwritten:
            self._voice.notice(f"stopping: writing {format_rows(unwritten)} that finished")
        elif waiting:
            self._voice.notice(
                f"stopping: {format_rows(waiting)} only waited, nothing is in flight"
            )

    def close(self) -> None:
        """The run is over."""
        if self._drained is not None:
            self._drained.cancel()

    def _drop(self) -> None:
        """Cancel what did not finish in the time that it had."""
        in_flight = self.totals.in_flight
        if in_flight:
            rows = format_rows(in_flight)
            self._voice.notice(f"dropping {rows} still in flight after {DRAIN_S:g} s")
            self.stop.cancel()
            self._loop.call_later(GRACE_S, self._give_up)

    def _give_up(self) -> None:
        if self._main is not None:
            self._main.cancel()


def keep_handlers() -> None:
    """Take signals back from a library that has put handlers of its own before those of Python."""
    for number in handled():
        signal.signal(number, signal.getsignal(number))
        if hasattr(signal, "siginterrupt"):
            signal.siginterrupt(number, False)


@contextlib.contextmanager
def interrupts(voice: Voice, totals: Totals) -> Iterator[Interrupts]:
    """While this is open, SIGINT, SIGTERM and SIGHUP end the run, but for ignored ones."""
    asked = Interrupts(voice, totals)
    loop = asyncio.get_running_loop()
    before = [(number, signal.getsignal(number)) for number in handled()]
    for number, _ in before:
        try:
            loop.add_signal_handler(number, asked.interrupt, number)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda got, _: loop.call_soon_threadsafe(asked.interrupt, got))
    try:
        yield asked
    finally:
        asked.close()
        for number, handler in before:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
