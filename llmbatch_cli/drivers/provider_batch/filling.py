"""Rows into the files of jobs, cut where a job would hold more than the provider takes."""

import os
import secrets
from collections.abc import Iterator
from hashlib import sha256

from llmbatch_cli.core.errors import NotAnswered, Unsent
from llmbatch_cli.drivers.provider_batch.asking import Asked
from llmbatch_cli.drivers.provider_batch.journal import Journal, Reached
from llmbatch_cli.drivers.provider_batch.spool import Spooled, as_line, rows_in
from llmbatch_cli.providers.batch_api import Intent

BYTES_PER_TOKEN = 4


class Filling:
    """The files of one job, to which rows are added."""

    def __init__(self, journal: Journal, asked: Asked, group: str) -> None:
        self.asked = asked
        self.group = group
        self.id = secrets.token_hex(8)
        self.rows = self.bytes = 0
        self._digest = sha256()
        journal.make()
        self._rows_path = journal.rows_of(self.id)
        self._rows_file = self._rows_path.open("wb")
        self._body_file = journal.body_of(self.id).open("wb")

    @property
    def next_id(self) -> str:
        """The custom_id of the next row."""
        return f"{self.id}-{self.rows}"

    def add(self, row: Spooled, line: bytes) -> None:
        """Add the row; `line` is what the wire makes of it."""
        whole = line + b"\n"
        self._rows_file.write(as_line(row))
        self._body_file.write(whole)
        self._digest.update(whole)
        self.rows += 1
        self.bytes += len(whole)

    def close(self, made_s: float) -> tuple[Intent, Reached]:
        """The intent of the job, whose files are on the disk. Blocks until they are."""
        for file in (self._rows_file, self._body_file):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        return Intent(
            id=self.id,
            model=self.asked.model.id,
            group=self.group,
            rows=self.rows,
            bytes=self.bytes,
            sha256=self._digest.hexdigest(),
            made_s=round(made_s, 3),
        ), self.asked.reached

    @property
    def is_too_small(self) -> bool:
        """Whether the provider would refuse it, as it is."""
        return self.rows < self.asked.wire.limits.least_rows

    def given_up(self) -> Iterator[Spooled]:
        """The rows of a job that will not be."""
        self.abandon()
        return rows_in(self._rows_path)

    def too_few(self) -> NotAnswered:
        """Why it will not be."""
        least, provider = self.asked.wire.limits.least_rows, self.asked.model.provider
        return NotAnswered(
            f"a job of {provider} has at least {least} rows, not {self.rows}",
            hint="--resume without --batch-api sends them live, as --live-after does by itself",
        )

    def abandon(self) -> None:
        """Close the files of a job that will not be."""
        self._rows_file.close()
        self._body_file.close()


class Fillings:
    """The jobs that are being filled: one for each model and group."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[tuple[str, str], Filling] = {}
        self.most_tokens: dict[str, int] = {}
        """By the model: how many tokens a job may have, where the provider has said so."""

    def add(self, row: Spooled, asked: Asked) -> Filling | None:
        """Add the row; returns the job that is full without it, if there is one.

        Raises Unsent and UsageError for a row that cannot be sent.
        """
        wire_request, request = asked.encode(row)
        wire = asked.wire
        group = wire.group(wire_request, request)
        key = (asked.reached.spec, group)
        filling = self._open.get(key)
        # encoded before any file is made, as it may not go
        custom_id = filling.next_id if filling else f"{'0' * 16}-0"
        line = wire.line(custom_id, wire_request, request)
        most = self._most_bytes(asked)
        if len(line) >= most:
            raise Unsent(
                f"the row is {len(line):,} bytes long, and a job takes {most:,}",
                hint="send it without --batch-api",
            )
        full = None
        if filling is not None and (
            filling.rows >= wire.limits.rows or filling.bytes + len(line) >= most
        ):
            full, filling = filling, None
        if filling is None:
            filling = self._open[key] = Filling(self._journal, asked, group)
        if filling.next_id != custom_id:
            line = wire.line(filling.next_id, wire_request, request)
        filling.add(row, line)
        return full

    def _most_bytes(self, asked: Asked) -> int:
        tokens = self.most_tokens.get(asked.model.name)
        most = asked.wire.limits.bytes
        return most if tokens is None else min(most, tokens * BYTES_PER_TOKEN)

    def rest(self) -> Iterator[Filling]:
        """Those that are not full; they are not filled any further."""
        while self._open:
            yield self._open.popitem()[1]

    def abandon(self) -> None:
        """Close the files of all."""
        for filling in self.rest():
            filling.abandon()
