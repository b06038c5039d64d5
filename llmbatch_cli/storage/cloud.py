"""The objects of a bucket below a prefix as a storage, through obstore."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from llmbatch_cli.storage.address import parsed
from llmbatch_cli.storage.base import Entry
from llmbatch_cli.storage.faults import told
from llmbatch_cli.storage.object_file import ObjectFile
from llmbatch_cli.storage.stores import store_of
from llmbatch_cli.storage.upload import Upload

LISTED: Final = 1_000
"""Entries of one reply of a store."""


class CloudStorage:
    """Objects of one bucket whose names begin with one prefix."""

    def __init__(self, address: str) -> None:
        """Raises UsageError."""
        self._where = parsed(address)
        self.address = str(self._where)
        self._store = store_of(self._where)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """As Storage."""
        import obstore

        prefix = self._key(folder.strip("/")) if folder.strip("/") else self._where.path
        with self._told(folder.strip("/")):
            pages = obstore.list(self._store, prefix or None, chunk_size=LISTED)
            found = sorted((meta["path"], meta) for page in pages for meta in page)
        folders = {name.rpartition("/")[0] for name, _ in found}
        skip = len(self._where.path) + 1 if self._where.path else 0
        return (
            _entry(name[skip:], meta)
            for name, meta in found
            if name != prefix and not (meta["size"] == 0 and name in folders)  # a folder's mark
        )

    def entry(self, name: str) -> Entry | None:
        """As Storage."""
        try:
            with self._told(name):
                return _entry(name, self._meta(self._key(name)))
        except FileNotFoundError:
            return None

    def _meta(self, key: str) -> Any:
        import obstore
        from obstore.exceptions import BaseError

        try:
            return obstore.head(self._store, key)
        except (BaseError, FileNotFoundError):  # without a reason, which a body would have
            return obstore.get(self._store, key, options={"range": (0, 1)}).meta

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """As Storage."""
        import obstore

        if not begin and end is None:
            with self._told(name):
                return bytes(obstore.get(self._store, self._key(name)).bytes())
        with self.open(name) as file:
            file.seek(begin)
            wanted = max(0, (file.size if end is None else min(end, file.size)) - begin)
            return b"".join(iter(lambda: file.read(wanted - file.tell() + begin) or b"", b""))

    def open(self, name: str, version: str | None = None) -> ObjectFile:
        """As Storage."""
        entry = self.entry(name)
        if entry is None:
            raise told(FileNotFoundError(), self._shown(name))
        return ObjectFile(self._store, self._key(name), self._shown(name), entry, version)

    def create(self, name: str, data: bytes) -> bool:
        """As Storage."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told(name):
            try:
                key = self._key(name)
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """As Storage."""
        import obstore

        with self._told(name):
            obstore.put(self._store, self._key(name), data, use_multipart=False)

    def publish(self, source: str, name: str) -> bool:
        """As Storage."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told(name):
            try:
                obstore.copy(self._store, self._key(source), self._key(name), overwrite=False)
            except AlreadyExistsError:
                return False
        return True

    def delete(self, name: str) -> None:
        """As Storage."""
        import obstore

        with suppress(FileNotFoundError), self._told(name):
            obstore.delete(self._store, [self._key(name)])

    @contextmanager
    def writer(self, name: str) -> Iterator[Upload]:
        """As Storage."""
        with self._told(name), Upload(self._store, self._key(name)) as upload:
            yield upload

    def _key(self, name: str) -> str:
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"no name of an object: {name!r}")
        return f"{self._where.path}/{name}" if self._where.path else name

    def _shown(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """What the library raises, in our words."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise told(error, self._shown(name)) from None  # its text may hold what is secret


def _entry(name: str, meta: Any) -> Entry:
    version = meta["e_tag"] or meta["version"] or meta["last_modified"].isoformat()
    return Entry(name, meta["size"], version)
