"""An output in a store: brought here before a run, and put together there after it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import OutputError, UsageError
from llmbatch_cli.core.options import TABLES, OutputOptions
from llmbatch_cli.rows.output.table_files import SUFFIX
from llmbatch_cli.rows.output.target import IN_THE_WAY
from llmbatch_cli.rows.stored.copy import STATE, LocalCopy, begins_with, written
from llmbatch_cli.rows.stored.lock import StoreLock
from llmbatch_cli.rows.stored.parts import Parts
from llmbatch_cli.rows.stored.shipping import Shipper, shipping
from llmbatch_cli.storage import Storage, StorageError, located

_CHUNK_BYTES: Final = 2**20

Say = Callable[[str], None]


class StoredOutput:
    """The output of one run, which works on a local copy. Its methods block."""

    def __init__(
        self, storage: Storage, name: str, options: OutputOptions, copies: Path, lock: StoreLock
    ) -> None:
        """`copies`: the folder of all local copies."""
        self.address = f"{storage.address}/{name}"
        self._storage, self._name, self._lock = storage, name, lock
        self._options = options
        self._rows_name = rows_name(name, options)
        self._copy = LocalCopy(Path(os.path.realpath(copies)), self.address)
        self.output = self._copy.output
        """The local copy."""
        self._rows = self._copy.folder / self._rows_name
        self._parts = Parts(storage, self._rows_name)
        self._shipper = Shipper(self._parts, self._copy, lock)

    def named(self, text: str) -> str:
        """The text with the address in place of the local copy's name."""
        return text.replace(str(self.output), self.address)

    def shipping(self, rows: Path, notice: Say) -> AbstractAsyncContextManager[None]:
        """Bring rows to the store while the body writes them."""
        return shipping(self._shipper, rows, notice)

    # Before the run

    def begin(self, notice: Say) -> None:
        """Make the local copy, with the rows so far where the run goes on.

        Raises UsageError where there is an output and no option says what becomes of it.
        """
        try:
            self._begin(notice)
        except OSError as error:
            raise UsageError(
                f"cannot use {self.address}: {error.strerror or error}", hint=_hint(error)
            ) from error

    def _begin(self, notice: Say) -> None:
        options, shipper = self._options, self._shipper
        before = shipper.before = self._parts.newest()
        entry = None if before is not None else self._storage.entry(self._rows_name)
        shipper.version = None if entry is None else entry.version
        if options.resume:
            shipper.goes_on = True
            if not self._is_newest():
                self._fetch(notice)
            return
        if not options.overwrite:
            self._refuse_filled()
        self._copy.begin(self._newest)

    @property
    def _newest(self) -> str:
        """What is newest in the store; empty where there is nothing."""
        before = self._shipper.before
        return before.token if before is not None else self._shipper.version or ""

    def _refuse_filled(self) -> None:
        entry = self._storage.entry(self._name)
        if entry is not None and entry.size:
            raise UsageError(f"{self.address} is not empty", hint=IN_THE_WAY)
        if self._shipper.before is not None:
            raise UsageError(
                f"{self.address} has the rows of a run that was stopped", hint=IN_THE_WAY
            )
        if self._copy.has_rows(self._rows):
            raise UsageError(
                f"rows of {self.address} that never reached the store are in {self._copy.folder}",
                hint=IN_THE_WAY,
            )

    def _is_newest(self) -> bool:
        """Whether the local copy has all that is in the store, and maybe more."""
        shipped = self._copy.shipped
        return self._copy.has_rows(self._rows) and self._newest in (shipped.token, shipped.after)

    def _fetch(self, notice: Say) -> None:
        """Make the local copy of what is in the store."""
        if self._copy.has_rows(self._rows):
            old = self._copy.put_aside()
            notice(f"the store has newer rows of {self.address} than {old}, which stays there")
        self._copy.begin(self._newest)
        before, version = self._shipper.before, self._shipper.version
        if before is not None:
            rows = self._parts.content(before)
            self._copy.save(written(self._rows, rows, self._newest))
        elif version is not None:
            rows = self._object(self._rows_name, version)
            self._copy.save(written(self._rows, rows, self._newest))
        if self._rows_name != self._name and not self._rows.exists():
            table = self._storage.entry(self._name)
            if table is not None:
                written(self.output, self._object(self._name, table.version))

    def _object(self, name: str, version: str) -> Iterator[bytes]:
        return _chunks(self._storage, name, version)

    # After the run

    def finish(self, notice: Say) -> None:
        """Put the output together in the store, and remove the parts and the local copy.

        What a run without a row has not touched stays as it is. Raises OutputError, with all
        rows in the local copy.
        """
        try:
            self._finish(notice)
        except OSError as error:
            hint = _hint(error)
            raise OutputError(
                f"cannot write {self.address}: {error.strerror or error}; "
                f"no row is lost: {self._copy.folder} has them",
                hint=f"{hint}; --resume here uploads them" if hint else "--resume uploads them",
            ) from error

    def _finish(self, notice: Say) -> None:
        if self._shipper.is_overtaken:  # which is said
            return
        if self._lock.is_lost:
            raise self._parts.overtaken()
        files = [self.output, *([self._rows] if self._rows != self.output else [])]
        has_rows = any(file.is_file() and file.stat().st_size for file in files)
        if (has_rows and not self._is_unchanged) or not self._filled:
            for file in files:
                self._put(file)
            if not self._rows.exists():
                self._storage.delete(self._rows_name)
            for file in self._further(files):
                self._put_beside(file, notice)
            self._parts.finish()
        self._copy.remove()

    @property
    def _is_unchanged(self) -> bool:
        """Whether the output in the store is this one already."""
        if self._shipper.version is None or self._shipper.has_begun or self._rows != self.output:
            return False
        shipped = self._copy.shipped
        is_as_long = shipped.size == self._rows.stat().st_size
        return is_as_long and begins_with(self._rows, shipped)

    @property
    def _filled(self) -> bool:
        entry = self._storage.entry(self._name)
        return self._shipper.before is not None or (entry is not None and entry.size > 0)

    def _put(self, file: Path) -> None:
        if file.is_file():
            self._upload(file, file.name)

    def _further(self, files: list[Path]) -> list[Path]:
        """What a run leaves beside its output, such as rows that others have replaced."""
        found = sorted(self._copy.folder.iterdir())
        return [
            one
            for one in found
            if one.is_file() and one not in files and not one.name.startswith((".", STATE))
        ]

    def _put_beside(self, file: Path, notice: Say) -> None:
        """Upload under the first number that is free."""
        stem, _, _ = file.name.rpartition("-")
        names = (f"{stem}-{number}" for number in count(1))
        name = next(one for one in names if self._storage.entry(one) is None)
        self._upload(file, name)
        if name != file.name:
            notice(f"{self.named(str(file))} is called {name} in the store")

    def _upload(self, file: Path, name: str) -> None:
        with file.open("rb") as source, self._storage.writer(name) as target:
            for data in iter(partial(source.read, _CHUNK_BYTES), b""):
                target.write(data)


def rows_name(name: str, options: OutputOptions) -> str:
    """What the rows of an output of this name are called."""
    return f"{name}{SUFFIX}" if options.format in TABLES else name


def fetched(address: str, options: OutputOptions, folder: Path) -> Path:
    """A copy of an output's rows, only to look at; not there where there are none.

    Raises UsageError.
    """
    storage, name = located(address)
    name = rows_name(name, options)
    path = folder / "rows.jsonl"
    parts = Parts(storage, name)
    try:
        newest, entry = parts.newest(tidy=False), storage.entry(name)
        if newest is not None:
            written(path, parts.content(newest))
        elif entry is not None:
            written(path, _chunks(storage, name, entry.version))
    except OSError as error:
        said = f"cannot read {address}: {error.strerror or error}"
        raise UsageError(said, hint=_hint(error)) from error
    return path


def _chunks(storage: Storage, name: str, version: str) -> Iterator[bytes]:
    with storage.open(name, version) as file:
        while data := file.read(_CHUNK_BYTES):
            yield data


def _hint(error: OSError) -> str | None:
    return error.hint if isinstance(error, StorageError) else None
