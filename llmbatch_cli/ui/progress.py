"""What a run shows on standard error while it goes on."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sized
from functools import partial
from typing import Final, TextIO

from llmbatch_cli.core.events import Counted, Event, Finished, Notice, Observer, Pulled
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.options import DisplayOptions
from llmbatch_cli.core.privacy import prompt_of, without_prompt
from llmbatch_cli.core.text import clean
from llmbatch_cli.core.types import Failure, RowId
from llmbatch_cli.ui.plain import PREFIX, Display, Failures, Json, Plain
from llmbatch_cli.ui.report import summary
from llmbatch_cli.ui.stderr import Stderr, terminal_size
from llmbatch_cli.ui.totals import Totals

_NOTICE_CHARS: Final = 2_000
_FLUSH_S: Final = 1.0


@frozen
class Streams:
    """Where a run is shown."""

    stderr: TextIO | None
    """None is a closed one."""
    environ: Mapping[str, str]
    """TERM, NO_COLOR, COLUMNS and what else rich reads."""
    stdout_is_terminal: bool = False
    """Whether answers go to a terminal; auto then shows no rows, as both would mix."""
    stdout_is_pipe: bool = False
    """Whether another program reads the answers; auto then draws nothing, as that program may
    use the same terminal: a pager, or one that prints."""


@contextlib.asynccontextmanager
async def open_progress(
    options: DisplayOptions, streams: Streams, totals: Totals, label: str = ""
) -> AsyncIterator[Observer]:
    """Show a run on standard error; yields the observer to feed.

    The observer counts into `totals`, and may be called from other threads for notices and
    downloads. No thread is started, and a broken standard error is never an error.

    Args:
        options: with `progress` auto, a bar on a terminal, else and in a pipe plain lines.
            A bar needs a terminal with cursor movement, else it gives way to plain lines, too.
        streams: where to show it.
        totals: the run's numbers, fed by this observer only.
        label: what is run, mostly the model.
    """
    if options.quiet:
        yield totals.__call__  # a method is called faster than an object
        return
    showing = _Showing(_choose(options.progress, streams, totals, label), totals, options)
    try:
        yield showing.observe
    finally:
        showing.close()


@contextlib.asynccontextmanager
async def shown(label: str, rows: object = None) -> AsyncIterator[Observer]:
    """A run's display on standard error, and its summary at the end, for callers from Python.

    `rows` are those of the run; where they have a length, the display says how many are left.
    """
    totals, streams = Totals(), Streams(sys.stderr, os.environ)
    try:
        async with open_progress(DisplayOptions(), streams, totals, label) as observe:
            if isinstance(rows, Sized):
                observe(Counted(len(rows)))
            yield observe
    except BaseException:
        totals.cut_short = True
        raise
    finally:
        Stderr(streams.stderr).write(f"{PREFIX}{summary(totals)}\n")


def _choose(mode: str, streams: Streams, totals: Totals, label: str) -> Display:
    err, environ = Stderr(streams.stderr), streams.environ
    if mode == "none":
        return Display(err, totals)
    if mode == "json":
        return Json(err, totals)
    piped = mode == "auto" and streams.stdout_is_pipe
    if mode == "plain" or piped or not can_draw(err.stream, environ):
        return Plain(err, totals)
    from llmbatch_cli.ui.bar import Bar

    size = partial(terminal_size, err.stream, environ)
    rows = mode == "bar" or not streams.stdout_is_terminal
    return Bar(err, environ, label, totals, size, rows=rows)


def can_draw(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether it is a terminal with cursor movement."""
    try:
        if stream is None or not stream.isatty():
            return False
    except ValueError:  # closed
        return False
    if os.name == "nt":  # an old console needs other means than escape sequences
        from rich.console import detect_legacy_windows

        return not detect_legacy_windows()
    return environ.get("TERM", "").lower() not in ("dumb", "unknown")


class _Showing:
    """Passes events to the totals and the display, and calls the display in time."""

    def __init__(self, display: Display, totals: Totals, options: DisplayOptions) -> None:
        self._display = display
        self._totals = totals
        self._options = options
        self._failures = Failures(display, totals.clock)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timers = {
            self._tick: self._loop.call_later(display.first_s, self._tick),
            self._flush: self._loop.call_later(_FLUSH_S, self._flush),
        }

    def observe(self, event: Event) -> None:
        """Count it, and show at once what is not only counted."""
        self._totals(event)
        if isinstance(event, Finished):
            outcome = event.outcome
            if self._options.verbose and outcome.error is not None:
                self._failures.add(partial(self._failed, outcome.id, outcome.error))
        elif isinstance(event, Notice | Pulled):
            self._here(event)

    def close(self) -> None:
        """Stop the timers and show the end."""
        for timer in self._timers.values():
            timer.cancel()
        self._failures.flush(final=True)
        self._display.close()

    def _here(self, event: Notice | Pulled) -> None:
        """Show it, in the loop's own thread."""
        if threading.get_ident() != self._thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._here, event)
        elif isinstance(event, Notice):
            self._display.say(clean(event.message, _NOTICE_CHARS))
        else:
            self._display.pulled(event)

    def _failed(self, row_id: RowId, failure: Failure) -> str:
        log_prompts = self._options.log_prompts
        in_full = log_prompts or self._options.verbose > 1
        width = _NOTICE_CHARS if in_full else max(1, self._display.width())
        message = failure.message[: 8 * width]  # it may be a whole web page
        if log_prompts:
            message += f"; the prompt: {prompt_of(failure.messages, 8 * width)}"
        else:
            message = without_prompt(message, failure.messages)
        return clean(f"row {row_id}: {failure.kind}: {message}", width)

    def _tick(self) -> None:
        self._timers[self._tick] = self._loop.call_later(self._display.every_s, self._tick)
        self._display.tick()

    def _flush(self) -> None:
        self._timers[self._flush] = self._loop.call_later(_FLUSH_S, self._flush)
        self._failures.flush()
