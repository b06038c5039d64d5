"""Shards of objects in a store."""

import io

import pyarrow as pa
import pytest
from cluster.cut import cut, shards_of, whole
from pyarrow import parquet
from support.moto import Bucket

from llmbatch_cli.cluster.fingerprint import fingerprint
from llmbatch_cli.cluster.shards import Changed, rows_of
from llmbatch_cli.rows.input.folders import expanded
from llmbatch_cli.rows.input.source import Inputs


async def test_objects_are_cut_as_files(bucket: Bucket) -> None:
    """By ranges of their bytes, Parquet by its row groups; another version of one is refused."""
    rows = b"".join(b'{"prompt": "p%d"}\n' % one for one in range(50))
    table = io.BytesIO()
    parquet.write_table(pa.table({"prompt": [*"abcdefgh"]}), table, row_group_size=3)
    bucket.put("in/a.jsonl", rows)
    bucket.put("in/b.csv", b'id,prompt\n1,"x\ny"\n2,z\n')
    bucket.put("in/c.parquet", table.getvalue())
    inputs = Inputs(expanded([f"{bucket.address}/in"]))
    shards = shards_of(inputs, 3)
    assert [shard.rows for shard in shards] == [3] * 16 + [2, 2, 3, 3, 2]
    known = fingerprint(inputs.inputs[0])
    bucket.put("in/a.jsonl", rows.replace(b"p0", b"p1"))
    with pytest.raises(Changed):
        [row async for row in rows_of(shards[0], inputs)]
    again = Inputs(expanded([f"{bucket.address}/in"]))
    assert fingerprint(again.inputs[0]) != known


def test_cut_equals_whole(bucket: Bucket) -> None:
    """Small ones share a shard."""
    for number in range(7):
        bucket.put(f"in/{number}.jsonl", b'{"text": "t%d"}\n' % number * number)
    inputs = Inputs(expanded([f"{bucket.address}/in"]))
    assert cut(inputs, 5) == whole(inputs)
