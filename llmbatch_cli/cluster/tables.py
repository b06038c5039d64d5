"""Whole shards as tables, beside the rows that they are made of."""

from dataclasses import replace
from typing import Any

from llmbatch_cli.cluster.folder import Folder
from llmbatch_cli.cluster.ground import stand_of
from llmbatch_cli.cluster.layout import ROWS, part_file
from llmbatch_cli.cluster.parts import parts_of
from llmbatch_cli.core.options import OutputOptions


def write_part(folder: Folder, shard: int, output: OutputOptions, schema: Any = None) -> None:
    """Write the table of a whole shard, in place of one of an earlier run. Blocks.

    Raises OutputError.
    """
    from llmbatch_cli.rows.output.journal import write_table

    _, rows = parts_of(folder, shard, ROWS)[-1]
    table = folder.path / part_file(shard, form=str(output.format))
    options = replace(output, output=table, resume=False, overwrite=True)
    write_table(options, folder.path / rows, in_order=True, schema=schema)


def write_missing(folder: Folder, output: OutputOptions, schema: Any = None) -> None:
    """Write the tables that a worker which was lost has left out, or as they were before.

    Blocks. Raises OutputError.
    """
    for shard, parts in stand_of(folder, ROWS).parts.items():
        table = folder.path / part_file(shard, form=str(output.format))
        rows = folder.path / parts[-1][1]
        if not table.exists() or table.stat().st_mtime_ns < rows.stat().st_mtime_ns:
            write_part(folder, shard, output, schema)
