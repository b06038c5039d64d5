"""What the command line says, outside the progress display and the rows of a run."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator

from llmbatch_cli.core.errors import LlmbatchError, UsageError
from llmbatch_cli.core.frozen import frozen


def say(message: str) -> None:
    """One line on standard error; silence when that is closed."""
    _put(f"llmbatch: {message}")


def say_error(error: LlmbatchError) -> None:
    """The error, and below it what to do."""
    say(f"error: {error.message}")
    if error.hint:
        _put(f"hint: {error.hint}")


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """While this is open, standard output is written to; its reader may leave, as `| head` does.

    Raises UsageError where it was closed at the start.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@frozen
class Voice:
    """How a run speaks besides its progress display: in the same form, and as much."""

    as_json: bool = False
    """One JSON object a line, for programs."""
    quiet: bool = False
    """Nothing but errors."""

    def notice(self, message: str) -> None:
        """Something to know: a line, or `{"notice": message}`."""
        if self.quiet:
            return
        if self.as_json:
            _put(json.dumps({"notice": message}))
        else:
            say(message)

    def hint(self, message: str) -> None:
        """What to do next: a line, or `{"hint": message}`."""
        if self.quiet:
            return
        _put(json.dumps({"hint": message}) if self.as_json else f"hint: {message}")

    def error(self, error: LlmbatchError) -> None:
        """An error and what to do: lines, or `{"error": message, "hint": hint}`."""
        if self.as_json:
            _put(json.dumps({"error": error.message, "hint": error.hint}))
        else:
            say_error(error)


def _put(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201
