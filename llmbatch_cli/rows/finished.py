"""Which rows of an output are there already, and which row of the input each belongs to."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmbatch_cli.core.types import Row, RowId
from llmbatch_cli.rows.keys import check_key

_REQUEST: Final = 10
_ROW: Final = 14
_EXACT: Final = 18
"""How much of an entry is compared: the request, the row of input too, the index too."""
_LEVEL: Final = 18
_PLACE: Final = 19
_RECORD: Final = 23
_FREE: Final = b"\0" * (_RECORD - _EXACT)
_READ: Final = 0xFF
_BUCKETS: Final = 2**14
_MOST_CLAIMS: Final = 4_096
_LONG_WAY: Final = 8
_BLOCK: Final = 2**13
"""How many records are put in order at once: as objects they take far more room."""
_SHORT_BYTES: Final = 2**13


@dataclass(slots=True)
class _Claimant:
    """What tells a row of input from another one that asks the same thing."""

    entry: bytes
    index: int
    id: RowId
    file: str | None
    line: int | None
    metadata: Mapping[str, Any]

    def at(self, index: int) -> "_Claimant":
        """The row that differs from this one by its place only."""
        row_id = index if self.id == self.index else self.id
        entry = self.entry[:_ROW] + _four_bytes(index)
        return _Claimant(entry, index, row_id, None, None, self.metadata)


class FinishedRows:
    """The finished rows of an output, each to be claimed by one row of input.

    Rows that ask the same are told apart by the rest of the row, and then by the index. A
    row that has another's place gives it back when the other one comes; what then must be
    sent is the first row, not the second. Only between rows of one request that differ in
    id or metadata, and that stand over 4,096 such cases apart, the ids may end exchanged.

    Holds 23 bytes a row, 80 bits of them for the request: a million rows looked up among a
    million others lose one row to a false match with odds of 1 in 10**12.
    """

    def __init__(self) -> None:
        self.rows = 0
        """Rows of the output that are done, failed ones that are not tried again too."""
        self.failed = 0
        """Those of `rows` that are failures."""
        self.failed_again = 0
        """Failed rows that were taken out of the output, to be tried again."""
        self.taken = 0
        """Those of `rows` that a row of input has claimed."""
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._is_sorted = bytearray(_BUCKETS)
        self._claims: dict[tuple[int, int], _Claimant] = {}
        """By bucket and place in it: who has a row of which only the request is its own."""
        self._cursors: dict[bytes, int] = {}
        """Where to go on looking, for what stands far behind the first of its kind."""

    @property
    def untaken(self) -> int:
        """Finished rows that no row of input has asked for so far."""
        return self.rows - self.taken

    def add(self, key: str, index: int) -> None:
        """Take note of a finished row, before anything is claimed.

        Raises TypeError or ValueError for what is no key or no index.
        """
        raw = check_key(key)
        number = _number(raw)
        bucket = self._buckets[number]
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        bucket += raw[:_ROW] + _four_bytes(index)
        self.rows += 1

    def holds(self, key: str) -> bool:
        """Whether the request of this key was finished at least once; claims nothing."""
        entry = bytes.fromhex(key)
        return _has(self._sorted(_number(entry)), entry[:_REQUEST])

    def claim(self, key: str, row: Row) -> Row | None:
        """The row to send now, or None where there is nothing to send.

        Called once for each row of input. The row to send is this one or, with the same
        request, an earlier one that has had to give way.
        """
        entry = bytes.fromhex(key)[:_ROW] + _four_bytes(row.index)
        number = _number(entry)
        bucket = self._sorted(number)
        at = _first(bucket, entry)
        if bucket[at : at + _EXACT + 1] == entry + b"\0":  # most rows are where they were
            self._mark(number, at, _EXACT, row.index)
            self.taken += 1
            return None
        if not _has(bucket, entry[:_REQUEST]):
            return row
        own = _Claimant(entry, row.index, row.id, row.file, row.line, row.metadata)
        left = self._settle(own)
        if left is None or left is own:
            return row if left is own else None
        return replace(
            row,
            index=left.index,
            id=left.id,
            file=left.file,
            line=left.line,
            metadata=left.metadata,
        )

    def release(self) -> None:
        """Forget all claims, so that the input can be gone through again."""
        for number, bucket in enumerate(self._buckets):
            if bucket is not None and self._is_sorted[number]:
                bucket[_LEVEL::_RECORD] = bytes(len(bucket) // _RECORD)
        self._claims.clear()
        self._cursors.clear()
        self.taken = 0

    def take_place(self, key: str, index: int) -> int | None:
        """The index of the input row that has claimed this row of output; None for none.

        Asked once for each row of output, when all claims are made.
        """
        entry = bytes.fromhex(key)[:_ROW] + _four_bytes(index)
        number = _number(entry)
        bucket = self._sorted(number)
        at = _first(bucket, entry)
        while bucket[at : at + _EXACT] == entry:
            level = bucket[at + _LEVEL]
            if level != _READ:
                bucket[at + _LEVEL] = _READ
                return _place(bucket, at) if level else None
            at += _RECORD
        return None

    def _settle(self, claimant: _Claimant | None) -> _Claimant | None:
        """Give it the best record; and who has lost that, the next best. Returns who has none."""
        while claimant is not None:
            number = _number(claimant.entry)
            bucket = self._sorted(number)
            for width in (_EXACT, _ROW, _REQUEST):
                at = self._open(bucket, claimant.entry[:width])
                if at is not None:
                    claimant = self._give(number, at, width, claimant)
                    break
            else:
                break
        return claimant

    def _open(self, bucket: bytearray, prefix: bytes) -> int | None:
        """Where a record begins with this, and is free or held by a weaker claim."""
        width = len(prefix)
        start = self._cursors.get(prefix)
        at = start = _first(bucket, prefix) if start is None else start
        while (found := bucket[at : at + width] == prefix) and bucket[at + _LEVEL] >= width:
            at += _RECORD
        if at - start > _LONG_WAY * _RECORD:
            self._cursors[prefix] = at  # claims only grow stronger, so all before stay taken
        return at if found else None

    def _give(self, number: int, at: int, width: int, claimant: _Claimant) -> _Claimant | None:
        """Let it have the record; returns who had it."""
        bucket = self._sorted(number)
        level = bucket[at + _LEVEL]
        if level == _ROW:
            gave_way: _Claimant | None = claimant.at(_place(bucket, at))
        else:
            gave_way = self._claims.pop((number, at), None)
        self.taken += level == 0
        self._mark(number, at, width, claimant.index)
        if width == _REQUEST:
            self._claims[number, at] = claimant
            if len(self._claims) > _MOST_CLAIMS:
                self._keep_for_good(next(iter(self._claims)))
        return gave_way

    def _mark(self, number: int, at: int, level: int, index: int) -> None:
        at += _LEVEL
        self._sorted(number)[at : at + 5] = level.to_bytes() + _four_bytes(index)

    def _keep_for_good(self, record: tuple[int, int]) -> None:
        del self._claims[record]
        number, at = record
        self._sorted(number)[at + _LEVEL] = _EXACT

    def _sorted(self, number: int) -> bytearray:
        """The bucket with its records in order."""
        bucket = self._buckets[number]
        if bucket is None:
            return bytearray()
        if not self._is_sorted[number]:
            self._is_sorted[number] = 1
            _sort(bucket)
        return bucket


def _sort(bucket: bytearray) -> None:
    """Put the entries in order and make records of them."""
    if len(bucket) <= _BLOCK * _EXACT:
        entries = sorted(bytes(bucket[at : at + _EXACT]) for at in range(0, len(bucket), _EXACT))
        bucket[:] = _FREE.join([*entries, b""])
        return
    _widen(bucket)
    _sort_blocks(bucket)


def _widen(bucket: bytearray) -> None:
    """Make records of the entries, where they are: they may be nearly all that memory holds."""
    count = len(bucket) // _EXACT
    bucket.extend(bytes(count * len(_FREE)))
    for place in range(count - 1, -1, -1):
        entry = bucket[place * _EXACT : (place + 1) * _EXACT]
        bucket[place * _RECORD : (place + 1) * _RECORD] = entry + _FREE


def _sort_blocks(bucket: bytearray) -> None:
    """Put many records in order, two blocks of them at a time: a comb sort of blocks.

    It ends when all neighbours are in order, so the wider gaps only save time.
    """
    size = _BLOCK * _RECORD
    starts = range(0, len(bucket), size)
    for start in starts:
        _merge(bucket, slice(start, start + size), slice(0, 0))
    gap, moved = len(starts), True
    while gap > 1 or moved:
        gap, moved = max(1, gap * 10 // 13), False
        for start in starts[: len(starts) - gap]:
            far = start + gap * size
            if bucket[start + size - _RECORD : start + size] > bucket[far : far + _RECORD]:
                _merge(bucket, slice(start, start + size), slice(far, far + size))
                moved = True


def _merge(bucket: bytearray, low: slice, high: slice) -> None:
    """Put the records of two blocks in order, the smallest into the first."""
    both = bucket[low] + bucket[high]
    records = sorted(bytes(both[at : at + _RECORD]) for at in range(0, len(both), _RECORD))
    ordered, first = b"".join(records), len(bucket[low])
    bucket[low], bucket[high] = ordered[:first], ordered[first:]


def _number(entry: bytes) -> int:
    return (entry[0] << 8 | entry[1]) >> 2


def _has(bucket: bytearray, request: bytes) -> bool:
    if request not in bucket:
        return False
    at = _first(bucket, request)
    return bucket[at : at + _REQUEST] == request


def _first(bucket: bytearray, prefix: bytes) -> int:
    """Where the first record stands that is not below this."""
    if len(bucket) <= _SHORT_BYTES:  # a search in C is faster than a clever one
        at = bucket.find(prefix)
        if at >= 0 and at % _RECORD == 0:
            return at
    width = len(prefix)
    count = len(bucket) // _RECORD
    place = bisect_left(
        range(count),
        bytearray(prefix),
        key=lambda place: bucket[place * _RECORD : place * _RECORD + width],
    )
    return place * _RECORD


def _place(bucket: bytearray, at: int) -> int:
    return int.from_bytes(bucket[at + _PLACE : at + _RECORD])


def _four_bytes(index: int) -> bytes:
    """Indexes from 2**32 on lose their upper bits: they only choose among equal requests."""
    return (index & 0xFFFFFFFF).to_bytes(4)
