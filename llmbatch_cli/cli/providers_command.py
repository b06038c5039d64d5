"""`llmbatch providers`: which there are, with which key, at which base URL."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Final
from urllib.parse import urlsplit, urlunsplit

import orjson
import typer

from llmbatch_cli.cli.say import printing
from llmbatch_cli.core.environment import stand_in_of
from llmbatch_cli.core.errors import ExitStatus
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.text import clean_for_terminal
from llmbatch_cli.providers.access import first_named, first_set
from llmbatch_cli.providers.registry import Entry, Setup, providers_with

EXAMPLES = """\b
Examples:
  llmbatch providers
  llmbatch providers --json | jq -r 'select(.key_set).provider'
"""

HEADS: Final = ("provider", "key", "set", "batch", "base URL")
LEAST_COLUMNS: Final = 72
"""A table on a narrower terminal would lose columns."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@frozen
class Known:
    """One provider as it is reached from here; never holds a key."""

    name: str
    key_variables: Sequence[str]
    key_set: str | None
    """The variable that holds the key, or that it stands in for; None where there is none."""
    is_stored: bool
    """Whether the key is one of `llmbatch keys`."""
    keyless: bool
    base_url: str | None
    """The address in force, without a password; None where there is none."""
    url_variables: Sequence[str]
    in_process: bool
    credentials: str | None = None
    """What is used where no key is set."""
    batch: bool = False
    """Whether --batch-api goes there."""


def providers(json: AsJson = False, *, setup: Setup) -> int:
    """List the providers and their key variables.

    Shows whether each key is set, or what is used in its place, but never the key; nothing is
    sent. PROVIDER_BASE_URL changes a provider's address, and so does llmbatch config.
    """
    environ = setup.environ or os.environ
    found = [known(name, entry, environ) for name, entry in providers_with(setup).items()]
    with printing():
        _print(found, json=json)
    return ExitStatus.OK


def known(name: str, entry: Entry, environ: Mapping[str, str]) -> Known:
    """This provider in this environment."""
    moved = first_set(environ, entry.url_variables)
    base_url = moved or entry.base_url
    if base_url and entry.address is not None:
        module, _, attribute = entry.address.partition(":")
        base_url = getattr(import_module(module), attribute)(base_url)
    if base_url and "{region}" in base_url:
        region = first_set(environ, ("AWS_REGION", "AWS_DEFAULT_REGION"))
        base_url = base_url.replace("{region}", region) if region else base_url
    return Known(
        name,
        entry.key_variables,
        *_key_of(entry, environ),
        entry.keyless or entry.in_process,
        without_password(base_url) if base_url else None,
        entry.url_variables,
        entry.in_process,
        entry.credentials,
        entry.batch is not None,
    )


def _key_of(entry: Entry, environ: Mapping[str, str]) -> tuple[str | None, bool]:
    """The variable of the key, and whether it is a stored one, which is not looked up for this."""
    for name in entry.key_variables:
        if stand_in_of(environ, name) is not None:
            return name, True
    return first_named(environ, entry.key_variables)[0], False


def without_password(url: str) -> str:
    """The URL without what may be secret in it: a user's name and password, and a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    host = parts.netloc.rpartition("@")[2]
    safe = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return safe.encode(errors="replace").decode()


def _print(found: Sequence[Known], *, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(b"".join(_as_json(one) for one in found))
        return
    rows = [_cells(one) for one in found]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns >= LEAST_COLUMNS:
        _print_table(HEADS, rows)
        return
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    for row in (HEADS, *rows):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.buffer.write("  ".join(padded).rstrip().encode() + b"\n")


def _as_json(one: Known) -> bytes:
    said = {
        "provider": one.name,
        "key_variables": list(one.key_variables),
        "key_set": one.key_set is not None,
        "key_variable": None if one.is_stored else one.key_set,
        "key_needed": not one.keyless,
        "base_url": one.base_url,
        "batch_api": one.batch,
    }
    if one.is_stored:
        said["key_stored"] = True
    if one.credentials is not None:
        said["credentials"] = one.credentials
    return orjson.dumps(said) + b"\n"


def _cells(one: Known) -> tuple[str, ...]:
    batch = "yes" if one.batch else "-"
    if one.in_process:
        return one.name, "-", "not needed", batch, "in this process"
    unset = one.credentials or ("not needed" if one.keyless else "no")
    is_set = "yes, llmbatch keys" if one.is_stored else f"yes, {one.key_set}"
    base_url = one.base_url or f"set {' or '.join(one.url_variables)}"
    return (
        one.name,
        " or ".join(one.key_variables),
        unset if one.key_set is None else is_set,
        batch,
        " ".join(clean_for_terminal(base_url).split()),
    )


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(
        *(Column(head, overflow="fold") for head in heads),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    if sum(widths) + 2 * len(widths[1:]) > console.width:  # rich would cut the addresses off
        for place in (1, 2):  # their words stay whole, but for the name of the key that is set
            words = (word for row in rows for word in row[place].partition(",")[0].split())
            table.columns[place].width = max(map(len, words))
    for row in rows:
        name, key, is_set, batch, base_url = row
        style = "green" if is_set.startswith("yes") else "red" if is_set == "no" else "dim"
        cells = (Text(name), Text(key), Text(is_set, style=style), Text(batch), Text(base_url))
        table.add_row(*cells)
    console.print(table)
