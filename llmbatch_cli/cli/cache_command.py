"""`llmbatch cache`: what the cache of answers holds, and how to empty it."""

import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.text import clean_for_terminal, format_count
from llmbatch_cli.engine.cache.opening import place_of
from llmbatch_cli.engine.cache.table import Table, Unsuitable, open_table, reason_of, remove
from llmbatch_cli.ui.report import format_bytes, format_duration

EXAMPLES = """\b
Examples:
  llmbatch cache info
  llmbatch cache clear answers.db
"""

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
    if not place.exists():
        say(f"there is no cache at {place}")
        return ExitStatus.OK
    return _print_info(place) if action == "info" else _clear(place)


def _print_info(place: Path) -> int:
    table = _open(place)
    try:
        found = table.contents()
    except sqlite3.Error as error:
        raise _broken(place, reason_of(error)) from error
    finally:
        table.close()
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
    return ExitStatus.OK


def _clear(place: Path) -> int:
    table = _open(place)
    try:
        say(f"removed {format_count(table.clear(), 'answer')} from {place}")
    except sqlite3.OperationalError as error:  # mostly that another run holds it
        raise _broken(place, reason_of(error)) from error
    except sqlite3.DatabaseError:
        remove(place)
        say(f"removed {place}, which was broken")
    finally:
        table.close()
    return ExitStatus.OK


def _open(place: Path) -> Table:
    try:
        return open_table(place, create=False)
    except Unsuitable as error:
        raise _broken(place, str(error)) from error


def _broken(place: Path, reason: str) -> UsageError:
    hint = "while no run uses it, the file may just be removed"
    return UsageError(f"cannot use the cache {place}: {reason}", hint=hint)
