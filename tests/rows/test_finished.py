"""The store of finished rows at sizes where its shortcuts are taken."""

import random
from hashlib import blake2b

import pytest

from llmbatch_cli.core.types import Prompt
from llmbatch_cli.rows.finished import FinishedRows

SAME = "ab" * 16


def row(index: int) -> Prompt:
    return Prompt(index, [], index)


def key(number: int, row_digits: str = "0" * 12) -> str:
    return blake2b(number.to_bytes(8), digest_size=10).hexdigest() + row_digits


def claims(finished: FinishedRows, keys: dict[int, str]) -> list[int]:
    """The indexes that are to be sent."""
    sent = (finished.claim(key, row(index)) for index, key in keys.items())
    return [left.index for left in sent if left is not None]


@pytest.mark.parametrize("count", [300, 60_000])
def test_one_request_asked_very_often(count: int) -> None:
    """Rows that all ask the same are told apart by their index, however many there are."""
    done = [*range(0, count, 2)]
    random.Random(1).shuffle(done)
    finished = FinishedRows()
    for index in done:
        finished.add(SAME, index)
    assert sorted(claims(finished, dict.fromkeys(range(count), SAME))) == [*range(1, count, 2)]
    assert [finished.take_place(SAME, index) for index in range(0, count, 2)] == [
        *range(0, count, 2)
    ]
    assert finished.take_place(SAME, 0) is None


def test_one_request_asked_very_often_and_moved() -> None:
    """As many rows are sent as there are more, in time that grows with the rows only."""
    finished = FinishedRows()
    for index in range(5_000):
        finished.add(SAME, index)
    sent = claims(finished, dict.fromkeys(range(10_000, 16_000), SAME))
    assert (len(sent), finished.untaken) == (1_000, 0)


def test_all_rows_renamed() -> None:
    """With another id on every row nothing is sent, however many there are."""
    finished = FinishedRows()
    for number in range(9_000):
        finished.add(key(number), number)
    renamed = {number + 1: key(number, "1" * 12) for number in range(9_000)}
    assert claims(finished, renamed) == []
    assert finished.untaken == 0
    assert [finished.take_place(key(n), n) for n in range(9_000)] == [*range(1, 9_001)]


def test_equal_rows_of_two_histories() -> None:
    """Rows with the same key and index, as after an edit, are counted one by one."""
    finished = FinishedRows()
    for _ in range(3):
        finished.add(SAME, 7)
    assert claims(finished, dict.fromkeys((7, 8, 9, 10), SAME)) == [10]
    assert {finished.take_place(SAME, 7) for _ in range(3)} == {7, 8, 9}


def test_what_is_no_key_is_refused() -> None:
    """Nothing else than a key and an index can be added."""
    finished = FinishedRows()
    for wrong, index in (("ab", 1), ("z" * 32, 1), (SAME, "1"), (SAME, None), (None, 1)):
        with pytest.raises((TypeError, ValueError)):
            finished.add(wrong, index)  # type: ignore[arg-type]  # what a file may hold
    assert (finished.rows, finished.holds(SAME)) == (0, False)
