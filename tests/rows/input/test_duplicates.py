"""Repeated ids: each is counted, in little memory."""

import sys
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbatch_cli.rows.input.duplicates import DuplicateIds

UNHURRIED = settings(deadline=None)
IDS = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 3) | st.text(max_size=3)


@UNHURRIED
@given(st.lists(IDS))
@example([-1, 2**64 - 1])  # one number modulo 2**64
def test_every_repetition_counts(ids: list[str | int]) -> None:
    """The count is the rows less the different ids; examples are ids that were repeated."""
    seen = DuplicateIds()
    for row_id in ids:
        seen.add(row_id)
    repeated = {row_id for row_id, times in Counter(ids).items() if times > 1}
    assert seen.count == len(ids) - len(set(ids))
    assert set(seen.examples) <= repeated
    assert len(seen.examples) == min(3, len(repeated))


def test_text_and_number_are_two_ids() -> None:
    """The id "1" does not repeat the id 1, nor -1 the id -2."""
    seen = DuplicateIds()
    for row_id in ("1", 1, -1, -2, 0):
        seen.add(row_id)
    assert seen.count == 0


def test_ids_take_few_bytes() -> None:
    """200,000 ids, texts or numbers, take under 10 bytes each and are all told apart."""
    for ids in ([f"row-{i}" for i in range(200_000)], range(0, 2**24 * 200_000, 2**24)):
        seen = DuplicateIds()
        for row_id in ids:
            seen.add(row_id)
        kept = [sys.getsizeof(bucket) for bucket in seen._buckets if bucket is not None]
        assert sum(kept) + sys.getsizeof(seen._buckets) < 10 * 200_000
        assert seen.count == 0
