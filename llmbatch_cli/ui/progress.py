"""What a run shows on standard error while it goes on."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Final, Literal, TextIO

from llmbatch_cli.core.events import Event, Finished, Notice, Observer, Pulled
from llmbatch_cli.core.privacy import prompt_of, without_prompt
from llmbatch_cli.core.types import Failure, RowId
from llmbatch_cli.ui.plain import Display, Failures, Json, Plain, Silent
from llmbatch_cli.ui.text import Stderr, clean, fit, terminal_size
from llmbatch_cli.ui.totals import Totals

Mode = Literal["auto", "bar", "plain", "json", "none"]

_NOTICE_CHARS: Final = 2_000
_FLUSH_S: Final = 1.0


@contextlib.asynccontextmanager
async def open_progress(
    mode: Mode,
    *,
    stderr: TextIO | None,
    environ: Mapping[str, str],
    verbose: int = 0,
    log_prompts: bool = False,
    quiet: bool = False,
    label: str = "",
    totals: Totals,
    stdout_is_terminal: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Observer]:
    """Show a run on standard error; yields the observer to feed.

    The observer counts into `totals`, which it alone feeds. It may be called from other
    threads for notices and downloads. No thread is started, and nothing that happens to
    `stderr` is an error; None is a closed one.

    Args:
        mode: auto is a bar on a terminal, else plain lines. A bar needs a terminal with
            cursor movement, and where there is none gives way to plain lines too.
        stderr: where to show it.
        environ: TERM, NO_COLOR, COLUMNS and what else rich reads.
        verbose: from 1, each failed row is told, on one line; from 2, in full.
        log_prompts: tell its prompt, too, and leave it in what the provider says.
        quiet: show nothing at all.
        label: what is run, mostly the model.
        totals: the run's numbers.
        stdout_is_terminal: whether answers go to a terminal; auto then leaves the rows out,
            because the bar and the answers would garble each other.
        clock: of seconds.
    """
    if quiet:
        yield totals
        return
    err = Stderr(stderr)
    display = _choose(mode, err, environ, label, totals, stdout_is_terminal=stdout_is_terminal)
    showing = _Showing(display, totals, clock, verbose=verbose, log_prompts=log_prompts)
    try:
        yield showing.observe
    finally:
        showing.close()


def _choose(
    mode: Mode,
    err: Stderr,
    environ: Mapping[str, str],
    label: str,
    totals: Totals,
    *,
    stdout_is_terminal: bool,
) -> Display:
    if mode == "none":
        return Silent(err)
    if mode == "json":
        return Json(err, totals)
    if mode == "plain" or not _can_draw(err.stream, environ):
        return Plain(err, totals)
    from llmbatch_cli.ui.bar import Bar

    rows = mode == "bar" or not stdout_is_terminal
    size = lambda: terminal_size(err.stream, environ)  # noqa: E731
    return Bar(err, environ, label, totals, size, rows=rows)


def _can_draw(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
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
    """Leads events to the totals and the display, and time to the display."""

    def __init__(
        self,
        display: Display,
        totals: Totals,
        clock: Callable[[], float],
        *,
        verbose: int,
        log_prompts: bool,
    ) -> None:
        self._display = display
        self._totals = totals
        self._failures = Failures(display, clock)
        self._verbose = verbose
        self._log_prompts = log_prompts
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
            if self._verbose and outcome.error is not None:
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
        in_full = self._log_prompts or self._verbose > 1
        width = _NOTICE_CHARS if in_full else max(1, self._display.width())
        message = failure.message[: 8 * width]  # it may be a whole web page
        if self._log_prompts:
            message += f"; the prompt: {prompt_of(failure.messages, 8 * width)}"
        else:
            message = without_prompt(message, failure.messages)
        # cleaned before it is cut
        return fit(clean(f"row {row_id}: {failure.kind}: {message}", 2 * width), width)

    def _tick(self) -> None:
        self._timers[self._tick] = self._loop.call_later(self._display.every_s, self._tick)
        self._display.tick()

    def _flush(self) -> None:
        self._timers[self._flush] = self._loop.call_later(_FLUSH_S, self._flush)
        self._failures.flush()
