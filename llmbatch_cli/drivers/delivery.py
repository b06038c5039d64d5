"""Outcomes from a driver to the output."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from llmbatch_cli.core.errors import RunStopped
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.rows.output.sink import Sink

T = TypeVar("T")

Render = Callable[[Outcome], bytes]
"""An outcome as the bytes to write."""
End = Callable[[], bytes]
"""What is written behind the last one."""


async def deliver(
    outcomes: AsyncGenerator[Outcome, None],
    sink: Sink,
    render: Render,
    stop: Stop,
    end: End = bytes,
) -> None:
    """Write every outcome as it comes; a sink that breaks ends the run at once.

    Once a stopped run is cancelled, what it has finished is written without waiting for room.
    """
    watch = asyncio.ensure_future(sink.failed())
    watch.add_done_callback(lambda done: None if done.cancelled() else stop.cancel())
    try:
        async with aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    sink.write(render(outcome))
                    if sink.is_crowded:
                        await sink.room()
            except asyncio.CancelledError:
                if stop.cancelling:
                    async for outcome in outcomes:
                        sink.write(render(outcome))
                raise
        _write_end(sink, end)
    except RunStopped:
        _write_end(sink, end)
        raise
    finally:
        if stop.draining:
            sink.leave()
        watch.cancel()


def _write_end(sink: Sink, end: End) -> None:
    if rest := end():
        sink.write(rest)


async def to_its_end(work: Callable[[], T]) -> T:
    """Work in a thread on the output, whose lock is not given up before it ends."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
