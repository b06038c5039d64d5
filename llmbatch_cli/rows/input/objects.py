"""Prefixes and patterns of stores among the inputs: the objects that they stand for. Blocks."""

from collections.abc import Callable

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.input.inputs import InputPath
from llmbatch_cli.rows.input.remote import entry_at, refusal
from llmbatch_cli.storage import storage_at


def objects_at(address: str, start: str, is_meant: Callable[[str], bool]) -> list[InputPath]:
    """The object of this address, else those below `start` whose names from there on are meant.

    Each is read in the version that it has now. Raises UsageError where there are none.
    """
    try:
        if not address.endswith("/") and (entry := entry_at(address)) is not None:
            return [InputPath(address, entry=entry)]
        found = [
            InputPath(f"{start}/{entry.name}", row_id=entry.name, entry=entry)
            for entry in storage_at(start).list()
            if is_meant(entry.name)
        ]
    except OSError as error:
        raise refusal(address, error) from error
    if not found:
        what = "no such object" if start == address else "no object is there"
        raise UsageError(f"{what}: {address}", hint="check the name, and the prefix")
    return found
