"""The store: the loop never waits for the disk, and a table that fails ends no run."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Mapping

from llmbatch_cli.engine.cache.store import MOST_UNWRITTEN_BYTES, WRITTEN, Store
from llmbatch_cli.engine.cache.table import Table, temporary_table


class Slow(Table):
    """A table whose thread can be held, and made to fail."""

    def __init__(self) -> None:
        super().__init__(temporary_table()._connection, None)
        self.go = threading.Event()
        self.go.set()
        self.reads = self.writes = 0
        self.unreadable = self.unwritable = False

    def read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        self.go.wait(10)
        self.reads += 1
        if self.unreadable:
            raise sqlite3.DatabaseError("disk image is malformed")
        return super().read(keys)

    def write(self, answers: Mapping[bytes, bytes]) -> None:
        self.writes += 1
        if self.unwritable:
            raise sqlite3.OperationalError("database or disk is full")
        super().write(answers)


def key(number: int) -> bytes:
    return number.to_bytes(16)


async def test_an_answer_can_be_had_at_once_and_later() -> None:
    """Before it is written, while it is, and afterwards."""
    table = Slow()
    store = Store(table, print)
    store.put(key(1), b"one")
    assert await store.get(key(1)) == b"one"
    assert table.reads == 0
    table.go.clear()
    for number in range(2, 2 + WRITTEN):
        store.put(key(number), b"more")
    await asyncio.sleep(0.01)
    assert await store.get(key(1)) == b"one"  # the thread is at work on it
    table.go.set()
    while not table.writes:
        await asyncio.sleep(0.01)
    assert [await store.get(key(number)) for number in (1, 0)] == [b"one", None]
    await store.aclose()


async def test_many_reads_are_one_turn_and_block_no_loop() -> None:
    """Whatever the disk is doing."""
    table = Slow()
    store = Store(table, print)
    table.go.clear()
    asked = [asyncio.ensure_future(store.get(key(number % 50))) for number in range(100)]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in asked)
    table.go.set()
    assert await asyncio.gather(*asked) == [None] * 100
    assert table.reads == 1
    await store.aclose()


async def test_few_answers_are_written_soon_and_the_last_ones_at_the_end() -> None:
    """A kill loses the last moments of the cache only."""
    table = Slow()
    store = Store(table, print)
    store.put(key(1), b"one")
    async with asyncio.timeout(10):
        while table.contents().answers == 0:
            await asyncio.sleep(0.02)
    store.put(key(2), b"two")
    closed, table.close = table.close, lambda: None  # type: ignore[method-assign]
    await store.aclose()
    assert table.contents().answers == 2
    closed()


async def test_a_table_that_cannot_be_written_is_read_on() -> None:
    """It is said once; answers that are there are still taken."""
    said: list[str] = []
    table = Slow()
    table.write({key(1): b"one"})
    store = Store(table, said.append)
    table.unwritable = True
    for number in range(10, 10 + 3 * WRITTEN):
        store.put(key(number), b"more")
        await asyncio.sleep(0)
    while not said:
        await asyncio.sleep(0.01)
    store.put(key(2), b"two")
    assert [await store.get(key(number)) for number in (1, 2)] == [b"one", None]
    await store.aclose()
    assert said == ["cannot be written (SQLite says: database or disk is full)"]


async def test_a_table_that_cannot_be_read_has_no_answers() -> None:
    """It is said once, and nothing waits for it any more."""
    said: list[str] = []
    table = Slow()
    table.unreadable = True
    store = Store(table, said.append)
    assert await asyncio.gather(*(store.get(key(number)) for number in range(3))) == [None] * 3
    assert await store.get(key(9)) is None
    assert table.reads == 1
    await store.aclose()
    assert said == ["cannot be read (SQLite says: disk image is malformed)"]


async def test_memory_is_bounded_where_the_disk_is_slow() -> None:
    """What cannot be written in time is not kept."""
    table = Slow()
    store = Store(table, print)
    table.go.clear()
    for number in range(100):
        store.put(key(number), bytes(2**20))
    assert len(store._new) == MOST_UNWRITTEN_BYTES // 2**20
    table.go.set()
    await store.aclose()


async def test_a_reader_that_is_cancelled_holds_nobody_up() -> None:
    """As a race's loser may be, while it looks."""
    table = Slow()
    store = Store(table, print)
    table.go.clear()
    gone, stays = (asyncio.ensure_future(store.get(key(1))) for _ in range(2))
    await asyncio.sleep(0.01)
    gone.cancel()
    table.go.set()
    assert await stays is None
    await store.aclose()
