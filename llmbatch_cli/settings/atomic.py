"""Files that are there as a whole, or as they were."""

import os
import stat
import tempfile
from contextlib import suppress
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


def _mode_of(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
