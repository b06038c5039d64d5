"""The command line as a whole: the commands, and the one place where errors become exits."""

from typing import Annotated, Any, cast

import typer

from llmbatch_cli import __version__
from llmbatch_cli.cli.batch import EXAMPLES, batch
from llmbatch_cli.cli.errors_command import EXAMPLES as ERRORS_EXAMPLES
from llmbatch_cli.cli.errors_command import errors
from llmbatch_cli.cli.models_command import EXAMPLES as MODELS_EXAMPLES
from llmbatch_cli.cli.models_command import models
from llmbatch_cli.cli.providers_command import EXAMPLES as PROVIDERS_EXAMPLES
from llmbatch_cli.cli.providers_command import providers
from llmbatch_cli.cli.pull import EXAMPLES as PULL_EXAMPLES
from llmbatch_cli.cli.pull import pull
from llmbatch_cli.cli.race import EXAMPLES as RACE_EXAMPLES
from llmbatch_cli.cli.race import race
from llmbatch_cli.cli.say import say_error
from llmbatch_cli.errors import ExitStatus, LlmbatchError, UsageError

app = typer.Typer(
    name="llmbatch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


WrongUsage = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""The base of all that Typer says of a command line that it cannot read."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"llmbatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Bulk prompting: many prompts to a language model, JSONL in and JSONL out."""


app.command(epilog=EXAMPLES)(batch)
app.command(epilog=RACE_EXAMPLES)(race)
app.command(epilog=ERRORS_EXAMPLES)(errors)
app.command(epilog=PROVIDERS_EXAMPLES)(providers)
app.command(epilog=MODELS_EXAMPLES)(models)
app.command(epilog=PULL_EXAMPLES)(pull)


def _wrong_usage(error: Any) -> int:
    error.show()
    return int(error.exit_code)


def run_app() -> int:
    """Run the command line; returns the exit status."""
    try:
        status = app(standalone_mode=False)
    except WrongUsage as error:
        return _wrong_usage(error)
    except typer.Abort:
        return ExitStatus.INTERRUPTED
    except LlmbatchError as error:
        say_error(error)
        return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return status if isinstance(status, int) else ExitStatus.OK
