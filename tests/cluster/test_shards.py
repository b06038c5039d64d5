"""Cut equals whole: the rows of all shards are those of one read of all inputs."""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson

from llmbatch_cli.cluster.cutting import Cut, cut_file
from llmbatch_cli.cluster.joining import joined
from llmbatch_cli.cluster.shards import Shard, rows_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.source import Inputs


def whole(inputs: Inputs) -> tuple[list[Row], list[str]] | str:
    """The rows and notices of one read, or what it ends with."""
    said: list[str] = []

    async def read() -> list[Row]:
        async with aclosing(inputs.rows(lambda event: said.append(_words(event)))) as rows:
            return [row async for row in rows]

    try:
        return asyncio.run(read()), said
    except UsageError as error:
        return str(error)


def cut(inputs: Inputs, target_rows: int) -> tuple[list[Row], list[str]] | str:
    """The same of all shards, read in any order, as what they are in JSON."""
    said: list[str] = []

    def observe(event: Event) -> None:
        said.append(_words(event))

    async def read(shards: Sequence[Shard]) -> list[Row]:
        found: list[Row] = []
        for shard in random.Random(0).sample(shards, len(shards)):
            there = [row async for row in rows_of(shard, inputs, observe)]
            assert [row.index for row in there] == [*range(shard.first_index, shard.end_index)]
            assert len(there) == shard.rows
            found += there
        return sorted(found, key=lambda row: row.index)

    try:
        shards = shards_of(inputs, target_rows, said)
    except UsageError as error:
        return str(error)
    return asyncio.run(read(shards)), said


def shards_of(inputs: Inputs, target_rows: int, said: list[str] | None = None) -> list[Shard]:
    """The shards, each having been JSON."""
    cuts = [
        _sent(cut_file(name, inputs, target_rows, is_first=not place))
        for place, name in enumerate(inputs.inputs)
    ]
    observe = (lambda event: said.append(_words(event))) if said is not None else lambda event: None
    shards = joined(cuts, inputs, target_rows, observe)
    return [Shard.from_json(orjson.loads(orjson.dumps(one.as_json()))) for one in shards]


def _sent(cut: Cut) -> Cut:
    return Cut.from_json(orjson.loads(orjson.dumps(cut.as_json())))


def _words(event: Any) -> str:
    assert isinstance(event, Notice)
    return event.message


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
