"""Addresses of objects: `s3://BUCKET/NAME` and its like. No I/O."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from llmbatch_cli.core.errors import UsageError

SCHEMES: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
"""Each spelling of a scheme, and the kind of store that it means."""
_REMOTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OF_PATH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Address(NamedTuple):
    """Where an object, or a prefix, is."""

    kind: str
    """`s3`, `gs` or `az`."""
    bucket: str
    """On Azure the container."""
    path: str
    """Without slashes at its ends; empty for the whole bucket."""

    def __str__(self) -> str:
        return f"{self.kind}://{self.bucket}" + (f"/{self.path}" if self.path else "")


def is_remote(address: str) -> bool:
    """Whether this is the address of a store, and not a path."""
    found = _REMOTE.match(address)
    return found is not None and found[1].lower() in SCHEMES


def address_of(path: Path) -> str | None:
    """The address that an option of a file was given, where pathlib has taken a slash from it."""
    found = _OF_PATH.match(str(path))
    if found is None or found[1].lower() not in SCHEMES:
        return None
    return f"{found[1]}://{str(path)[found.end() :]}"


def parsed(address: str) -> Address:
    """Take an address apart. Raises UsageError."""
    scheme, _, rest = address.partition("://")
    bucket, _, path = rest.partition("/")
    kind = SCHEMES[scheme.lower()]
    if not _BUCKET.fullmatch(bucket):
        what = "container" if kind == "az" else "bucket"
        said = f"names no {what}" if not bucket else f"has no valid name of a {what}"
        raise UsageError(f"{address} {said}", hint=f"as in {kind}://{what}/folder/rows.jsonl")
    path = path.strip("/")
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise UsageError(f"{address} has an empty part, or one of dots", hint="leave it out")
    return Address(kind, bucket, path)
