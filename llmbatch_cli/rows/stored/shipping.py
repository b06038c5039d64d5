"""Rows to a store while they are being written to the local copy."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.rows.stored.copy import LocalCopy, Shipped, begins_with
from llmbatch_cli.rows.stored.lock import StoreLock
from llmbatch_cli.rows.stored.parts import PART_BYTES, Generation, Parts

SHIP_S: Final = 3.0
"""What is lost with a machine is what it has written since so long, at most."""


class Shipper:
    """Takes what is new in a rows file to the parts. Its methods block."""

    def __init__(self, parts: Parts, copy: LocalCopy, lock: StoreLock) -> None:
        self._parts, self._copy, self._lock = parts, copy, lock
        self.before: Generation | None = None
        """The newest generation in the store."""
        self.version: str | None = None
        """The output's, where that is newer than all generations."""
        self.goes_on = False
        """Whether the copy holds what is in the store, and more; else the run starts afresh."""
        self.is_overtaken = False
        """Whether another run goes on in the place of this one, which has ended it."""
        self._made: Generation | None = None
        """This run's generation, once it has a row."""
        self.has_begun = False
        """Whether the store has rows of this run."""
        self._busy = threading.Lock()
        self._file: BinaryIO | None = None
        self._pending = b""
        """What is being added: the same again after an error."""
        self._size = 0
        self._digest = hashlib.sha256()

    def ship(self, rows: Path) -> None:
        """Add all that is new. Raises OSError, and OutputError where another run goes on."""
        with self._busy:
            try:
                self._ship(rows)
            except OutputError:
                self.is_overtaken = True
                raise

    def _ship(self, rows: Path) -> None:
        if self._lock.is_lost:
            raise self._parts.overtaken()
        if self._file is None:
            if not rows.exists():
                return
            self._file = rows.open("rb")  # the same one, though the run may replace it at its end
        made = self._made
        while self._pending or (data := self._next(self._file, rows)):
            self._pending = self._pending or data
            made = self._made = made or self._generation(rows)
            if made.base != "nothing" or not self.goes_on:
                self._begin(made)
            self._parts.add(made, self._pending)
            self._taken(self._pending)
            self._pending = b""
        if made is not None:
            self._begin(made)  # a rewritten file: valid only with all that was there before
            self._save()

    def close(self) -> None:
        """Close the file."""
        with self._busy:
            if self._file is not None:
                self._file.close()

    def _next(self, file: BinaryIO, rows: Path) -> bytes:
        if self._made is None and self.goes_on and not self._size:
            shipped = self._copy.shipped
            if begins_with(rows, shipped):
                while self._size < shipped.size:
                    self._taken(file.read(min(PART_BYTES, shipped.size - self._size)))
        return file.read(PART_BYTES)

    def _generation(self, rows: Path) -> Generation:
        made = Generation(self._parts.free_number, self._lock.token, "nothing")
        if self._size:  # the file begins with what is in the store
            if self.before is not None:
                made.base, made.of = "generation", str(self.before.number)
            elif self.version is not None:
                made.base, made.of = "object", self.version
        return made

    def _begin(self, made: Generation) -> None:
        if not self.has_begun:
            self._save()
            self._parts.begin(made, self.before)
            self.has_begun = True

    def _taken(self, data: bytes) -> None:
        self._size += len(data)
        self._digest.update(data)

    def _save(self) -> None:
        after = self.before.token if self.before is not None else self.version or ""
        digest = self._digest.hexdigest()
        self._copy.save(Shipped(self._lock.token, after, self._size, digest))


@asynccontextmanager
async def shipping(
    shipper: Shipper, rows: Path, notice: Callable[[str], None]
) -> AsyncIterator[None]:
    """Ship every few seconds while the body writes rows, and once more at its end.

    A store that is away is tried again and again. Raises OutputError where another run has taken
    over, which ends the body.
    """
    body = asyncio.current_task()
    task = asyncio.create_task(_ship_on(shipper, rows, notice))
    task.add_done_callback(lambda ended: body and not ended.cancelled() and body.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if not task.done() or task.cancelled() or (body is not None and body.uncancel() > 0):
            raise
    finally:
        task.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await task  # raises what has ended it
            if shipper.has_begun:  # else the run was short
                with suppress(OSError):  # whoever puts the output together meets it again
                    await asyncio.to_thread(shipper.ship, rows)
        finally:
            shipper.close()


async def _ship_on(shipper: Shipper, rows: Path, notice: Callable[[str], None]) -> None:
    """Until another run has taken over."""
    was_away = False
    while True:
        await asyncio.sleep(SHIP_S)
        try:
            await asyncio.to_thread(shipper.ship, rows)
            was_away = False
        except OSError as error:
            if not was_away:
                reason = error.strerror or error
                notice(f"the store cannot be reached ({reason}): rows are kept here meanwhile")
            was_away = True
