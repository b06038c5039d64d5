"""The real program with a pseudo-terminal as its standard error."""

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios

from support.program import TIMEOUT_S, start


async def on_terminal(columns: int, *arguments: str, whole: bool = False) -> tuple[str, int]:
    """All that a terminal of this width gets, and the exit status.

    `whole`: standard output goes there, too.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    devnull = asyncio.subprocess.DEVNULL
    process = await start(
        *arguments,
        env={"TERM": "xterm-256color"},
        stdin=devnull,
        stdout=theirs if whole else devnull,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            text = await asyncio.to_thread(all_of, ours)
            return text, await process.wait()
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


def all_of(fd: int) -> str:
    """All that a terminal gets, until nothing has its other end open."""
    got = b""
    with contextlib.suppress(OSError):  # what Linux says when the other end was closed
        while data := os.read(fd, 65_536):
            got += data
    return got.decode()
