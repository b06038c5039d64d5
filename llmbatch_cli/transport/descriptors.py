"""Room for many sockets: the process's limit of open files."""

import sys
from typing import Final

from llmbatch_cli.core.events import Notice, Observer

SPARE: Final = 64
"""Descriptors for everything besides requests: files, pipes, the loop, name resolution."""


def room_for(sockets: int, observe: Observer) -> int:
    """Raise the soft limit of open files to fit so many sockets; returns how many fit.

    Says so where the hard limit holds it back. Windows has no such limit.
    """
    if sys.platform == "win32":
        return sockets
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sockets + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return sockets
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):
        allowed = soft
    if allowed >= wanted:
        return sockets
    fits = max(1, allowed - SPARE, allowed // 2)
    observe(
        Notice(
            f"at most {fits} requests in flight instead of {sockets}: "
            f"this system allows {allowed} open files (ulimit -Hn)"
        )
    )
    return min(fits, sockets)
