"""Files in local folders and objects in stores (S3, Google Cloud, Azure), behind one interface."""

from llmbatch_cli.storage.address import address_of, is_remote, parsed
from llmbatch_cli.storage.base import Entry, Storage, StorageError, Writer
from llmbatch_cli.storage.local import LocalStorage

__all__ = [
    "Entry",
    "Storage",
    "StorageError",
    "Writer",
    "address_of",
    "is_remote",
    "located",
    "storage_at",
]


def storage_at(address: str) -> Storage:
    """The folder or prefix at an address: a path, or s3://, gs:// or az://, BUCKET/PREFIX.

    Nothing is asked of a store. Raises UsageError for a bad address and for a missing library.
    """
    if not is_remote(address):
        return LocalStorage(address)
    from llmbatch_cli.storage.cloud import CloudStorage

    return CloudStorage(address)


def located(address: str) -> tuple[Storage, str]:
    """The folder that a file or object is in, and its name there. Raises as `storage_at`."""
    if is_remote(address):
        where = parsed(address)
        folder, _, name = where.path.rpartition("/")
        return storage_at(str(where._replace(path=folder))), name
    folder, slash, name = address.rpartition("/")
    return LocalStorage(folder or slash or "."), name
