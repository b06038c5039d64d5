"""The local copy of an output in a store, on which a run works."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from llmbatch_cli.rows.output.outfile import free_name, renewed

STATE: Final = ".state.json"
_CHUNK_BYTES: Final = 2**20


@dataclass(slots=True)
class Shipped:
    """What of the rows file is in the store."""

    token: str = ""
    """Of the run whose generation it is; empty where there is none yet."""
    after: str = ""
    """What was newest in the store before that: a generation's token, or the output's version.
    The file has all of it, unless it was to be replaced."""
    size: int = 0
    """So many first bytes of the file are in the store,"""
    digest: str = ""
    """with this SHA-256."""


class LocalCopy:
    """A folder of the user's state folder, with the output under its own name."""

    def __init__(self, folder: Path, address: str) -> None:
        """`folder`: the one of all such copies."""
        self.folder = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
        self.output = self.folder / address.rpartition("/")[2]

    @property
    def shipped(self) -> Shipped:
        """What was in the store when it was last reached."""
        try:
            return Shipped(**orjson.loads((self.folder / STATE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return Shipped()

    def save(self, shipped: Shipped) -> None:
        """Keep what is in the store; a kill leaves the old or the new."""
        new = self.folder / f"{STATE}.new"
        new.write_bytes(orjson.dumps(asdict(shipped)))
        new.replace(self.folder / STATE)

    def has_rows(self, rows: Path) -> bool:
        """Whether rows of an earlier run are here."""
        return rows.is_file() and rows.stat().st_size > 0

    def begin(self, after: str) -> None:
        """An empty folder; `after`: what is newest in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self.save(Shipped(after=after))

    def put_aside(self) -> Path:
        """Rename the folder; returns where it is."""
        old = free_name(self.folder, "old")
        self.folder.rename(old)
        return old

    def remove(self) -> None:
        """Remove the folder, once the store has all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def written(path: Path, chunks: Iterator[bytes], after: str = "") -> Shipped:
    """Write a file of what the store has. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with renewed(path) as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return Shipped("", after, size, digest.hexdigest())


def begins_with(path: Path, shipped: Shipped) -> bool:
    """Whether the file still begins with what is in the store."""
    digest, left = hashlib.sha256(), shipped.size
    try:
        with path.open("rb") as file:
            while left and (data := file.read(min(left, _CHUNK_BYTES))):
                digest.update(data)
                left -= len(data)
    except FileNotFoundError:
        pass
    return left == 0 and digest.hexdigest() == (shipped.digest or hashlib.sha256().hexdigest())
