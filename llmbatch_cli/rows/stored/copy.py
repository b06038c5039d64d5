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
    """Of the run whose generation it is."""
    size: int = 0
    """So many first bytes of the file,"""
    digest: str = ""
    """with this SHA-256."""


class LocalCopy:
    """A folder of the user's state folder, with the output under its own name."""

    def __init__(self, folder: Path, address: str) -> None:
        """`folder`: the one of all such copies."""
        self.folder = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
        self.output = self.folder / address.rpartition("/")[2]

    @property
    def shipped(self) -> Shipped | None:
        """What was in the store when the last run ended here; None where there was none."""
        try:
            return Shipped(**orjson.loads((self.folder / STATE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, shipped: Shipped) -> None:
        """Keep what is in the store; a kill leaves the old or the new."""
        new = self.folder / f"{STATE}.new"
        new.write_bytes(orjson.dumps(asdict(shipped)))
        new.replace(self.folder / STATE)

    def has_rows(self, rows: Path) -> bool:
        """Whether rows of an earlier run are here."""
        return rows.is_file() and rows.stat().st_size > 0

    def begin(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)

    def put_aside(self) -> Path:
        """Rename the folder; returns where it is."""
        old = free_name(self.folder, "old")
        self.folder.rename(old)
        return old

    def remove(self) -> None:
        """Remove the folder, once the store has all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def written(path: Path, chunks: Iterator[bytes], token: str) -> Shipped:
    """Write a file; what it holds is in the store. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with renewed(path) as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return Shipped(token, size, digest.hexdigest())


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
