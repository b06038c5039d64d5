"""Progress as lines, for people and for programs."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from llmbatch_cli.core.events import Pulled
from llmbatch_cli.ui.report import (
    format_about,
    format_bytes,
    format_count,
    format_duration,
    format_rate,
    held,
)
from llmbatch_cli.ui.text import Stderr, clean
from llmbatch_cli.ui.totals import Pace, Speed, Totals, mean_rows_per_s

PREFIX: Final = "llmbatch: "
LINE_CHARS: Final = 300
"""The longest line about one row where no terminal sets its width."""
_NAME_CHARS: Final = 60


class Display(Protocol):
    """One way to show a run. Every method is called in the event loop's thread."""

    first_s: float
    """From the opening to the first tick."""
    every_s: float
    """From tick to tick."""

    def tick(self) -> None:
        """Show how far the run is."""

    def say(self, message: str) -> None:
        """Show a clean message at once, for good."""

    def pulled(self, event: Pulled) -> None:
        """Show how far a download is."""

    def close(self) -> None:
        """Show the end."""

    def width(self) -> int:
        """The columns that a message may take."""


class Silent:
    """Messages, and nothing about the rows."""

    first_s = every_s = 1.0

    def __init__(self, err: Stderr) -> None:
        self._err = err

    def tick(self) -> None:
        """Show nothing."""

    def say(self, message: str) -> None:
        """One line."""
        self._err.write(f"{PREFIX}{message}\n")

    def pulled(self, event: Pulled) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""

    def width(self) -> int:
        """The columns that a message may take."""
        return LINE_CHARS


class Plain(Silent):
    """A line every 10 s. The last one is left out where it would be the only one.

    A run so short is told by its summary.
    """

    first_s = every_s = 10.0

    def __init__(self, err: Stderr, totals: Totals) -> None:
        super().__init__(err)
        self._totals = totals
        self._pace = Pace(totals)
        self._lines = 0
        self._tenths: dict[str, int] = {}

    def tick(self) -> None:
        """One line."""
        self.say(progress_line(self._totals, self._pace.look()))
        self._lines += 1

    def pulled(self, event: Pulled) -> None:
        """A line for every 10 % of a download, or every 10 MB of one of unknown size."""
        done, total = event.done_bytes, event.total_bytes
        tenths = done * 10 // total if total else done // 10_000_000
        if tenths <= self._tenths.get(event.name, 0):
            return
        self._tenths[event.name] = tenths
        share = f"{tenths * 10} %, {format_bytes(done)} of " if total else ""
        size = format_bytes(total or done)
        self.say(f"fetching {clean(event.name, _NAME_CHARS)}: {share}{size}")

    def close(self) -> None:
        """The last line."""
        if self._lines:
            self.tick()


class Json(Silent):
    """One JSON object a line, every second, and at the end one with `final`."""

    def __init__(self, err: Stderr, totals: Totals) -> None:
        super().__init__(err)
        self._totals = totals
        self._pace = Pace(totals)
        self._pulls: dict[str, Pulled] = {}

    def tick(self) -> None:
        """One object; `rows_per_s` is over the last 10 s."""
        self._put_pulls()
        speed = self._pace.look()
        self._put(progress_object(self._totals, speed.rows_per_s, speed.left_s))

    def say(self, message: str) -> None:
        """The object `{"notice": message}`."""
        self._put({"notice": message})

    def pulled(self, event: Pulled) -> None:
        """Keep it for the next tick: `{"pull": name, "done_bytes": n, "total_bytes": n}`."""
        self._pulls[event.name] = event

    def close(self) -> None:
        """The last object; `rows_per_s` is over the whole run, `eta_s` null with rows left."""
        self._put_pulls()
        totals = self._totals
        left = totals.cut_short or totals.rows < (totals.total or 0)
        mean = mean_rows_per_s(totals)
        self._put(progress_object(totals, mean, None if left else 0.0, final=True))

    def _put_pulls(self) -> None:
        for name, pull in self._pulls.items():
            size = {"done_bytes": pull.done_bytes, "total_bytes": pull.total_bytes}
            self._put({"pull": name, **size})
        self._pulls.clear()

    def _put(self, value: Mapping[str, Any]) -> None:
        self._err.write(json.dumps(value) + "\n")


def progress_line(totals: Totals, speed: Speed) -> str:
    """How far a run is, for people: `1,200/5,000 rows, 6 failed, ..., 38 s, 2 min left`."""
    done = format_count(totals.rows)
    if totals.total is not None:
        done += f"/{format_count(totals.total)}"
    fields = [
        f"{done} rows",
        f"{format_count(totals.failed_rows)} failed",
        f"{format_count(totals.in_flight)} in flight",
        held(totals),
        f"{format_rate(speed.rows_per_s)} rows/s",
        f"{format_rate(speed.completion_tokens_per_s)} tokens/s out",
        format_duration(totals.elapsed_s, whole=True),
    ]
    if speed.left_s:
        fields.append(f"{format_about(speed.left_s)} left")
    return ", ".join(filter(None, fields))


def progress_object(
    totals: Totals, rows_per_s: float, left_s: float | None, *, final: bool = False
) -> dict[str, Any]:
    """How far a run is, for programs."""
    return {
        "rows": totals.rows,
        "total": totals.total,
        "answered": totals.answered,
        "failed": totals.failed_rows,
        "errors": totals.failed,
        "truncated": totals.truncated,
        "dropped": totals.dropped,
        "in_flight": totals.in_flight,
        "held_by": totals.held_by(),
        "retries": totals.retries,
        "rows_per_s": round(rows_per_s, 3),
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "elapsed_s": round(totals.elapsed_s, 3),
        "eta_s": None if left_s is None else round(left_s, 1),
        "final": final,
    }


class Failures:
    """Failed rows as messages, at most 10 a second; the others are counted."""

    MOST: Final = 10

    def __init__(self, display: Display, clock: Callable[[], float]) -> None:
        self._display = display
        self._clock = clock
        self._second_s = clock()
        self._told = 0
        self._untold = 0

    def add(self, message: Callable[[], str]) -> None:
        """Tell one failed row, or count it; the message is made only to be told."""
        self.flush()
        if self._told < self.MOST:
            self._told += 1
            self._display.say(message())
        else:
            self._untold += 1

    def flush(self, *, final: bool = False) -> None:
        """When a second is over, or at the end, tell how many rows were left out in it."""
        now = self._clock()
        if now - self._second_s < 1 and not final:
            return
        self._second_s, self._told = now, 0
        if self._untold:
            self._display.say(f"(+{format_count(self._untold)} more failed rows)")
            self._untold = 0
