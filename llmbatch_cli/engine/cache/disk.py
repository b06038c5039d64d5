"""Which disks cannot hold a cache."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")

NETWORK: Final = frozenset(
    (
        *("afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone"),
        *("fuse.s3fs", "fuse.sshfs"),
    )
)
"""What several machines may mount at once. SQLite's write-ahead log needs memory that all its
users share, so it only seems to work there: https://sqlite.org/wal.html (read 2026-11-26)."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def network_disk(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network disk that the file is on, as in `nfs4`; None for any other, and where
    that cannot be known."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = Path(os.path.realpath(path))
    inside = [(place, kind) for place, kind in _mounted(lines) if real.is_relative_to(place)]
    # Of several at one place the last one hides the others.
    found = max(enumerate(inside), key=lambda one: (len(one[1][0].parts), one[0]), default=None)
    return found[1][1] if found is not None and found[1][1] in NETWORK else None


def _mounted(lines: list[str]) -> Iterator[tuple[Path, str]]:
    """Where each disk is mounted, and its kind: see proc_pid_mountinfo(5)."""
    for line in lines:
        fields, _, more = line.partition(" - ")
        words = fields.split(" ")
        if len(words) > 4 and more:
            place = _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), words[4])
            yield Path(place), more.split(" ")[0]
