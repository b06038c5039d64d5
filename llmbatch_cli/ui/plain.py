"""Progress as lines, for people and for programs."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbatch_cli.core.events import JobShown, Pulled
from llmbatch_cli.core.text import clean, format_count
from llmbatch_cli.ui.jobs import jobs_fields
from llmbatch_cli.ui.money import known_usd, money_fields, projected_usd
from llmbatch_cli.ui.report import (
    format_about,
    format_bytes,
    format_duration,
    format_rate,
    held,
)
from llmbatch_cli.ui.stderr import Stderr
from llmbatch_cli.ui.totals import Totals

PREFIX: Final = "llmbatch: "
LINE_CHARS: Final = 300
"""The longest line about one row where no terminal sets its width."""
_NAME_CHARS: Final = 60


class Display:
    """One way to show a run; this one shows its messages only.

    Every method is called in the event loop's thread.
    """

    first_s = 1.0
    """From the opening to the first tick."""
    every_s = 1.0
    """From tick to tick."""

    def __init__(self, err: Stderr, totals: Totals) -> None:
        self._err = err
        self._totals = totals

    def tick(self) -> None:
        """Show the progress of the run."""

    def say(self, message: str) -> None:
        """Show a clean message at once, on a line of its own."""
        self._err.write(f"{PREFIX}{message}\n")

    def pulled(self, event: Pulled) -> None:
        """Show the progress of a download."""

    def close(self) -> None:
        """Show the end."""

    def width(self) -> int:
        """The columns that a message may take."""
        return LINE_CHARS


class Plain(Display):
    """A line every 10 s, and at the end unless it would be the only one before the summary."""

    first_s = every_s = 10.0
    _FIELDS = (
        "rows",
        "failed",
        "in_flight",
        "waiting",
        "held",
        "rate",
        "tokens_out",
        "cost",
        "projected",
        "per_hour",
        "unpriced",
        "elapsed",
        "left",
    )

    def __init__(self, err: Stderr, totals: Totals) -> None:
        super().__init__(err, totals)
        self._ticked = False
        self._tenths: dict[str, int] = {}

    def tick(self) -> None:
        """One line, as in `1,200/5,000 rows, 6 failed, ..., 38 s, 2 min left`."""
        fields = progress_fields(self._totals)
        self.say(", ".join(fields[name] for name in self._FIELDS if fields[name]))
        self._ticked = True

    def pulled(self, event: Pulled) -> None:
        """A line for every 10 % of a download, or every 10 MB of one of unknown size."""
        done, total = event.done_bytes, event.total_bytes
        tenths = done * 10 // total if total else done // 10_000_000
        if tenths <= self._tenths.get(event.name, 0):
            return
        self._tenths[event.name] = tenths
        share = f"{tenths * 10} %, " if total else ""
        self.say(f"{pull_label(event)}: {share}{pull_size(event)}")

    def close(self) -> None:
        """The last line."""
        if self._ticked:
            self.tick()


class Json(Display):
    """One JSON object a line, every second, and at the end one with `final`."""

    def __init__(self, err: Stderr, totals: Totals) -> None:
        super().__init__(err, totals)
        self._pulls: dict[str, Pulled] = {}

    def tick(self) -> None:
        """One object; `rows_per_s` is over the last 10 s."""
        self._put_pulls()
        speed = self._totals.speed()
        self._put_progress(speed.rows_per_s, speed.usd_per_hour, speed.left_s)

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
        left_s = None if left else 0.0
        self._put_progress(totals.rows_per_s, totals.usd_per_hour, left_s, final=True)

    def _put_pulls(self) -> None:
        for name, pull in self._pulls.items():
            size = {"done_bytes": pull.done_bytes, "total_bytes": pull.total_bytes}
            self._put({"pull": name, **size})
        self._pulls.clear()

    def _put_progress(
        self, rows_per_s: float, usd_per_hour: float, left_s: float | None, final: bool = False
    ) -> None:
        totals = self._totals
        cost, projected = known_usd(totals), projected_usd(totals)
        self._put(
            {
                "rows": totals.rows,
                "total": totals.total,
                "answered": totals.answered,
                "failed": totals.failed_rows,
                "errors": totals.failed,
                "truncated": totals.truncated,
                "dropped": totals.dropped,
                "in_flight": totals.in_flight,
                "waiting": totals.waiting,
                "held_by": totals.held_by,
                "held_s": round(totals.gauges.cooling_s(), 1) or None,
                "retries": totals.retries,
                "rows_per_s": round(rows_per_s, 3),
                "prompt_tokens": totals.prompt_tokens,
                "completion_tokens": totals.completion_tokens,
                "cost": cost,
                "cost_unknown_rows": totals.unknown_cost,
                "projected": None if projected is None else round(projected, 9),
                "per_hour": None if cost is None else round(usd_per_hour, 9),
                "cap": totals.gauges.cap_usd,
                "maybe_billed": float(totals.unseen_usd),
                "not_finished": {
                    "rows": totals.undone.rows,
                    "cost": known_usd(totals.undone),
                    "maybe_billed": float(totals.undone.unseen_usd),
                },
                "elapsed_s": round(totals.elapsed_s, 3),
                "eta_s": None if left_s is None else round(left_s, 1),
                "final": final,
                **({"jobs": [_job(job) for job in totals.jobs]} if totals.jobs else {}),
            }
        )

    def _put(self, value: Mapping[str, Any]) -> None:
        self._err.write(json.dumps(value) + "\n")


def _job(job: JobShown) -> dict[str, Any]:
    return {
        "state": job.state,
        "rows": job.rows,
        "done": job.done,
        "made_at": job.since_s,
        "expires_at": job.expires_s,
    }


_OF_LIVE_RUNS: Final = (
    "in_flight",
    "waiting",
    "rate",
    "rate_alone",
    "tokens",
    "tokens_out",
    "left",
)


def progress_fields(totals: Totals) -> dict[str, str]:
    """The progress of a run for people, by field; empty where there is nothing to show."""
    speed, done = totals.speed(), format_count(totals.rows)
    if totals.total is not None:
        total = format_count(totals.total)
        done = f"{done:>{len(total)}}/{total}"
    rate, out = format_rate(speed.rows_per_s), format_rate(speed.completion_tokens_per_s)
    fields = {
        "count": done,
        "rows": f"{done.lstrip()} rows",
        "failed": f"{format_count(totals.failed_rows)} failed",
        "in_flight": f"{format_count(totals.in_flight)} in flight",
        "waiting": f"{format_count(totals.waiting)} waiting" if totals.waiting else "",
        "held": held(totals),
        "rate": f"{rate} rows/s",
        "rate_alone": f"{rate}/s",
        "tokens": f"{format_rate(speed.prompt_tokens_per_s)} tokens/s in, {out} out",
        "tokens_out": f"{out} tokens/s out",
        **money_fields(totals, speed.usd_per_hour),
        "elapsed": format_duration(totals.elapsed_s, whole=True),
        "left": f"{format_about(speed.left_s)} left" if speed.left_s else "",
    }
    if totals.jobs:  # whose speed is not the run's
        fields.update(dict.fromkeys(_OF_LIVE_RUNS, ""), **jobs_fields(totals.jobs))
    return fields


def pull_label(event: Pulled) -> str:
    """What is downloaded."""
    return f"fetching {clean(event.name, _NAME_CHARS)}"


def pull_size(event: Pulled) -> str:
    """49.0 MB of 98.1 MB."""
    total = f" of {format_bytes(event.total_bytes)}" if event.total_bytes else ""
    return f"{format_bytes(event.done_bytes)}{total}"


class Failures:
    """Failed rows as messages, at most 10 a second; the others are counted."""

    MOST: Final = 10

    def __init__(self, display: Display, clock: Callable[[], float]) -> None:
        self._display = display
        self._clock = clock
        self._second_s = clock()
        self._shown = 0
        self._hidden = 0

    def add(self, message: Callable[[], str]) -> None:
        """Show one failed row, or count it; the message is made only to be shown."""
        self.flush()
        if self._shown < self.MOST:
            self._shown += 1
            self._display.say(message())
        else:
            self._hidden += 1

    def flush(self, *, final: bool = False) -> None:
        """When a second is over, or at the end, show how many rows were left out in it."""
        now = self._clock()
        if now - self._second_s < 1 and not final:
            return
        self._second_s, self._shown = now, 0
        if self._hidden:
            self._display.say(f"(+{format_count(self._hidden)} more failed rows)")
            self._hidden = 0
