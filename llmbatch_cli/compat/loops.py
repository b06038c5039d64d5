"""Async functions for callers without a loop, and for those inside one, as in notebooks."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Final, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Main = Callable[[], Coroutine[Any, Any, T]]


def run(main: Main[T]) -> T:
    """The coroutine's result; it runs on a loop of its own, to which nothing is left at the end.

    Inside a running loop, which stands still meanwhile, it runs in another thread. Ctrl-C
    cancels it in either; under asyncio.run, which keeps the first one for itself, the second.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            return runner.run(main())
    thread = LoopThread()
    try:
        return thread.run(main)
    finally:
        thread.stop()


def blocking(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The function for callers that cannot await: the same name without the `a` in front."""

    @wraps(function)
    def blocked(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(lambda: function(*args, **kwargs))

    blocked.__name__ = blocked.__qualname__ = function.__name__.removeprefix("a")
    return blocked


def blocking_batch(
    function: Callable[P, Coroutine[Any, Any, list[Any]]],
) -> Callable[P, list[Any]]:
    """The same for a function whose `stream` makes it give async iterators: these block, too."""
    signature = inspect.signature(function)

    @wraps(function)
    def blocked(*args: P.args, **kwargs: P.kwargs) -> list[Any]:
        streamed = signature.bind(*args, **kwargs).arguments.get("stream")
        return (iterate_all if streamed else run)(lambda: function(*args, **kwargs))

    blocked.__name__ = blocked.__qualname__ = function.__name__.removeprefix("a")
    return blocked


class LoopThread:
    """A loop that runs in a thread of its own until it is stopped."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 1
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="llmbatch-loop", daemon=True)
        self._thread.start()
        self._up.wait()

    def run(self, main: Main[T]) -> T:
        """The coroutine's result. Not for the loop's own thread."""
        if self._loop is None:
            raise RuntimeError("the loop has been stopped")
        return asyncio.run_coroutine_threadsafe(main(), self._loop).result()

    def share(self, users: int) -> None:
        """So many leave it from now on, the last of whom stops it."""
        self._users = users

    def leave(self, items: AsyncIterator[Any]) -> None:
        """One user less, whose items are closed."""
        with self._lock:
            self._users -= 1
            last = self._users < 1
            if not last and self._loop is not None:
                self._loop.call_soon_threadsafe(_close, self._loop, items)
        if last:
            self.stop()

    def stop(self) -> None:
        """Cancel what still runs, and wait for its end. May be called again."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            self._loop = loop = runner.get_loop()
            loop.call_soon(self._up.set)
            loop.run_forever()


def iterate(begin: Main[AsyncIterator[T]]) -> "Iteration[T]":
    """The async iterator that the coroutine gives, for callers that cannot await."""
    thread = LoopThread()
    try:
        return Iteration(thread, thread.run(begin))
    except BaseException:
        thread.stop()
        raise


def iterate_all(begin: Main[list[Any]]) -> list[Any]:
    """The same for a coroutine that gives several of them, among other things, in their places."""
    thread = LoopThread()
    try:
        found = thread.run(begin)
    except BaseException:
        thread.stop()
        raise
    iterators = sum(isinstance(one, AsyncIterator) for one in found)
    thread.share(iterators)
    if not iterators:
        thread.stop()
    return [Iteration(thread, one) if isinstance(one, AsyncIterator) else one for one in found]


class Iteration(Generic[T]):
    """An async iterator for callers that cannot await.

    A `for` loop that is left early closes it, as `close()`, the end of a `with` block and its
    last reference's end do; there is nothing more to come then.
    """

    def __init__(self, thread: LoopThread, items: AsyncIterator[T]) -> None:
        self._thread = thread
        self._items: AsyncIterator[T] | None = items

    def __next__(self) -> T:
        items = self._items
        if items is None:
            raise StopIteration
        try:
            found = self._thread.run(lambda: _next(items))
        except BaseException:
            self.close()
            raise
        if not found:
            self.close()
            raise StopIteration
        return found[0]

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
        """Read no further, and close the connection."""
        items, self._items = self._items, None
        if items is not None:
            self._thread.leave(items)

    def __enter__(self) -> "Iteration[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


async def _next(items: AsyncIterator[T]) -> tuple[T, ...]:
    """The next item alone, or nothing at the end: StopAsyncIteration passes no thread."""
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return ()


def _close(loop: asyncio.AbstractEventLoop, items: Any) -> None:
    closing = loop.create_task(items.aclose())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)


_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""Kept from being collected before their end."""


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes uvloop's loops, where there is one."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory
