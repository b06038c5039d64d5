"""The command line as a whole: the commands, and the one place where errors become exits."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer

from llmbatch_cli import __version__
from llmbatch_cli.cli.commands import COMMANDS as COMMANDS
from llmbatch_cli.cli.complete import leave_no_space_after_slash
from llmbatch_cli.cli.options import command
from llmbatch_cli.cli.say import say_error
from llmbatch_cli.core.errors import ExitStatus, LlmbatchError, UsageError
from llmbatch_cli.core.near import near_names

TypersUsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""The base of all that Typer says of a command line that it cannot read."""

_PLAIN_WORDS: Final = (
    (re.compile(r"is not in the range x>=(\S+)"), r"is less than \1, the minimum"),
    (re.compile(r"is not a valid int(eger)?( range)?$"), "is not a whole number"),
    (re.compile(r"\. Choose from:[\s\S]*"), ""),
    (re.compile("Value error, "), ""),
    (re.compile(r"is not a valid float( range)?$"), "is not a number"),
)
"""What Typer says of a bad value, in plain words."""


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
    """Bulk prompting: many prompts to a language model, JSONL or tables in and out."""


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


def run_app(ready: Callable[[], None] = lambda: None) -> int:
    """Run the command line; returns the exit status. `ready` is called when all is imported."""
    if any(word.endswith("-completion") for word in sys.argv[1:]):
        leave_no_space_after_slash()
    try:
        app = app_for(sys.argv[1:])
        ready()
        status = app(prog_name="llmbatch", standalone_mode=False)
    except TypersUsageError as error:
        return _wrong_usage(error, sys.argv[1:])
    except typer.Abort:
        return ExitStatus.INTERRUPTED
    except UsageError as error:
        error.hint = error.hint or f"{_command_path(sys.argv[1:])} --help"
        say_error(error)
        return ExitStatus.USAGE
    except LlmbatchError as error:
        say_error(error)
        return ExitStatus.STOPPED
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
    for typers, plain in _PLAIN_WORDS:
        message = typers.sub(plain, message)
    say_error(UsageError(message, hint=_hint(error, words)))
    return ExitStatus.USAGE


def _hint(error: Any, words: Sequence[str]) -> str:
    near = getattr(error, "possibilities", None)
    others = _others_with(getattr(error, "option_name", ""), words[0])
    if others:
        return f"it is an option of llmbatch {' and '.join(others)}"
    if near is None and words[0] not in COMMANDS:
        near = near_names(words[0], COMMANDS)
    name = _command_path(words)
    if near:
        typed = getattr(error, "option_name", words[0])
        near = sorted(near, key=lambda name: not name.startswith(typed))
        return f"did you mean {near[0]}? {name} --help lists all"
    if name == "llmbatch" and not words[0].startswith("-"):
        if os.path.exists(words[0]):  # noqa: PTH110 - which takes any text
            return f"llmbatch batch {shlex.quote(words[0])} ... sends it"
        return f"the commands are {', '.join(COMMANDS)}; llmbatch --help tells what they do"
    return f"{name} --help"


def _others_with(flag: str, command: str) -> list[str]:
    """The commands that send prompts and have this option, where this command lacks it."""
    from llmbatch_cli.cli.options import declared_by

    found = []
    for name in {"batch", "race"} - {command} if flag.startswith("--") else ():
        module = import_module(f"llmbatch_cli.cli.{COMMANDS[name]}")
        if flag.removeprefix("--") in declared_by(getattr(module, name)):
            found.append(name)
    return sorted(found)


def _command_path(words: Sequence[str]) -> str:
    """`llmbatch`, and the command where the words begin with one."""
    return " ".join(("llmbatch", *(word for word in words[:1] if word in COMMANDS)))
