"""Cut equals whole for what is no text, and for what is packed."""

import bz2
import gzip
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
from cluster.cut import cut, shards_of, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from support.workbooks import xlsx

from llmbatch_cli.rows.input import binary_tables
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.shape import Shape
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition

CELLS = st.sampled_from(["a", "b", "", None, '[{"role": "user", "content": "c"}]'])
COLUMNS = st.sampled_from(["prompt", "text", "question", "id", "messages", "x"])
MAKERS: tuple[Callable[[], Shape], ...] = (
    Shape,
    lambda: Shape(where=Condition("x is none", "--where")),
    lambda: Shape(prompt_field="text"),
)


def written(form: str, table: pa.Table, block_rows: int) -> bytes:
    """The table in this format, in blocks of so many rows."""
    data = io.BytesIO()
    if form == "parquet":
        parquet.write_table(table, data, row_group_size=block_rows)
    elif form == "xlsx":
        rows: list[Sequence[str | None]] = [table.column_names]
        rows += [[*row.values()] for row in table.to_pylist()]
        return xlsx(rows)
    else:
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with make(data, table.schema) as file:
            file.write_table(table, max_chunksize=block_rows)
    return data.getvalue()


@settings(deadline=None)
@given(
    columns=st.lists(COLUMNS, min_size=1, max_size=3, unique=True),
    cells=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=30),
    form=st.sampled_from(["parquet", "parquet", "arrow", "stream", "xlsx"]),
    block_rows=st.integers(1, 12),
    batch_rows=st.sampled_from([1_024, 4]),
    is_packed=st.booleans(),
    shape=st.sampled_from(MAKERS),
    choice=st.builds(Choice, offset=st.sampled_from([0, 0, 3]), repeat=st.sampled_from([1, 1, 2])),
    limit=st.sampled_from([None, 0, 7]),
    target_rows=st.integers(1, 12),
)
def test_tables_are_cut_by_their_rows(
    columns: list[str],
    cells: list[tuple[str | None, ...]],
    form: str,
    block_rows: int,
    batch_rows: int,
    is_packed: bool,
    shape: Callable[[], Shape],
    choice: Choice,
    limit: int | None,
    target_rows: int,
) -> None:
    """Two files of the same columns, the second in another order."""
    table = pa.table(
        {name: pa.array([row[n] for row in cells], pa.string()) for n, name in enumerate(columns)}
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(binary_tables, "BATCH_ROWS", batch_rows),
    ):
        paths = [Path(folder) / name for name in ("a", "b")]
        for path, part in zip(paths, (table, table[::-1]), strict=True):
            data = written(form, part, block_rows)
            path.write_bytes(gzip.compress(data) if is_packed else data)
        inputs = Inputs([*map(str, paths)], limit=limit, shape=shape(), choice=choice)
        assert cut(inputs, target_rows) == whole(inputs)


def test_what_is_packed_or_one_value_is_one_piece(tmp_path: Path) -> None:
    """Its rows are counted, and the shards behind it numbered by them."""
    rows = b"".join(b'{"prompt": "p%d"}\n' % one for one in range(30))
    files = {
        "a.jsonl.gz": gzip.compress(rows) + gzip.compress(rows),
        "b.csv.bz2": bz2.compress(b"prompt\n" + rows),
        "c.json": b"[" + rows.replace(b"}\n", b"},\n").rstrip(b",\n") + b"]",
        "d.json": b'{"data": [\n' + rows.replace(b"}\n", b"},\n").rstrip(b",\n") + b"]}",
        "e.md": rows,
        "f.jsonl": rows.decode().encode("utf-16"),
        "g.jsonl": rows,
        "h.jsonl.gz": gzip.compress(rows)[:-9],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    inputs = Inputs([str(tmp_path / name) for name in files])
    shards = shards_of(inputs, 10)
    counts = [[piece.rows for piece in shard.pieces] for shard in shards]
    assert counts == [[60], [30], [30], [30], [1], [30], [10], [10], [10], [31]]
    assert cut(inputs, 10) == whole(inputs)


def test_row_groups_are_not_split_where_they_fit(tmp_path: Path) -> None:
    """By the footer alone: a group is read by one worker, or by several if it is too large."""
    path = tmp_path / "a.parquet"
    table = pa.table({"prompt": [f"p{n}" for n in range(100)]})
    for block_rows, expected in ((20, [40, 40, 20]), (60, [50, 50])):
        parquet.write_table(table, path, row_group_size=block_rows)
        shards = shards_of(Inputs([str(path)]), 50)
        assert [piece.rows for shard in shards for piece in shard.pieces] == expected
