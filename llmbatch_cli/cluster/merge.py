"""All parts in one file, here or in a store."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.ground import stand_of
from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.options import TABLES, OutputOptions
from llmbatch_cli.rows.output.outfile import packing, replacing
from llmbatch_cli.storage import address_of, located

_BLOCK_BYTES: Final = 2**20


def merge(folder: Folder, rows_in: str, output: OutputOptions, target: Path) -> None:
    """Write all parts to one file, in the order of their shards; a table is made of their rows.

    The file, or object, replaces an old one when it is whole. Blocks. Raises OutputError.
    """
    parts = stand_of(folder, rows_in).parts
    names = [parts[shard][-1][1] for shard in sorted(parts)]
    address = address_of(target)
    try:
        if address is not None:
            _merge_there(folder, names, output, address)
        else:
            _merge_here(folder, names, output, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {address or target}: {error.strerror or error}",
            hint=f"the parts are whole in {folder.address}",
        ) from error


def _merge_here(folder: Folder, names: Sequence[str], output: OutputOptions, target: Path) -> None:
    is_table = output.format in TABLES
    whole = target.with_name(f"{target.name}.rows.tmp") if is_table else target
    with replacing(Path(os.path.realpath(whole))) as write:
        _join(folder, names, write)
    if is_table:
        from llmbatch_cli.rows.output.journal import write_table

        write_table(replace(output, output=target), whole, in_order=False)
        whole.unlink()


def _merge_there(folder: Folder, names: Sequence[str], output: OutputOptions, address: str) -> None:
    storage, name = located(address)
    if output.format not in TABLES:
        with storage.writer(name) as target, packing(target.write, Path(name)) as write:
            _join(folder, names, write)
        return
    with tempfile.TemporaryDirectory(prefix="llmbatch-") as place:
        table = Path(place, name)
        _merge_here(folder, names, output, table)
        with table.open("rb") as file, storage.writer(name) as target:
            for block in iter(partial(file.read, _BLOCK_BYTES), b""):
                target.write(block)


def _join(folder: Folder, names: Sequence[str], write: Callable[[bytes], object]) -> None:
    for name in names:
        for block in folder.blocks(name):
            write(block)
