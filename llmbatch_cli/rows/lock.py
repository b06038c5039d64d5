"""One run per output: a lock that ends with its owner."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmbatch_cli.core.errors import UsageError


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
    from filelock import FileLock, Timeout

    real = Path(os.path.realpath(path))
    sidecar = real.with_name(f".{real.name}.lock")
    # a soft lock would outlive a kill
    lock = FileLock(sidecar, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise _refusal(path, sidecar) from None
    except OSError as error:
        _remove_empty(sidecar)
        yield f"cannot lock {path} ({error.strerror}): no other run may write to it now"
        return
    try:
        with suppress(OSError):
            sidecar.write_text(f"{os.getpid()}\n")
        yield None
    finally:
        if sys.platform == "win32":  # which removes no open file
            lock.release()
        with suppress(OSError):  # while it is locked, or it may be the next owner's
            sidecar.unlink()
        lock.release()


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
