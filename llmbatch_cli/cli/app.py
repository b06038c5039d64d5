"""The command line as a whole: the commands, and the one place where errors become exits."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer

from llmbatch_cli import __version__
from llmbatch_cli.cli.options import command
from llmbatch_cli.cli.say import say_error
from llmbatch_cli.core.errors import ExitStatus, LlmbatchError, UsageError

COMMANDS: Final = {
    "batch": "batch",
    "race": "race",
    "errors": "errors_command",
    "providers": "providers_command",
    "models": "models_command",
    "pull": "pull",
}
"""The commands in their order, and the module of each: a run imports its own only."""

TypersUsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""The base of all that Typer says of a command line that it cannot read."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmbatch {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Bulk prompting: many prompts to a language model, JSONL in and JSONL out."""


def app_for(words: Sequence[str]) -> typer.Typer:
    """The command line for these words: with the command that they begin with, or with all."""
    app = typer.Typer(
        name="llmbatch",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help"], "max_content_width": 80},
    )
    app.callback(context_settings={"help_option_names": ["-h", "--help"]})(root)
    wanted = [name for name in COMMANDS if name in words[:1]]
    for name in wanted or COMMANDS:
        module = import_module(f"llmbatch_cli.cli.{COMMANDS[name]}")
        command(app, getattr(module, name), module.EXAMPLES)
    return app


def run_app() -> int:
    """Run the command line; returns the exit status."""
    try:
        status = app_for(sys.argv[1:])(standalone_mode=False)
    except TypersUsageError as error:
        return _wrong_usage(error, sys.argv[1:])
    except typer.Abort:
        return ExitStatus.INTERRUPTED
    except LlmbatchError as error:
        say_error(error)
        return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return status if isinstance(status, int) else ExitStatus.OK


def _wrong_usage(error: Any, words: Sequence[str]) -> int:
    """Say what Typer found wrong in the style of all other errors."""
    if not words:  # help is what `llmbatch` alone asks for
        error.show()
        return int(error.exit_code)
    message = str(error.message or error.format_message()).partition(" Did you mean")[0]
    if getattr(error, "param", None) is not None:
        message = error.format_message().rstrip(".")
    message = (message[:1].lower() + message[1:]).rstrip(".")
    say_error(UsageError(message, hint=_hint(error, words)))
    return ExitStatus.USAGE


def _hint(error: Any, words: Sequence[str]) -> str:
    near = getattr(error, "possibilities", None)
    name = error.ctx.command_path if getattr(error, "ctx", None) is not None else "llmbatch"
    if near is None and name == "llmbatch":
        near = get_close_matches(words[0], COMMANDS)
    if near:
        return f"did you mean {' or '.join(sorted(near))}? {name} --help lists all"
    return f"{name} --help"
