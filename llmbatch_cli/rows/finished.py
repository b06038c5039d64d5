"""Which rows of an output are finished, and which row of the input each one answers."""

from array import array
from bisect import bisect_left
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.big_ints import with_big_ints
from llmbatch_cli.rows.keys import check_key
from llmbatch_cli.rows.output.render import dump
from llmbatch_cli.rows.output.with_input import fields_of

_REQUEST: Final = 10
_NUMBER: Final = 20
_RECORD: Final = 24
"""A record is the key (10 bytes of it the request), the old index, and the row's number."""
_BUCKETS: Final = 2**14
_LONG_WAY: Final = 8 * _RECORD
_SHORT_BYTES: Final = 2**13
_IN_MEMORY_BYTES: Final = 2**20

_BY_KEY: Final = 1
_BY_PLACE: Final = 2
"""How a row of output is kept for a row of input; 0 is not at all."""

_UNCLAIMED: Final = 0
_UNCHANGED: Final = 1
_CHANGED: Final = 2
"""From here on a state is 2 plus the place of the row's new fields in the temporary file."""


class FinishedRows:
    """The finished rows of an output, each claimed by one row of input at most.

    A row of input claims the row of output with its key and index; else one with its key; else
    one with the same request. In the last two cases the row of output gets the row's present
    index, id, metadata and key when the run ends (`rows.output.settle`). Where the input can be
    read twice, each row of output is first kept for the row of input that it was written for, so
    that a failed row does not take the answer of an equal one.

    A row of output takes 32 bytes of memory; new fields beyond 1 MiB are held in an unnamed file
    beside the output. Of the request 80 bits are compared: a million rows looked up among a
    million others lose one row to a false match with odds of 1 in 10**12.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where the temporary file goes; None is the system's own place."""
        self.failed = 0
        """Those of `rows` that are failures, which are not sent again."""
        self.taken_failed = 0
        """Those of `failed` that a row of input has claimed."""
        self.failed_again = 0
        """Failed rows that were taken out of the output, to be sent again."""
        self.with_input = 0
        """Those of `rows` that have an `input`."""
        self.with_fields = False
        """Whether rows have the `fields` of their row of input."""
        self.taken = 0
        """Those of `rows` that a row of input has claimed."""
        self.changed = 0
        """Those of `taken` that get new fields."""
        self._folder = None if folder is None else str(folder)
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._is_sorted = bytearray(_BUCKETS)
        self._states = array("Q")
        """By the row's number, its place among the rows of the output."""
        self._is_failed = bytearray()
        self._kept = bytearray()
        """By the row's number, too."""
        self._cursors: dict[bytes, int] = {}
        """Where to go on looking, for a prefix whose first records are claimed."""
        self._new_fields: SpooledTemporaryFile[bytes] | None = None

    def __del__(self) -> None:
        self.close()

    @property
    def rows(self) -> int:
        """Finished rows of the output, with the failed ones that are not sent again."""
        return len(self._states)

    @property
    def untaken(self) -> int:
        """Finished rows that no row of input has claimed so far."""
        return self.rows - self.taken

    @property
    def untaken_answers(self) -> int:
        """Those of `untaken` that are no failures."""
        return self.untaken - (self.failed - self.taken_failed)

    def add(self, key: str, index: int, *, failed: bool = False) -> None:
        """Add the next finished row of the output, before anything is claimed.

        Raises TypeError or ValueError for an invalid key or index.
        """
        raw = check_key(key)
        number = _bucket_number(raw)
        bucket = self._buckets[number]
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        bucket += raw + _four_bytes(index) + _four_bytes(len(self._states))
        self._states.append(_UNCLAIMED)
        self._is_failed.append(failed)
        self._kept.append(0)
        self.failed += failed

    def keep(self, row: Row) -> bool:
        """Keep a row of output for this row of input; returns whether there is one.

        Called for every row of the input before any is claimed, then `release`. Until then
        `taken` counts what is kept.
        """
        key = bytes.fromhex(row.key or "")
        bucket = self._sorted(_bucket_number(key))
        if (number := self._free(bucket, key + _four_bytes(row.index), _BY_KEY)) is not None:
            if self._kept[number] == _BY_KEY:  # which then is one short
                self.taken -= 1
                self.taken_failed -= self._is_failed[number]
            self._kept[number] = _BY_PLACE
        elif (number := self._free(bucket, key, 0)) is not None:
            self._kept[number] = _BY_KEY
        else:
            return False
        self._take(number)
        return True

    def claim(self, row: Row) -> bool:
        """Whether the row is finished. Called once for each row of input, with its key set.

        Raises OutputError where the new fields of a finished row cannot be stored.
        """
        key = bytes.fromhex(row.key or "")
        bucket = self._sorted(_bucket_number(key))
        if (number := self._free(bucket, key + _four_bytes(row.index), _BY_PLACE)) is not None:
            self._states[number] = _UNCHANGED
        elif (number := self._free(bucket, key, _BY_KEY)) is not None:
            self._change(number, {"index": row.index, "id": row.id})
        elif (number := self._free(bucket, key[:_REQUEST], 0)) is not None:
            fields = {"index": row.index, "id": row.id, "metadata": row.metadata, "key": row.key}
            if self.with_fields and row.value is not None:
                fields["fields"] = fields_of(row)
            self._change(number, fields)
        else:
            return False
        self._take(number)
        return True

    def has(self, key: str) -> bool:
        """Whether any finished row has this key, claimed or not."""
        raw = bytes.fromhex(key)
        bucket = self._sorted(_bucket_number(raw))
        return bucket[(at := _first(bucket, raw)) : at + len(raw)] == raw

    def _take(self, number: int) -> None:
        self.taken += 1
        self.taken_failed += self._is_failed[number]

    def release(self) -> None:
        """Forget all claims, so that the input can be read again from its start."""
        self._states = array("Q", bytes(8 * self.rows))
        self._cursors.clear()
        self.taken = self.taken_failed = self.changed = 0
        self.close()

    def close(self) -> None:
        """Drop the new fields of all rows."""
        if self._new_fields is not None:
            self._new_fields.close()
            self._new_fields = None

    def is_claimed(self, number: int) -> bool:
        """Whether a row of input has claimed this row of output, counted from 0."""
        return self._states[number] != _UNCLAIMED

    def is_left_over(self, number: int) -> bool:
        """Whether this row of output is a failure that no row of input has claimed."""
        return bool(self._is_failed[number]) and not self.is_claimed(number)

    def new_fields(self, number: int) -> dict[str, Any]:
        """The fields that this row of output gets; none for most. Raises OSError."""
        place = self._states[number] - _CHANGED
        if place < 0 or self._new_fields is None:
            return {}
        self._new_fields.seek(place)
        line = self._new_fields.readline()
        return dict(with_big_ints(orjson.loads(line), line))

    def _change(self, number: int, fields: dict[str, Any]) -> None:
        try:
            if self._new_fields is None:
                # closed by close(), as it lives from claim to claim
                self._new_fields = SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=self._folder)  # noqa: SIM115
            self._states[number] = _CHANGED + self._new_fields.tell()
            self._new_fields.write(dump(fields))
        except OSError as error:
            raise OutputError(
                f"cannot store the new ids of finished rows: {error.strerror or error}",
                hint="free some disk space beside the output, then --resume again",
            ) from error
        self.changed += 1

    def _free(self, bucket: bytearray, prefix: bytes, kept: int) -> int | None:
        """The number of the first unclaimed row whose record begins with this, kept at most so."""
        width = len(prefix)
        at = start = self._cursors.get(prefix) or _first(bucket, prefix)
        found = None
        while bucket[at : at + width] == prefix:
            number = int.from_bytes(bucket[at + _NUMBER : at + _RECORD])
            if self._states[number] == _UNCLAIMED and self._kept[number] <= kept:
                found = number
                break
            at += _RECORD
        if at - start > _LONG_WAY:  # what is taken is never given back
            self._cursors[prefix] = at
        return found

    def _sorted(self, number: int) -> bytearray:
        """The bucket with its records in order."""
        bucket = self._buckets[number]
        if bucket is None:
            return bytearray()
        if not self._is_sorted[number]:
            self._is_sorted[number] = 1
            starts = range(0, len(bucket), _RECORD)
            bucket[:] = b"".join(sorted(bytes(bucket[at : at + _RECORD]) for at in starts))
        return bucket


def _bucket_number(key: bytes) -> int:
    return (key[0] << 8 | key[1]) >> 2


def _first(bucket: bytearray, prefix: bytes) -> int:
    """Where the first record stands that is not below this."""
    if len(bucket) <= _SHORT_BYTES:  # a search in C is faster than a clever one
        at = bucket.find(prefix)
        if at < 0:
            return len(bucket)
        if at % _RECORD == 0:
            return at
    width = len(prefix)
    count = len(bucket) // _RECORD
    place = bisect_left(
        range(count),
        bytearray(prefix),
        key=lambda place: bucket[place * _RECORD : place * _RECORD + width],
    )
    return place * _RECORD


def _four_bytes(number: int) -> bytes:
    """Numbers from 2**32 on lose their upper bits; no output has so many rows."""
    return (number & 0xFFFFFFFF).to_bytes(4)
