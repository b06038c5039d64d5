"""`llmbatch config`: the settings that hold for all runs."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import Field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import orjson
import typer

from llmbatch_cli.cli.commands import COMMANDS, WITHOUT_OPTIONS
from llmbatch_cli.cli.options import declared_by
from llmbatch_cli.cli.say import printing, say
from llmbatch_cli.cli.shown_settings import Row, rows_of
from llmbatch_cli.core.errors import ExitStatus, UsageError
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.settings.atomic import write_atomically
from llmbatch_cli.settings.change import keys_of, set_value, unset
from llmbatch_cli.settings.read import UserSettings, read
from llmbatch_cli.settings.source import Source, dotted, path_of, read_source

EXAMPLES = """\b
Examples:
  llmbatch config set model groq/llama-3.3-70b-versatile
  llmbatch config set aliases.fast 'gpt-4o-mini?temperature=0'
  llmbatch config set batch.concurrency 50
  llmbatch config show
"""

TEMPLATE: Final = """\
# Settings of llmbatch: what a command line leaves out is taken from here.

# model = "gpt-4o-mini"

# [aliases]
# fast = "gpt-4o-mini?temperature=0"

# [batch]
# concurrency = 50

# [providers.groq]
# rpm = 30
"""
"""What `edit` begins a new file with."""

Action = Annotated[
    Literal["path", "show", "set", "unset", "edit"],
    typer.Argument(
        metavar="path|show|set|unset|edit",
        help="Print where the file is; what is set and where; change a setting; open the file in "
        "$EDITOR.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="A setting, as in batch.concurrency.")
]
Value = Annotated[
    str | None, typer.Argument(metavar="[VALUE]", help="What to set it to: a text, or as in TOML.")
]
All = Annotated[bool, typer.Option("--all", help="Show the options' defaults, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def config(
    action: Action,
    name: Name = None,
    value: Value = None,
    all_: All = False,
    json: AsJson = False,
) -> int:
    """Show or change the settings that hold for all runs.

    They are in one TOML file: a model, aliases, options of each command, providers, hosts of your
    own, prices. Options win over the environment, which wins over the file; --no-NAME leaves out
    for one run what the file has for --NAME.
    """
    _check_arguments(action, name, value)
    path = path_of(os.environ)
    if action == "path":
        with printing():
            sys.stdout.write(f"{path}\n")
    elif action == "show":
        _show(name, all_=all_, json=json)
    elif action == "set":
        set_value(str(name), str(value), os.environ, _read)
    elif action == "unset":
        unset(str(name), os.environ, _read)
    else:
        _edit(path)
    return ExitStatus.OK


def _check_arguments(action: str, name: str | None, value: str | None) -> None:
    wanted = {"set": 2, "unset": 1, "show": int(name is not None)}.get(action, 0)
    given = [name, value].index(None) if None in (name, value) else 2
    if given < wanted:
        what = "NAME and a VALUE" if action == "set" else "NAME"
        example = {"set": "batch.concurrency 50"}.get(action, "batch.concurrency")
        raise UsageError(f"{action} needs a {what}", hint=f"llmbatch config {action} {example}")
    if given > wanted:
        raise UsageError(f"{action} takes {'one NAME' if wanted else 'no NAME'} only")


def all_options() -> Mapping[str, Mapping[str, Field[Any]]]:
    """The options of each command that has some."""
    return {
        name: declared_by(getattr(import_module(f"llmbatch_cli.cli.{module}"), name))
        for name, module in COMMANDS.items()
        if name not in WITHOUT_OPTIONS
    }


def _read(source: Source) -> UserSettings:
    return read(source, all_options())


def _show(name: str | None, *, all_: bool, json: bool) -> None:
    path = path_of(os.environ)
    source = read_source(path, os.environ)
    settings = _read(source or Source(path, ""))
    rows = rows_of(settings, all_options() if all_ or name else {}, os.environ)
    if name is not None:
        rows = _named(name, rows)
    with printing():
        sys.stdout.buffer.write(b"".join(_lines(rows, json=json)))
    if source is None and name is None:
        say(f"there is no file of settings at {path}; llmbatch config edit makes one")


def _named(name: str, rows: list[Row]) -> list[Row]:
    wanted = dotted(keys_of(name))
    found = [row for row in rows if row.name == wanted or row.name.startswith(f"{wanted}.")]
    if not found:
        near = near_names(wanted, [row.name for row in rows])
        hint = did_you_mean(near) if near else "llmbatch config show --all lists what there is"
        raise UsageError(f"unknown setting {wanted}, or one that is not set", hint=hint)
    return found


def _lines(rows: list[Row], *, json: bool) -> list[bytes]:
    if json:
        return [
            orjson.dumps({"name": row.name, "value": row.value, "source": row.source}) + b"\n"
            for row in rows
        ]
    texts = [f"{row.name} = {_as_toml(row.value)}" for row in rows]
    width = max((len(text) for text in texts if len(text) < 60), default=0)
    lines = (f"{text:{width}}  # {row.source}" for text, row in zip(texts, rows, strict=True))
    return [f"{' '.join(clean_for_terminal(line).splitlines())}\n".encode() for line in lines]


def _as_toml(value: Any) -> str:
    return "(not set)" if value is None else orjson.dumps(value).decode()


def _edit(path: Path) -> None:
    usual = "notepad" if sys.platform == "win32" else "vi"
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not (named or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError(
            "an editor needs a terminal", hint=f"llmbatch config set, or edit {path} by hand"
        )
    editor = named or usual
    if not os.path.exists(path):  # noqa: PTH110 - takes any name
        write_atomically(path, TEMPLATE.encode())
    try:
        status = subprocess.call([*shlex.split(editor), str(path)])  # noqa: S603 - the user's own
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot run the editor {editor!r}: {said}",
            hint="set EDITOR, or use llmbatch config set",
        ) from error
    if status:
        raise UsageError(f"the editor {editor!r} has failed (exit status {status})")
    _read(read_source(path, os.environ) or Source(path, ""))
