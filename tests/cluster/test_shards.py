"""Shards of files as they mostly are."""

import json
from pathlib import Path

from cluster.cut import cut, shards_of, whole

from llmbatch_cli.rows.input.source import Inputs


def lines(count: int) -> bytes:
    return b"".join(b'{"prompt": "p%d"}\n' % one for one in range(count))


def test_lines_are_cut_where_rows_begin(tmp_path: Path) -> None:
    """JSONL, text and small files: pieces of the target's size, that are read as the whole."""
    big, text, small = tmp_path / "big.jsonl", tmp_path / "text.txt", tmp_path / "small.jsonl"
    big.write_bytes(lines(100))
    text.write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\nthree")
    small.write_bytes(b'{"id": 7, "prompt": "x"}\nbroken\n')
    inputs = Inputs([str(big), str(text), str(small)])
    shards = shards_of(inputs, 30)
    assert [shard.rows for shard in shards] == [30, 30, 30, 15]
    assert cut(inputs, 30) == whole(inputs)
    assert cut(inputs, 1) == whole(inputs)
    assert json.loads(json.dumps(shards[1].as_json()))["number"] == 1
