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
    name = part_file(shard, form=str(output.format))
    with folder.here(rows) as journal, folder.made_here(name) as table:
        options = replace(output, output=table, resume=False, overwrite=True)
        write_table(options, journal, in_order=True, schema=schema)


def write_missing(folder: Folder, output: OutputOptions, schema: Any = None) -> None:
    """Write the tables that a worker which was lost has left out, or as they were before.

    Blocks. Raises OutputError.
    """
    parts = stand_of(folder, ROWS).parts
    tables, rows = folder.seen(), folder.seen(ROWS)
    for shard, made in parts.items():
        table = tables.get(part_file(shard, form=str(output.format)))
        made_of = rows.get(made[-1][1].removeprefix(ROWS))
        if table is None or made_of is None or table.modified < made_of.modified:
            write_part(folder, shard, output, schema)
