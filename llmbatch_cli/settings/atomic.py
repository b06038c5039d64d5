"""Files that are there as a whole, or as they were."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmbatch_cli.core.errors import UsageError

OWN_FOLDER: int = 0o700


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write the file; its mode stays, and a new one is its owner's only. Raises UsageError.

    Behind a link, the file that it leads to is written.
    """
    try:
        path = path.resolve()
        path.parent.mkdir(mode=OWN_FOLDER, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            kept = mode if mode is not None else _mode_of(path)
            if kept is not None:
                os.chmod(name, kept)  # noqa: PTH101
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time read the file and write it again: the others wait.

    The lock is on the folder, so nothing is left behind. Where there is none to have, as on
    Windows, the last one wins.
    """
    descriptor = None
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            folder = path.resolve().parent
            folder.mkdir(mode=OWN_FOLDER, parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _mode_of(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
