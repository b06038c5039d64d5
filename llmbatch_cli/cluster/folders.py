"""The folder at an address."""

import os
from pathlib import Path

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.storage import address_of, is_remote


def folder_at(address: str | Path) -> Folder:
    """A path, or s3://, gs:// or az://, BUCKET/PREFIX. Nothing is asked of a store.

    Raises UsageError for a bad address.
    """
    if isinstance(address, Path):
        address = address_of(address) or str(address)
    if not is_remote(address):
        return LocalFolder(Path(os.path.realpath(address)))
    from llmbatch_cli.cluster.store_folder import StoreFolder

    return StoreFolder(address)
