"""The command `llmbatch`; `python -m llmbatch_cli` is the same."""

import sys

from llmbatch_cli import __version__


def main() -> None:
    """Run the command line and exit with its status."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"llmbatch {__version__}")  # noqa: T201 - before anything slow is imported
        return
    from llmbatch_cli.cli.app import run_app

    sys.exit(run_app())


if __name__ == "__main__":
    main()
