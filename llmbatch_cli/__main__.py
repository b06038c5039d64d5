"""The command `llmbatch`; `python -m llmbatch_cli` is the same."""

import gc
import os
import sys
from collections.abc import Callable

from llmbatch_cli import __version__


def hold_standard_streams() -> None:
    """Put the null device where a standard stream is closed, as under some daemons.

    Else its number goes to some socket or file of ours: libuv aborts on closing such a one,
    and `print` to a standard error that is None writes to standard output. Nobody learns from
    this that standard output is there: `sys.__stdout__` stays None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for as long as we live


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = run()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:  # before anything was begun
        status = 130
    except BrokenPipeError:  # the reader has what it wanted
        sys.stdout = None
        status = 0
    except OSError as error:
        print(f"llmbatch: error: cannot write: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        sys.stdout = None  # else the interpreter tries again at its end
        status = 3
    discard_broken_stderr()
    gc.freeze()  # else Python's end looks through every object there is, twice
    sys.exit(status)


def discard_broken_stderr() -> None:
    """Give up what standard error still holds where it is broken.

    Else the interpreter tries once more at its end, fails, and changes the exit status to 120.
    """
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None


def run() -> int:
    """Run the command line; returns its status."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"llmbatch {__version__}")  # noqa: T201 - before anything slow is imported
        return 0
    gc.disable()  # what an import makes stays, so the collector would find nothing in it
    hold_standard_streams()
    ready = end_at_once_on_interrupt()
    from llmbatch_cli.cli.app import run_app
    from llmbatch_cli.core.collector import collect_seldom

    def imported() -> None:
        collect_seldom()
        ready()

    return run_app(imported)


def end_at_once_on_interrupt() -> Callable[[], None]:
    """Let Ctrl-C end the program without a word while it imports; returns what puts an end to it.

    A KeyboardInterrupt in the middle of an import leaves files open, which Python complains of,
    and breaks the imports of C extensions.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return lambda: None
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))

    def ready() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return ready


if __name__ == "__main__":
    main()
