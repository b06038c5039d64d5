"""One run per output: a lock that ends with its owner."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError

HELD: Final = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What says that another process has the lock. Anything else says that there is none to have."""
MOST_TRIES: Final = 100
"""Each owner removes the file at its end, and whoever has opened it meanwhile opens it anew."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path) -> Iterator[str | None]:
    """Keep every other run from this output, by whatever name or link it is called.

    Yields None, or why there is no lock, for people: where no file can be made beside the
    output, or its file system has no locks. Pipes and devices need none.

    The lock is on `.OUT.lock` beside the output, since the output itself may be replaced; that
    file is gone at the end. After a kill it is left behind, unlocked, and the next run takes it.

    Raises UsageError when another run, of this process or another, has the lock.
    """
    if not _can_be_locked(path):
        yield None
        return
    real = Path(os.path.realpath(path))
    sidecar = real.with_name(f".{real.name}.lock")
    try:
        descriptor = _taken(sidecar)
    except OSError as error:
        _remove_empty(sidecar)
        yield f"cannot lock {path} ({error.strerror}): no other run may write to it now"
        return
    if descriptor is None:
        raise _refusal(path, sidecar)
    try:
        with suppress(OSError):
            sidecar.write_text(f"{os.getpid()}\n")
        yield None
    finally:
        if sys.platform == "win32":  # which removes no open file
            os.close(descriptor)
        with suppress(OSError):  # while it is locked, or it may be the next owner's
            sidecar.unlink()
        if sys.platform != "win32":
            with suppress(OSError):  # a network disk's that went away
                os.close(descriptor)


def _taken(sidecar: Path) -> int | None:
    """The descriptor that holds the lock; None where another has it. Raises OSError."""
    for _ in range(MOST_TRIES):
        descriptor = os.open(sidecar, os.O_RDWR | os.O_CREAT, 0o644)
        is_ours = False
        try:
            is_free = _could_lock(descriptor)
            is_ours = is_free and _is_at(sidecar, descriptor)
        finally:
            if not is_ours:
                os.close(descriptor)
        if is_ours:
            return descriptor
        if not is_free:
            return None
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def _could_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


def _is_at(sidecar: Path, descriptor: int) -> bool:
    """Whether the open file still is the one of this name."""
    try:
        return os.path.samestat(sidecar.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _can_be_locked(path: Path) -> bool:
    """By the name as it was given: the link to a pipe, as /dev/fd/63, leads to no path."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # not there yet; or not readable, which opening it will report
        return Path(os.path.realpath(path)).parent.is_dir()


def _remove_empty(sidecar: Path) -> None:
    """Remove the file that could not be locked, unless it has an owner, who writes its number."""
    with suppress(OSError):
        if sidecar.stat().st_size == 0:
            sidecar.unlink()


def _refusal(path: Path, sidecar: Path) -> UsageError:
    owner = "a process"
    with suppress(OSError, ValueError):
        owner = f"process {int(sidecar.read_text())}"
    return UsageError(
        f"{path} is being written by another run ({owner})",
        hint="wait for it to end, or write to another file",
    )
