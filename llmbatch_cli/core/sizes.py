"""Sizes as people write them."""

import re
from typing import Final

from llmbatch_cli.core.errors import UsageError

_SIZE: Final = re.compile(
    r"(\d{1,18}(?:\.\d{1,9})?) ?(?:([kmgt]?)(i?)b?)", re.IGNORECASE | re.ASCII
)


def bytes_of(size: str | int, name: str, *, least: int = 0) -> int:
    """The bytes that 1000000, 500MB, 1.5 GB or 2GiB say; `name` is the option's.

    Raises UsageError for what is no size, and for less than `least`.
    """
    found = _SIZE.fullmatch(str(size).strip())
    if found is None:
        raise UsageError(f"{name} {str(size)!r} is not a size", hint=f"as in {name} 500MB")
    number, prefix, binary = found.groups()
    thousand = 1024 if binary else 1000
    count = int(float(number) * thousand ** " kmgt".index(prefix.lower() or " "))
    if count < least:
        raise UsageError(f"{name} {size} is less than {least:,} bytes, the minimum")
    return count
