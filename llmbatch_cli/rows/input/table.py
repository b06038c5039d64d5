"""What every kind of table is read as."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

_MOST_SHOWN: Final = 5

Say = Callable[[str], None]
"""Called with what a person should know of the table."""


class Layout(NamedTuple):
    """How a table as text is cut into cells."""

    delimiter: str | None
    """None where the first lines show it."""
    names: Sequence[str]
    """Its columns; none where they are read first."""


class Record(NamedTuple):
    """One row of a table."""

    line: int
    """Where it begins in its file, from 1; where there are no lines, its own number."""
    fields: Mapping[str, Any]
    """Its cells by the columns' names, in their order."""
    wrong: str | None = None
    """Why it cannot be read; the fields are those that can."""


def names_of(header: Sequence[str]) -> list[str]:
    """The columns' names: an empty one becomes `column_3`, one that was there before `name_2`."""
    taken = {cell.strip() for cell in header}
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = wanted = cell.strip() or f"column_{place}"
        number = 2
        while name in names or (name != cell.strip() and name in taken):
            name, number = f"{wanted}_{number}", number + 1
        names.append(name)
    return names


def say_renamed(header: Sequence[str], names: Sequence[str], say: Say) -> None:
    """Say which columns have another name than their header's."""
    new = [name for cell, name in zip(header, names, strict=True) if cell.strip() != name]
    if new:
        shown = ", ".join(new[:_MOST_SHOWN]) + (", ..." if len(new) > _MOST_SHOWN else "")
        say(f"columns without a name of their own are called {shown}")
