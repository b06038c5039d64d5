"""All parts in one file."""

import os
from dataclasses import replace
from pathlib import Path

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.ground import stand_of
from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.options import TABLES, OutputOptions
from llmbatch_cli.rows.output.outfile import renewed


def merge(folder: Folder, rows_in: str, output: OutputOptions, target: Path) -> None:
    """Write all parts to one file, in the order of their shards; a table is made of their rows.

    The file replaces an old one when it is whole. Blocks. Raises OutputError.
    """
    parts = stand_of(folder, rows_in).parts
    names = [parts[shard][-1][1] for shard in sorted(parts)]
    try:
        if output.format not in TABLES:
            _join(folder, names, target)
            return
        journal = target.with_name(f"{target.name}.rows.tmp")
        _join(folder, names, journal)
        from llmbatch_cli.rows.output.journal import write_table

        write_table(replace(output, output=target), journal, in_order=False)
        journal.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}",
            hint=f"the parts are whole in {folder.address}",
        ) from error


def _join(folder: Folder, names: list[str], target: Path) -> None:
    with renewed(Path(os.path.realpath(target))) as file:
        for name in names:
            for block in folder.blocks(name):
                file.write(block)
