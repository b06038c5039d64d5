"""What somebody may have meant: names that are nearly what was written, and how to install."""

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

_LONGEST_NAME: Final = 255
_MOST_FILES: Final = 10_000


def near_names(
    name: str, known: Iterable[str], *, most: int = 3, alike: float = 0.6
) -> Sequence[str]:
    """The known names that are nearly this one, the nearest first."""
    if len(name) > _LONGEST_NAME:
        return ()
    return get_close_matches(name, list(known), n=most, cutoff=alike)


def near_file(path: str) -> str | None:
    """A file of the same folder with nearly this name. Reads the folder."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            files = [entry.name for entry in islice(entries, _MOST_FILES) if entry.is_file()]
    except (OSError, ValueError):
        return None
    near = near_names(name, files, most=1, alike=0.8)
    return os.path.join(folder, near[0]) if near else None  # noqa: PTH118 - keeps `./` away


def did_you_mean(names: Sequence[str]) -> str:
    """The question, of one name or more."""
    return f"did you mean {' or '.join(names)}?"


def install_hint(extra: str) -> str:
    """How to install an extra; the package is not published."""
    return f"pip install '.[{extra}]' in a clone of llmbatch"
