"""What an iterator makes in a thread of its own, since each step of it may block."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from llmbatch_cli.core.frozen import frozen

T = TypeVar("T")


async def pumped(
    items: Iterator[T], *, ahead: int = 2, closes_within_s: float = 0
) -> AsyncGenerator[T, None]:
    """The items, made in a thread of their own and at most so many ahead.

    The thread is a daemon: neither closing this generator nor the end of the program waits
    for a step that blocks. A generator is closed in the thread, once its step is done, and
    closing this one waits for that at most `closes_within_s`. Raises what the iterator raises.
    """
    pump, taken, item = _Pump(items, ahead), 0, None
    try:
        while not isinstance(item := await pump.queue.get(), _End):
            taken += 1
            if 2 * taken >= ahead:  # seldom, since each time the thread wakes
                pump.room.release(taken)
                taken = 0
            yield item
        if item.error is not None:
            raise item.error
    finally:
        pump.closed = True
        pump.room.release()
        if closes_within_s and not isinstance(item, _End):
            with suppress(TimeoutError):
                async with asyncio.timeout(closes_within_s):
                    while not isinstance(await pump.queue.get(), _End):
                        pass


@frozen
class _End:
    """The last item of a queue, and the error that has ended it."""

    error: BaseException | None = None


class _Pump(Generic[T]):
    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self.room = threading.Semaphore(ahead - 1)
        self.closed = False
        threading.Thread(target=self._work, name="read input", daemon=True).start()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._give(item)
                self.room.acquire()
                if self.closed:
                    break
            if isinstance(self._items, Generator):
                self._items.close()
        except BaseException as caught:  # noqa: BLE001 - raised again in the loop
            error = caught
        self._give(_End(error))

    def _give(self, item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)
