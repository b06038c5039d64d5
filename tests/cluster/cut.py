"""One read of all inputs beside that of their shards."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing

import orjson

from llmbatch_cli.cluster.cuts import Cut
from llmbatch_cli.cluster.cutting import cut_file
from llmbatch_cli.cluster.joining import joined
from llmbatch_cli.cluster.shards import Shard, key_of, rows_of
from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice
from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.source import Inputs

Result = tuple[list[Row], set[str]] | str
"""The rows, and what was said; or the error that ends it."""


def whole(inputs: Inputs) -> Result:
    """What one read gives."""
    said: set[str] = set()

    async def read() -> list[Row]:
        async with aclosing(inputs.rows(into(said))) as rows:
            return [row async for row in rows]

    try:
        return asyncio.run(read()), said
    except UsageError as error:
        return str(error)


def cut(inputs: Inputs, target_rows: int) -> Result:
    """What the shards give, each having been JSON, and read in any order."""
    said: set[str] = set()
    try:
        shards = shards_of(inputs, target_rows, into(said), (target_rows + 2) // 3)
    except UsageError as error:
        return str(error)
    assert [shard.number for shard in shards] == [*range(len(shards))]

    async def read() -> list[Row]:
        found: list[Row] = []
        for shard in random.Random(0).sample(shards, len(shards)):
            rows = [row async for row in rows_of(shard, inputs, into(said))]
            assert [row.index for row in rows] == [*range(shard.first_index, shard.end_index)]
            found += rows
        return sorted(found, key=lambda row: row.index)

    return asyncio.run(read()), said


def shards_of(
    inputs: Inputs,
    target_rows: int,
    observe: Callable[[Event], None] = lambda event: None,
    fine_rows: int | None = None,
) -> Sequence[Shard]:
    """The shards, cut as by several machines; of finer pieces, where they are."""
    cuts = [
        cut_file(name, inputs, fine_rows or target_rows, is_first=not place)
        for place, name in enumerate(inputs.inputs)
    ]
    cuts = [Cut.from_json(orjson.loads(orjson.dumps(one.as_json()))) for one in cuts]
    shards = joined(cuts, inputs, target_rows, observe)
    return [Shard.from_json(orjson.loads(orjson.dumps(one.as_json()))) for one in shards]


def into(said: set[str]) -> Callable[[Event], None]:
    """An observer that keeps what notices say."""

    def observe(event: Event) -> None:
        assert isinstance(event, Notice)
        said.add(key_of(event.message))

    return observe
