"""Which rows are asked, and how often: --where, --offset, --limit, --sample, --repeat."""

import io
import tracemalloc
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.types import Row
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.chooser import Chooser, sampled
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.input.shape import Shape
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.template import Condition
from llmbatch_cli.rows.keys import row_digits


async def chosen(count: int, where: str | None = None, **choice: Any) -> list[Row]:
    """Of so many rows."""
    limit = choice.pop("limit", None)
    data = b"".join(orjson.dumps({"prompt": f"p{n}", "k": n}) + b"\n" for n in range(count))
    shape = Shape(where=Condition(where, "--where") if where else None)
    inputs = Inputs(["-"], limit=limit, shape=shape, choice=Choice(**choice))
    async with aclosing(inputs.rows(stdin=io.BytesIO(data))) as rows:
        return [row async for row in rows]


def numbers(rows: list[Row]) -> list[Any]:
    return [row.metadata["k"] for row in rows]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"offset": 3}, [3, 4, 5]),
        ({"offset": 9}, []),
        ({"offset": 1, "limit": 2}, [1, 2]),
        ({"where": "k % 2 == 1"}, [1, 3, 5]),
        ({"where": "k % 2 == 1", "limit": 2}, [1, 3]),
        ({"where": "k % 2 == 1", "offset": 1, "limit": 1}, [3]),
        ({"where": "k > 9"}, []),
        ({"limit": 0, "offset": 2}, []),
        ({"sample": 99}, [0, 1, 2, 3, 4, 5]),
    ],
)
async def test_some_of_the_rows(options: dict[str, Any], left: list[int]) -> None:
    """They are numbered anew, and one without an id keeps its place as its id."""
    rows = await chosen(6, **options)
    assert numbers(rows) == left
    assert [row.index for row in rows] == list(range(len(left)))
    assert [row.id for row in rows] == left


async def test_a_sample_is_the_same_each_time() -> None:
    """In the order of the input, and not only of its beginning."""
    first, second = await chosen(1_000, sample=20), await chosen(1_000, sample=20)
    assert numbers(first) == numbers(second) == sorted(numbers(first))
    assert len(set(numbers(first))) == 20
    assert max(numbers(first)) > 500
    assert len(await chosen(1_000, sample=20, limit=10)) == 10


async def test_a_sample_is_not_held(tmp_path: Path) -> None:
    """Its rows are read anew, from a file as it is, so that their size does not matter."""
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.writelines(b'{"prompt": "%d %s"}\n' % (n, b"x" * 10_000) for n in range(4_000))
    inputs = Inputs([str(path)], choice=Choice(sample=2_000))
    count, most = 0, 0
    tracemalloc.start()
    try:
        async with aclosing(inputs.rows()) as rows:
            async for _ in rows:
                count += 1
                most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert count == 2_000
    assert most < 8_000_000


async def test_each_several_times() -> None:
    """One after the other, with the number in the metadata, each with a key of its own; more of
    them later do not change the first ones."""
    rows = await chosen(2, repeat=3)
    assert [(row.id, row.index, row.repeat) for row in rows] == [
        (0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 3, 1), (1, 4, 2), (1, 5, 3),
    ]  # fmt: skip
    assert len({row_digits(row) for row in rows}) == 6


@given(
    st.integers(0, 30), st.integers(0, 5), st.none() | st.integers(0, 20),
    st.none() | st.integers(1, 20), st.integers(1, 3),
)  # fmt: skip
def test_as_many_as_are_counted(
    rows: int, offset: int, limit: int | None, sample: int | None, repeat: int
) -> None:
    """What is said to come comes."""
    choice = Choice(offset=offset, sample=sample, repeat=repeat)
    places = None if sample is None else sampled(choice.left_of(rows, limit), sample)
    chooser = Chooser(choice, limit, places)
    found = [
        one.index for index in range(rows) for one in [*chooser.taken(parse_row("a", index=index))]
    ]
    assert found == list(range(choice.count_of(rows, limit)))
