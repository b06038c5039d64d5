"""The command `llmbatch`; `python -m llmbatch_cli` is the same."""

import os
import sys

from llmbatch_cli import __version__


def hold_standard_streams() -> None:
    """Put the null device where a standard stream is closed, as under some daemons.

    Else its number goes to some socket or file of ours: libuv aborts on closing such a one,
    and `print` to a standard error that is None writes to standard output. Nobody is told by
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
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"llmbatch {__version__}")  # noqa: T201 - before anything slow is imported
        return
    hold_standard_streams()
    from llmbatch_cli.cli.app import run_app

    sys.exit(run_app())


if __name__ == "__main__":
    main()
