"""What an option of a run is.

An option is one field. Its metadata, an `Option`, is what the command line says of it; its name
there is the field's, with dashes and without the unit.
"""

from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any, Literal

from llmbatch_cli.core.frozen import frozen


@frozen(kw_only=True)
class Option:
    """What the command line says of a field."""

    help: str
    letter: str | None = None
    """`-o` beside `--output`."""
    name: str | None = None
    """Where it is not the field's."""
    metavar: str | None = None
    min: float | None = None
    """The least value, itself allowed."""
    shown: str | None = None
    """What help shows as the default, where that is not the field's own."""
    everyday: bool = False
    """Whether `-h` shows it; `--help` shows all."""
    count: bool = False
    """Whether it is repeated to say more: -vv."""
    positional: bool = False
    """Whether it is an argument, without a name."""
    complete: Literal["models", "files"] | None = None
    """What a shell proposes for it."""


def option(default: Any, help: str, **more: Any) -> Any:  # noqa: A002 - as in Option
    """A field with its Option. A tuple as default is an option that may be repeated."""
    return field(default=default, metadata={"option": Option(help=help, **more)})


def is_option(one: Field[Any]) -> bool:
    """Whether the command line has this field; one without an Option is for Python only."""
    return "option" in one.metadata


def option_of(metadata: Mapping[Any, Any]) -> Option:
    """The Option in a field's metadata."""
    found: Option = metadata["option"]
    return found
