"""Claiming finished rows, at sizes where the shortcuts are taken."""

import random
from hashlib import blake2b

import pytest

from llmbatch_cli.core.types import Prompt
from llmbatch_cli.rows.finished import FinishedRows

SAME = "ab" * 16


def row(index: int, key: str) -> Prompt:
    return Prompt(index, [], index, key=key)


def key(number: int, row_digits: str = "0" * 12) -> str:
    return blake2b(number.to_bytes(8), digest_size=10).hexdigest() + row_digits


def claims(finished: FinishedRows, keys: dict[int, str]) -> list[int]:
    """The indexes that are to be sent."""
    return [index for index, key in keys.items() if not finished.claim(row(index, key))]


def indexes(finished: FinishedRows) -> list[int | None]:
    """The new indexes of all rows; None where one stays."""
    return [finished.new_fields(number).get("index") for number in range(finished.rows)]


@pytest.mark.parametrize("count", [300, 60_000])
def test_equal_rows_are_told_apart_by_their_index(count: int) -> None:
    """However many rows of an unchanged input are the same, finished ones stay what they are."""
    done = [*range(count)]
    random.Random(1).shuffle(done)
    finished = FinishedRows()
    for index in done:
        finished.add(SAME, index)
    assert claims(finished, dict.fromkeys(range(count), SAME)) == []
    assert (finished.taken, finished.changed, finished.untaken) == (count, 0, 0)


def test_equal_rows_that_are_half_done() -> None:
    """As many rows are sent as are missing, and each index is there once afterwards."""
    finished = FinishedRows()
    for index in range(1, 20_000, 2):
        finished.add(SAME, index)
    sent = claims(finished, dict.fromkeys(range(20_000), SAME))
    assert len(sent) == 10_000
    own = range(1, 20_000, 2)
    now = [old if new is None else new for old, new in zip(own, indexes(finished), strict=True)]
    assert sorted([*sent, *now]) == [*range(20_000)]


def test_equal_rows_that_have_moved() -> None:
    """As many rows are sent as there are more, in time that grows with the rows only."""
    finished = FinishedRows()
    for index in range(5_000):
        finished.add(SAME, index)
    sent = claims(finished, dict.fromkeys(range(10_000, 16_000), SAME))
    assert (len(sent), finished.untaken, finished.changed) == (1_000, 0, 5_000)


def test_all_rows_renamed() -> None:
    """With another id on every row nothing is sent, and each gets its new index and key."""
    finished = FinishedRows()
    for number in range(9_000):
        finished.add(key(number), number)
    renamed = {number + 1: key(number, "1" * 12) for number in range(9_000)}
    for _ in range(2):
        assert claims(finished, renamed) == []
        assert (finished.untaken, finished.changed) == (0, 9_000)
        assert indexes(finished) == [*range(1, 9_001)]
        assert finished.new_fields(7)["key"] == renamed[8]
        finished.release()
        assert (finished.untaken, finished.changed, finished.is_claimed(7)) == (9_000, 0, False)


def test_a_row_of_the_same_key_goes_first() -> None:
    """Of two finished rows with one request, a row claims the one that has its id."""
    finished = FinishedRows()
    for digits in ("1" * 12, "2" * 12):
        finished.add(key(1, digits), 0)
    assert finished.claim(row(5, key(1, "2" * 12)))
    assert finished.new_fields(0) == {}
    assert finished.new_fields(1) == {"index": 5, "id": 5}


def test_equal_rows_of_two_histories() -> None:
    """Rows with the same key and index, as after an edit, are counted one by one."""
    finished = FinishedRows()
    for _ in range(3):
        finished.add(SAME, 7)
    assert claims(finished, dict.fromkeys((7, 8, 9, 10), SAME)) == [10]
    assert sorted(index or 7 for index in indexes(finished)) == [7, 8, 9]


def test_what_is_no_key_is_refused() -> None:
    """Nothing else than a key and an index can be added."""
    finished = FinishedRows()
    for wrong, index in (("ab", 1), ("z" * 32, 1), (SAME, "1"), (SAME, None), (None, 1)):
        with pytest.raises((TypeError, ValueError)):
            finished.add(wrong, index)  # type: ignore[arg-type]  # what a file may hold
    assert finished.rows == 0
