"""`llmbatch cache`: what the cache of answers holds, and how to empty it."""

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.engine.cache.opening import place_of
from llmbatch_cli.engine.cache.table import (
    Broken,
    Contents,
    Unsuitable,
    open_table,
    remove_broken,
)
from llmbatch_cli.ui.report import format_bytes, format_duration

EXAMPLES = """\b
Examples:
  llmbatch cache info
  llmbatch cache clear answers.db
"""

HINT: Final = "while no run uses it, the file may just be removed"

Action = Annotated[
    Literal["info", "clear"],
    typer.Argument(
        metavar="info|clear",
        help="Say what the cache holds, or remove all its answers.",
        show_default=False,
    ),
]
File = Annotated[
    Path | None,
    typer.Argument(metavar="[PATH]", help="As after --cache; without it, the user's cache."),
]


def cache(action: Action, path: File = None) -> int:
    """Show or empty the cache of answers that --cache keeps.

    Runs that use it may go on meanwhile.
    """
    place = place_of(path or True, os.environ)
    if not os.path.exists(place):  # noqa: PTH110 - which takes any name
        say(f"there is no cache at {place}")
        return ExitStatus.OK
    try:
        with closing(open_table(place, create=False)) as table:
            if action == "info":
                _print_contents(place, table.contents())
            else:
                say(f"removed {format_count(table.clear(), 'answer')} from {place}")
    except Unsuitable as error:
        broken = action == "clear" and isinstance(error, Broken)
        if not (broken and remove_broken(place)):
            raise UsageError(f"cannot use the cache {place}: {error}", hint=HINT) from error
        say(f"removed {place}, which was broken")
    return ExitStatus.OK


def _print_contents(place: Path, found: Contents) -> None:
    lines = [
        f"file     {place}",
        f"answers  {format_count(found.answers)}",
        f"size     {format_bytes(found.size_bytes)}",
    ]
    if found.oldest_s is not None:
        unused = format_duration(time.time() - found.oldest_s, whole=True)
        lines.append(f"oldest   last used {unused} ago")
    with printing():
        sys.stdout.write(clean_for_terminal("\n".join([*lines, ""])))
