"""Async code for callers that cannot await, without a loop or inside one, as in notebooks; and
async code that ends in good order whenever its loop does.
"""

import asyncio
import os
import signal
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    contextmanager,
    nullcontext,
    suppress,
)
from queue import SimpleQueue
from typing import Any, Final, Generic, Self, TypeVar

T = TypeVar("T")

AHEAD: Final = 128
"""Items that may wait for the caller; the generator is resumed when half of them are taken."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The coroutine's result. It runs on a loop of its own, which is closed at the end.

    Inside a running loop, which is blocked meanwhile, it runs in another thread. Ctrl-C cancels it
    in either, and raises KeyboardInterrupt.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(main())

    async def only() -> AsyncGenerator[T, None]:
        yield await main()

    with iterate(only) as items:
        return next(items)


def iterate(make: Callable[[], AsyncGenerator[T, None]]) -> "Iteration[T]":
    """The async generator's items, for callers that cannot await.

    `make` is called at the first `next()`. From then on the generator runs in a thread of its
    own, at most AHEAD items ahead of the caller.
    """
    return Iteration(make)


class Iteration(Generic[T]):
    """A blocking iterator over an async generator.

    Leaving a `for` loop early closes the generator, as do `close()`, the end of a `with` block,
    an exception, garbage collection and the interpreter's exit. Closing cancels what the
    generator awaits and waits for its end; after it there are no more items.
    """

    def __init__(self, make: Callable[[], AsyncGenerator[T, None]]) -> None:
        self._feed = _Feed(make)
        self._first: tuple[T, ...] = ()
        # the thread holds the feed, never this object, so that it can be collected
        self._close = weakref.finalize(self, self._feed.close)

    def begin(self) -> Self:
        """Wait for the first item, which is kept for `next()`. Raises what comes instead of it."""
        with suppress(StopIteration):
            self._first = (next(self),)
        return self

    def start(self) -> None:
        """Start the generator without waiting for it."""
        if self._close.alive:
            self._feed.start()

    def __next__(self) -> T:
        if self._first:
            (item,), self._first = self._first, ()
            return item
        if not self._close.alive:
            raise StopIteration
        try:
            return self._feed.next()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[T]:
        try:
            while True:
                try:
                    item = next(self)
                except StopIteration:
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Close the generator."""
        self._first = ()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _End:
    """What ends the queue: the generator's end, or its error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Feed(Generic[T]):
    """The generator in a thread of its own; its items come through a bounded queue."""

    _loop: asyncio.AbstractEventLoop
    _room: asyncio.Event

    def __init__(self, make: Callable[[], AsyncGenerator[T, None]]) -> None:
        self._make = make
        self._queue: SimpleQueue[T | _End] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._full = False
        self._closed = False

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="llmbatch-loop", daemon=True)
            self._thread.start()

    def next(self) -> T:
        """The next item. Raises StopIteration, or what the generator raises."""
        self.start()
        with nullcontext() if not self._queue.empty() else _interruptible():
            item = self._queue.get()
        if isinstance(item, _End):
            self._queue.put(_End())  # for other threads that wait for an item
            raise StopIteration if item.error is None else item.error
        if self._full and self._queue.qsize() <= AHEAD // 2:
            self._full = False
            self._call(self._room.set)
        return item

    def close(self) -> None:
        """Cancel the generator and wait for its end."""
        self._closed = True
        if self._thread is None:
            return
        if self._task is not None:
            self._call(self._task.cancel)
        if threading.current_thread() is not self._thread:  # which may collect garbage too
            self._thread.join()

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the generator has ended
            self._loop.call_soon_threadsafe(function)

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                self._loop = runner.get_loop()
                runner.run(self._fill())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._queue.put(_End(error))
        else:
            self._queue.put(_End())

    async def _fill(self) -> None:
        self._room, self._task = asyncio.Event(), asyncio.current_task()
        if self._closed:  # before there was a task to cancel
            return
        async with aclosing(self._make()) as items:
            async for item in items:
                self._queue.put(item)
                while self._queue.qsize() >= AHEAD:
                    await self._until_taken()

    async def _until_taken(self) -> None:
        self._room.clear()
        self._full = True
        if self._queue.qsize() > AHEAD // 2:  # else the caller may not have seen that it is full
            await self._room.wait()


@contextmanager
def _interruptible() -> Iterator[None]:
    """While this is open, Ctrl-C raises KeyboardInterrupt also inside asyncio.run.

    asyncio.run would only cancel its task, which is what waits here and cannot be.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_asyncios = getattr(getattr(handler, "func", None), "__module__", "") == "asyncio.runners"
    if not is_asyncios or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


async def detached(
    make: Callable[[], AsyncGenerator[T, None]], ahead: int = AHEAD
) -> AsyncGenerator[T, None]:
    """The async generator's items, made in a task of their own, at most `ahead` of the caller.

    For a generator that holds others: where it is left suspended and its loop ends, asyncio closes
    all generators at once, and one that closes another then fails with pages of tracebacks. A
    task is cancelled before that, and leaves them in their order.
    """
    queue: asyncio.Queue[T | _End] = asyncio.Queue()
    room = asyncio.Semaphore(ahead)

    async def fill() -> None:
        async with aclosing(make()) as items:
            async for item in items:
                queue.put_nowait(item)
                await room.acquire()

    task = asyncio.create_task(fill())
    task.add_done_callback(lambda _: queue.put_nowait(_End()))
    try:
        while not isinstance(item := await queue.get(), _End):
            yield item
            room.release()
        await task
    finally:
        await cancelled(task)


class Detached(AbstractAsyncContextManager[T]):
    """An async context that is entered and left in a task of its own, for the same reason."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        async def once() -> AsyncGenerator[T, None]:
            async with context as value:
                yield value

        self._values = detached(once, ahead=0)

    async def __aenter__(self) -> T:
        return await anext(self._values)

    async def __aexit__(self, *_: object) -> None:
        await self._values.aclose()


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel the task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # else asyncio says that nobody has asked for it


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes uvloop's loops, where it is installed and the standard streams are open.

    Where one is closed, as in a daemon, a socket gets its number, and libuv aborts on closing that.
    """
    try:
        from uvloop import new_event_loop

        for number in range(3):
            os.fstat(number)
    except (ImportError, OSError):
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory
