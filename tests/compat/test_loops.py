"""Blocking forms of async functions, with and without a loop around them."""

import asyncio
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator

import pytest

from llmbatch_cli.compat.loops import blocking, iterate, run


def threads() -> int:
    return sum(thread.name == "llmbatch-loop" for thread in threading.enumerate())


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def count() -> AsyncIterator[int]:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    return numbers()


def test_a_coroutine_runs_without_a_loop() -> None:
    """In the caller's own thread."""
    assert run(lambda: double(4)) == 8
    assert threads() == 0


async def test_a_coroutine_runs_inside_a_loop() -> None:
    """In a thread that is gone afterwards; an exception comes through."""
    assert run(lambda: double(4)) == 8
    with pytest.raises(ZeroDivisionError):
        run(fail)
    assert threads() == 0


async def fail() -> int:
    return 1 // 0


def test_a_blocking_form_has_the_name_without_the_a() -> None:
    """And the signature and the words of its model."""

    async def asum(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    blocked = blocking(asum)
    assert (blocked(1), blocked(1, b=5)) == (3, 6)
    assert (blocked.__name__, blocked.__doc__) == ("sum", "Adds.")


def test_an_async_iterator_can_be_iterated() -> None:
    """To its end, by next() or by `for`; then its thread is gone."""
    numbers = iterate(count)
    assert next(numbers) == 0
    assert list(numbers) == [1, 2]
    with pytest.raises(StopIteration):
        next(numbers)
    assert threads() == 0


def test_an_iteration_that_is_left_is_closed() -> None:
    """By break, by `with`, by its last reference's end."""
    for _ in iterate(count):
        break
    assert threads() == 0
    with iterate(count) as numbers:
        assert next(numbers) == 0
        assert threads() == 1
    assert threads() == 0
    numbers = iterate(count)
    del numbers
    gc.collect()
    assert threads() == 0


def test_a_failed_beginning_leaves_no_thread() -> None:
    """The exception comes from iterate() itself."""

    async def begin() -> AsyncIterator[int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        iterate(begin)
    assert threads() == 0


@pytest.mark.parametrize("inside", [False, True])
def test_an_interrupt_cancels_what_runs(inside: bool) -> None:
    """Ctrl-C while it blocks: the coroutine is cancelled and waited for, whatever thread it has."""
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def around() -> None:
        run(forever)

    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            if inside:
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(around())
                finally:
                    loop.close()
            else:
                run(forever)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.is_set()
    assert time.monotonic() - started < 5
