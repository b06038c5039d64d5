"""Blocking forms of async functions and generators, with and without a loop around them."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import pytest

from llmbatch_cli.loops import AHEAD, iterate, run


def threads() -> int:
    return sum(thread.name == "llmbatch-loop" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == 0


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail() -> int:
    return 1 // 0


class Numbers:
    """Counts to `end`; knows what was taken from it, and whether it was closed."""

    def __init__(self, end: int = 10**9, after_s: float = 0, hangs_at: int | None = None) -> None:
        self.end = end
        self.after_s = after_s
        self.hangs_at = hangs_at
        self.made = 0
        self.closed = False
        self.in_flight: list[asyncio.Task[None]] = []

    async def __call__(self) -> AsyncGenerator[int, None]:
        self.in_flight = [asyncio.ensure_future(asyncio.sleep(60)) for _ in range(3)]
        try:
            for number in range(self.end):
                await asyncio.sleep(self.after_s)
                if number == self.hangs_at:
                    await asyncio.sleep(60)
                self.made = number + 1
                yield number
        finally:
            for task in self.in_flight:
                task.cancel()
            await asyncio.wait(self.in_flight)
            self.closed = True


async def broken() -> AsyncGenerator[int, None]:
    yield 1
    raise ValueError("no more")


def test_a_coroutine_runs_without_a_loop() -> None:
    """In the caller's own thread."""

    async def where() -> threading.Thread:
        return threading.current_thread()

    assert run(lambda: double(4)) == 8
    assert run(where) is threading.current_thread()


async def test_a_coroutine_runs_inside_a_loop() -> None:
    """In a thread that has ended afterwards; an exception comes through."""
    assert run(lambda: double(4)) == 8
    with pytest.raises(ZeroDivisionError):
        run(fail)
    assert threads() == 0


@pytest.mark.parametrize("end", [0, 1, AHEAD - 1, AHEAD, AHEAD + 1, 10 * AHEAD])
def test_every_item_comes_once_and_in_order(end: int) -> None:
    """However many there are; then the thread has ended, and there is nothing more."""
    numbers = Numbers(end)
    items = iterate(numbers)
    assert list(items) == list(range(end))
    assert (numbers.closed, threads()) == (True, 0)
    with pytest.raises(StopIteration):
        next(items)


async def test_it_works_inside_a_running_loop() -> None:
    """As in a notebook; the caller's own loop has no task more than before."""
    before = asyncio.all_tasks()
    assert list(iterate(Numbers(300))) == list(range(300))
    assert asyncio.all_tasks() == before


def test_nothing_happens_before_the_first_item_is_wanted() -> None:
    """Neither a thread nor a call of `make`."""
    numbers = Numbers(3)
    items = iterate(numbers)
    assert (threads(), numbers.in_flight) == (0, [])
    assert next(items) == 0
    items.close()


def test_the_generator_runs_a_bounded_way_ahead() -> None:
    """A caller that is slow keeps it waiting, and gets every item all the same."""
    numbers = Numbers()
    items = iterate(numbers)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while numbers.made < AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert AHEAD <= numbers.made <= AHEAD + 2
    assert [next(items) for _ in range(3 * AHEAD)] == list(range(1, 3 * AHEAD + 1))
    items.close()


def left_by_break(numbers: Numbers) -> None:
    for number in iterate(numbers):
        if number == 2:
            break


def left_by_break_but_kept(numbers: Numbers) -> None:
    items = iterate(numbers)
    for _ in items:
        break
    assert numbers.closed
    assert list(items) == []


def left_by_exception(numbers: Numbers) -> None:
    def loop() -> None:
        for _ in iterate(numbers):
            raise KeyError

    with pytest.raises(KeyError):
        loop()


def left_by_with(numbers: Numbers) -> None:
    with iterate(numbers) as items:
        assert (next(items), threads()) == (0, 1)


def forgotten(numbers: Numbers) -> None:
    items = iterate(numbers)
    next(items)
    del items
    gc.collect()


def closed_before_the_first_item(numbers: Numbers) -> None:
    numbers.hangs_at = 0
    items = iterate(numbers)
    items.start()
    while not numbers.in_flight:
        time.sleep(0.001)
    items.close()


WAYS = (
    left_by_break, left_by_break_but_kept, left_by_exception, left_by_with, forgotten,
    closed_before_the_first_item,
)  # fmt: skip


@pytest.mark.parametrize("hangs_at", [None, 3])
@pytest.mark.parametrize("leave", WAYS)
def test_leaving_early_cancels_what_is_in_flight(
    leave: Callable[[Numbers], None], hangs_at: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """At once, whether the generator waits for the caller or for its own work, and without a
    word on standard error."""
    numbers = Numbers(hangs_at=hangs_at)
    started = time.monotonic()
    leave(numbers)
    gc.collect()
    assert numbers.closed
    assert all(task.cancelled() for task in numbers.in_flight)
    assert time.monotonic() - started < 10
    assert capfd.readouterr().err == ""


def test_closing_right_after_the_start_leaves_nothing() -> None:
    """Whether or not the thread has come to its generator."""
    for _ in range(100):
        items = iterate(Numbers())
        items.start()
        items.close()
        assert list(items) == []


def test_an_error_comes_in_its_place() -> None:
    """After the items before it; then there is nothing more."""
    items = iterate(broken)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
    assert list(items) == []


def test_the_first_item_can_be_awaited() -> None:
    """begin() waits for it or raises what comes instead; it is still the first of all."""
    with iterate(Numbers(3)).begin() as items:
        assert list(items) == [0, 1, 2]
    assert list(iterate(Numbers(0)).begin()) == []

    async def never() -> AsyncGenerator[int, None]:
        for number in range(1 // 0):
            yield number

    with pytest.raises(ZeroDivisionError):
        iterate(never).begin()


@contextmanager
def interrupted_after(wait_s: float) -> Iterator[None]:
    """Ctrl-C for this thread, as a terminal would send it."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(wait_s, lambda: signal.pthread_kill(main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("inside", ["nothing", "a loop", "asyncio.run"])
def test_an_interrupt_cancels_a_coroutine(inside: str) -> None:
    """Ctrl-C while it blocks: it is cancelled and waited for, whatever thread it has, and whoever
    has taken the first one for himself."""
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def around() -> None:
        run(forever)

    with interrupted_after(0.2), pytest.raises(KeyboardInterrupt):
        if inside == "asyncio.run":
            asyncio.run(around())
        elif inside == "a loop":
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(around())
            finally:
                loop.close()
        else:
            run(forever)
    assert ended.is_set()


def test_an_interrupt_closes_the_generator() -> None:
    """Ctrl-C while the caller waits for an item."""
    numbers = Numbers(hangs_at=1)
    with interrupted_after(0.2), pytest.raises(KeyboardInterrupt):
        list(iterate(numbers))
    assert numbers.closed


PROGRAM = """
import asyncio
from llmbatch_cli.loops import iterate

async def numbers():
    task = asyncio.ensure_future(asyncio.sleep(60))
    try:
        for number in range(3):
            yield number
        await task
    finally:
        task.cancel()
        print("closed", flush=True)

items = iterate(numbers)
print(next(items))
"""


def test_the_interpreters_end_closes_the_generator() -> None:
    """Also one that is still referenced, without a word and without waiting."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONASYNCIODEBUG": ""},
    )
    assert (done.stdout.split(), done.stderr) == (["0", "closed"], "")


@pytest.mark.alone
def test_an_item_costs_microseconds() -> None:
    """Tens of thousands a second at the least, where a round trip for each would be ten."""
    started = time.monotonic()
    assert sum(1 for _ in iterate(Numbers(100_000))) == 100_000
    assert time.monotonic() - started < 3
