"""Two runs, row by row: where they agree, what each took and cost.

Of the first run each row is kept as digests, in about 210 bytes and 5 more for each field of its
data; the second is read as it comes.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from llmbatch_cli.core.canonical import canonical
from llmbatch_cli.core.quantiles import Quantiles
from llmbatch_cli.core.text import shortened
from llmbatch_cli.report.figures import shown_id
from llmbatch_cli.report.row import Row, answer_text, shown

MOST_FIELDS: Final = 100
"""Fields of data that are compared one by one; more are compared as a whole only."""
EXAMPLES: Final = 20
_COMPARED_CHARS: Final = 4_000
_EXCERPT_CHARS: Final = 300
_BEFORE_CHARS: Final = 24
_KEPT: Final = struct.Struct("<8s8sIddBId")
"""Digests of text and of data, the text's length, latency, cost, flags, and what was not seen."""
_FIELD: Final = struct.Struct("<B4s")
_FAILED: Final = 1
_HAS_DATA: Final = 2
_NO_DATA: Final = b"\0" * 8


@dataclass(slots=True)
class Side:
    """What one of the runs did with the rows that both have."""

    failed: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    unseen: int = 0
    """Attempts that may have been billed besides."""
    unseen_unpriced: int = 0
    unseen_usd: float = 0.0
    chars: int = 0
    latencies: Quantiles = field(default_factory=Quantiles)

    def add(self, kept: "_Kept") -> None:
        self.failed += kept.failed
        if kept.cost_usd < 0:
            self.unpriced += 1
        else:
            self.cost_usd += kept.cost_usd
        self.unseen += kept.unseen
        if kept.unseen_usd < 0:
            self.unseen_unpriced += kept.unseen
        else:
            self.unseen_usd += kept.unseen_usd
        if not kept.failed:
            self.chars += kept.chars
            if kept.latency_s >= 0:
                self.latencies.add(kept.latency_s)

    def as_json(self, answered: int) -> dict[str, Any]:
        p50, p95 = self.latencies.at(0.5, 0.95)
        return {
            "failed": self.failed,
            "usd": round(self.cost_usd, 10),
            "unknown_cost_rows": self.unpriced,
            "maybe_billed": {
                "attempts": self.unseen,
                "up_to": round(self.unseen_usd, 10),
                "unknown_attempts": self.unseen_unpriced,
            },
            "mean_chars": self.chars / answered if answered else None,
            "p50": p50,
            "p95": p95,
        }


@dataclass(slots=True)
class _Kept:
    """What is kept of a row."""

    text: bytes
    data: bytes
    chars: int
    latency_s: float
    """-1 is unknown, as in `cost_usd`."""
    cost_usd: float
    flags: int
    unseen: int
    unseen_usd: float
    """-1 is unknown."""
    fields: dict[int, bytes]
    """Digests of the data's fields, by the field's number."""

    @property
    def failed(self) -> bool:
        return bool(self.flags & _FAILED)

    @property
    def has_data(self) -> bool:
        return bool(self.flags & _HAS_DATA)

    def packed(self) -> bytes:
        times_and_costs = (self.latency_s, self.cost_usd, self.flags, self.unseen, self.unseen_usd)
        head = _KEPT.pack(self.text, self.data, self.chars, *times_and_costs)
        return head + b"".join(_FIELD.pack(*one) for one in self.fields.items())

    @classmethod
    def unpacked(cls, packed: bytes) -> "_Kept":
        fields = dict(_FIELD.iter_unpack(packed[_KEPT.size :]))
        text, data, chars, latency_s, cost_usd, flags, unseen, unseen_usd = _KEPT.unpack_from(
            packed
        )
        return cls(text, data, chars, latency_s, cost_usd, flags, unseen, unseen_usd, fields)


class Comparison:
    """Takes all rows of the first run, then those of the second."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes | None] = {}
        """The rows of the first run by their ids' digests; None once the second has had one."""
        self._fields: dict[str, int] = {}
        """The number of each field of data."""
        self._agreeing: dict[int, list[int]] = {}
        """By the field's number: rows where it is the same, and rows that have it in both."""
        self._repeated = 0
        self._only_in_second = 0
        self._both = 0
        self._one_failed = [0, 0]
        self._both_failed = 0
        self._data = [0, 0]
        self._texts = [0, 0]
        """Rows where they are the same, and rows that have them in both."""
        self._sides = (Side(), Side())
        self._faster = [0, 0]
        self.differing: dict[bytes, dict[str, str]] = {}
        """The first rows whose answers differ, by their keys; `first` is to be filled in."""

    def add_first(self, row: Row) -> None:
        """Keep a row of the first run; of several with one id the first one counts."""
        key = key_of(row)
        if key in self._kept:
            self._repeated += 1
            return
        self._kept[key] = self._digested(row).packed()

    def add_second(self, row: Row) -> None:
        """Compare a row of the second run with the first run's."""
        key = key_of(row)
        if key not in self._kept:
            self._only_in_second += 1
            return
        packed = self._kept[key]
        if packed is None:
            self._repeated += 1
            return
        self._kept[key] = None
        first, second = _Kept.unpacked(packed), self._digested(row)
        self._both += 1
        for side, kept in zip(self._sides, (first, second), strict=True):
            side.add(kept)
        if first.failed or second.failed:
            self._count_failed(first.failed, second.failed)
            return
        self._compare(first, second, key, row)

    def _count_failed(self, first: bool, second: bool) -> None:
        if first and second:
            self._both_failed += 1
        else:
            self._one_failed[second] += 1

    def _compare(self, first: _Kept, second: _Kept, key: bytes, row: Row) -> None:
        if first.latency_s >= 0 and second.latency_s >= 0 and first.latency_s != second.latency_s:
            self._faster[second.latency_s < first.latency_s] += 1
        is_data = first.has_data and second.has_data
        same = first.data == second.data if is_data else first.text == second.text
        counts = self._data if is_data else self._texts
        counts[0] += same
        counts[1] += 1
        if is_data:
            self._compare_fields(first, second)
        if not same and len(self.differing) < EXAMPLES:
            self.differing[key] = {"id": shown_id(row.id), "first": "", "second": excerpt(row)}

    def _compare_fields(self, first: _Kept, second: _Kept) -> None:
        for number in first.fields.keys() | second.fields.keys():
            counts = self._agreeing.setdefault(number, [0, 0])
            counts[0] += first.fields.get(number) == second.fields.get(number)
            counts[1] += 1

    def _digested(self, row: Row) -> _Kept:
        text = answer_text(row) if row.kind is None else ""
        has_data = row.has_data and row.data is not None and row.kind is None
        unseen, up_to = row.maybe_billed
        return _Kept(
            _digest(_plain_text(text), 8),
            _digest(canonical(row.data) or b"", 8) if has_data else _NO_DATA,
            min(len(text), 2**32 - 1),
            -1.0 if row.latency_s is None else float(row.latency_s),
            -1.0 if row.is_unpriced else float(row.cost_usd or 0.0),
            _FAILED * (row.kind is not None) + _HAS_DATA * has_data,
            min(unseen, 2**32 - 1),
            -1.0 if up_to is None else up_to,
            self._field_digests(row.data) if has_data else {},
        )

    def _field_digests(self, data: Any) -> dict[int, bytes]:
        if not isinstance(data, Mapping):
            return {}
        found = {}
        for name, value in data.items():
            if name not in self._fields:
                if len(self._fields) == MOST_FIELDS:
                    continue
                self._fields[name] = len(self._fields)
            found[self._fields[name]] = _digest(canonical(value) or b"", 4)
        return found

    def as_json(self) -> dict[str, Any]:
        """All figures of the comparison."""
        both_answered = self._both - self._both_failed - sum(self._one_failed)
        first, second = self._sides
        answered = (self._both - first.failed, self._both - second.failed)
        return {
            "in_both": self._both,
            "only_in_first": sum(one is not None for one in self._kept.values()),
            "only_in_second": self._only_in_second,
            "repeated_ids": self._repeated,
            "both_answered": both_answered,
            "both_failed": self._both_failed,
            "failed_only_in_first": self._one_failed[0],
            "failed_only_in_second": self._one_failed[1],
            "data": {"agree": self._data[0], "rows": self._data[1]},
            "text": {"agree": self._texts[0], "rows": self._texts[1]},
            "fields": self._field_figures(),
            "faster_in_first": self._faster[0],
            "faster_in_second": self._faster[1],
            "first": first.as_json(answered[0]),
            "second": second.as_json(answered[1]),
            "examples": list(self.differing.values()),
        }

    def _field_figures(self) -> list[dict[str, Any]]:
        names = {number: name for name, number in self._fields.items()}
        return [
            {"field": shown(names[number], 120), "agree": counts[0], "rows": counts[1]}
            for number, counts in sorted(self._agreeing.items())
        ]


def compared(first: Iterable[Row], second: Iterable[Row], again: Iterable[Row]) -> dict[str, Any]:
    """The figures of two runs; `again` is the first one once more, for the examples."""
    found = Comparison()
    for row in first:
        found.add_first(row)
    for row in second:
        found.add_second(row)
    left = len(found.differing)
    for row in again if left else ():
        example = found.differing.get(key_of(row))
        if example is not None and not example["first"]:
            example["first"] = excerpt(row)
            left -= 1
            if not left:
                break
    for example in found.differing.values():
        _show_difference(example)
    return found.as_json()


def _show_difference(example: dict[str, str]) -> None:
    """Cut both answers so that the place is seen where they begin to differ."""
    first, second = example["first"], example["second"]
    places = enumerate(zip(first, second, strict=False))
    same = next((place for place, (a, b) in places if a != b), min(len(first), len(second)))
    begin = max(0, same - _BEFORE_CHARS)
    for name in ("first", "second"):
        text = ("…" if begin else "") + example[name][begin:]
        example[name] = shortened(text, _EXCERPT_CHARS)


def key_of(row: Row) -> bytes:
    """A digest of the row's id, and of its part where it has several outcomes."""
    return _digest(repr((str(row.id), row.part)).encode(), 12)


def excerpt(row: Row) -> str:
    """The beginning of an answer, to be shown beside another."""
    return shown(answer_text(row), _COMPARED_CHARS)


def _plain_text(text: str) -> bytes:
    """The text without white space around it."""
    return text.strip().encode("utf-8", "surrogatepass")


def _digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size).digest()
