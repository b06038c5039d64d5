"""What an outcome is given of its row, from memory or from the disk."""

import tracemalloc
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmbatch_cli.core.errors import OutputError
from llmbatch_cli.core.types import BadRow, Completion, Outcome, Prompt, Row
from llmbatch_cli.rows.output.with_input import WithInput


@pytest.fixture(params=["memory", "disk"])
def with_input(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WithInput]:
    output = tmp_path / "out.jsonl" if request.param == "disk" else None
    with closing(WithInput(output, messages=True)) as made:
        yield made
    assert list(tmp_path.iterdir()) == []


def row_of(index: int, value: Any, **more: Any) -> Prompt:
    messages = [{"role": "user", "content": f"p{index}"}]
    return Prompt(index, messages, index, value=value, **more)


def outcome_of(index: int, part: tuple[int, int] = (1, 1)) -> Outcome:
    return Outcome(index, index, "m", "p", completion=Completion("yes"), part=part)


async def read(with_input: WithInput, *rows: Row) -> None:
    """The rows are read, and pass as they are."""

    async def source() -> AsyncGenerator[Row, None]:
        for row in rows:
            yield row

    assert [row async for row in with_input.rows(source())] == list(rows)


def given(with_input: WithInput, index: int, part: tuple[int, int] = (1, 1)) -> tuple[Any, Any]:
    outcome = outcome_of(index, part)
    with_input.add(outcome)
    return outcome.input, outcome.fields


async def test_outcomes_in_any_order_are_given_what_was_read_of_their_rows(
    with_input: WithInput,
) -> None:
    wide, text = 2**70 + 1, "a\nb ü \x00"
    await read(with_input, row_of(0, {"prompt": text, "n": wide}), row_of(1, "bare", repeat=2))
    assert given(with_input, 1) == (
        [{"role": "user", "content": "p1"}],
        {"prompt": "bare", "repeat": 2},
    )
    bad = BadRow(3, "no JSON", 3, value={"x": None})
    await read(with_input, row_of(2, [{"role": "user"}]), bad)
    assert given(with_input, 0)[1] == {"prompt": text, "n": wide}
    assert given(with_input, 2)[1] == {"messages": [{"role": "user"}]}
    messages, fields = given(with_input, 3)
    assert (list(messages), fields) == ([], {"x": None})


async def test_each_part_of_an_answer_is_given_the_same(with_input: WithInput) -> None:
    await read(with_input, row_of(0, {"prompt": "a"}))
    assert given(with_input, 0, (1, 2)) == given(with_input, 0, (2, 2))


async def test_a_row_that_was_not_read_gives_nothing(with_input: WithInput) -> None:
    await read(with_input, row_of(2, {"prompt": "a"}))
    for index in (0, 1, 3):
        messages, fields = given(with_input, index)
        assert (list(messages), fields) == ([], None)


async def test_rows_that_wait_on_the_disk_take_a_few_bytes_of_memory(tmp_path: Path) -> None:
    async def source() -> AsyncGenerator[Row, None]:
        for index in range(2_000):
            yield row_of(index, {"prompt": "x" * 500})

    with closing(WithInput(tmp_path / "out.csv", messages=False)) as with_input:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            async for _ in with_input.rows(source()):
                pass
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert held < 100_000
        assert given(with_input, 1_999) == (None, {"prompt": "x" * 500})


def test_a_folder_that_takes_no_file_is_an_error_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot keep the rows' fields"):
        WithInput(tmp_path / "none" / "out.csv", messages=False)
