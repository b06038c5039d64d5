"""What the command line says on standard error, outside the progress display."""

import contextlib
import sys

from llmbatch_cli.errors import LlmbatchError


def say(message: str) -> None:
    """One line on standard error; silence when that is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(f"llmbatch: {message}", file=sys.stderr, flush=True)  # noqa: T201


def say_error(error: LlmbatchError) -> None:
    """The error, and below it what to do."""
    say(f"error: {error.message}")
    if error.hint:
        with contextlib.suppress(OSError, ValueError):
            print(f"hint: {error.hint}", file=sys.stderr, flush=True)  # noqa: T201
