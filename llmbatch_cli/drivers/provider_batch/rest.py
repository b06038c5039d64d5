"""The rows that are sent live in the end, on the disk until then."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import BinaryIO

from llmbatch_cli.core.events import LeftUndone
from llmbatch_cli.core.types import Row
from llmbatch_cli.drivers.provider_batch.asking import Asking
from llmbatch_cli.drivers.provider_batch.spool import Spooled, as_line, rows_in


class Rest:
    """Rows that go into no job any more. A run that is killed reads them from the input again."""

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._path = folder / "live.rows"
        self._file: BinaryIO | None = None
        self._unread: Iterator[Spooled] | None = None

    def add(self, row: Spooled) -> None:
        """Add a row."""
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open("wb")
        self._file.write(as_line(row))
        self.rows += 1

    async def prompts(self, asking: Asking) -> AsyncGenerator[Row, None]:
        """The rows, in the order in which they were added, with what jobs have done for them."""
        for row in self._rows():
            if row.attempts:
                row.prompt.ledgers = ((await asking.for_row(row.prompt)).request(row).ledger,)
            yield row.prompt

    async def left(self, asking: Asking) -> AsyncGenerator[LeftUndone, None]:
        """What jobs have cost for those of the rows that were not sent live."""
        for row in self._rows():
            if row.attempts:
                yield await (await asking.for_row(row.prompt)).left(row)

    def _rows(self) -> Iterator[Spooled]:
        """Those that are not read yet."""
        if self._unread is None:
            if self._file is None:
                return iter(())
            self._file.flush()
            self._unread = rows_in(self._path)
        return self._unread

    def close(self) -> None:
        """The rows are not needed any more."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
