"""One run an output: a lock that dies with its owner."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmbatch_cli.core.errors import UsageError

_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_ROOM: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_AWAY: Final = 2**30  # Windows keeps others from reading what is locked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other run from this output, by whatever name it is called.

    The lock is on `.OUT.lock` beside it, since the output itself may be replaced; that file
    is gone at the end. After a kill it is left behind, unlocked, and the next run takes it.
    In a folder that takes no new file the lock is on the output itself; what is no regular
    file, or lies on a disk without locks, is not locked.

    Raises UsageError when another run, of this process or another, has the lock.
    """
    if not _can_be_locked(path):
        yield
        return
    real = Path(os.path.realpath(path))
    sidecar = real.with_name(f".{real.name}.lock")
    fd, is_sidecar = _acquire(sidecar, real, path)
    try:
        yield
    finally:
        if is_sidecar and sys.platform != "win32":  # while it is held: see _is_at
            with suppress(OSError):
                sidecar.unlink()
        if fd is not None:
            os.close(fd)
        if is_sidecar and sys.platform == "win32":
            with suppress(OSError):
                sidecar.unlink()


def _can_be_locked(path: Path) -> bool:
    """By the name as it was given: the link to a pipe, as /dev/fd/63, leads to no path."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # not there yet; or not to be reached, which whoever opens it will tell
        return Path(os.path.realpath(path)).parent.is_dir()


def _acquire(sidecar: Path, real: Path, shown: Path) -> tuple[int | None, bool]:
    """A descriptor that holds the lock, and whether it is the sidecar's."""
    while True:
        try:
            fd = os.open(sidecar, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise UsageError(f"cannot lock {shown}: {error.strerror}") from error
            return _locked_itself(real, shown), False
        _take(fd, sidecar, shown)
        if _is_at(fd, sidecar):
            _write_pid(fd)
            return fd, True
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    """Whether this is still the file of that name: its last owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _locked_itself(real: Path, shown: Path) -> int | None:
    try:
        fd = os.open(real, os.O_RDWR)
    except OSError:  # whoever opens it for writing will tell
        return None
    _take(fd, None, shown)
    return fd


def _take(fd: int, sidecar: Path | None, shown: Path) -> None:
    """Lock the descriptor, or close it and say who has."""
    try:
        _lock(fd)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return
        os.close(fd)
        pid = _pid(sidecar)
        other = f"process {pid}" if pid else "a process"
        raise UsageError(
            f"{shown} is being written by another run ({other})",
            hint="wait for its end, or write to another file",
        ) from error


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        os.lseek(fd, _AWAY, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_pid(fd: int) -> None:
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())


def _pid(sidecar: Path | None) -> int | None:
    try:
        return int(sidecar.read_text()) if sidecar else None
    except (OSError, ValueError):
        return None
