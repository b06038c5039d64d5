"""The beginning of an input: rows that are all invalid alike, and fields that are misspelt."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Notice, ignore
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.source import Inputs
from llmbatch_cli.rows.input.values import from_values


def jsonl(*values: object) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


async def read(data: bytes, events: list[Event] | None = None, **options: Any) -> list[Row]:
    observe = ignore if events is None else events.append
    inputs = Inputs(["-"], **options)
    async with aclosing(inputs.rows(observe, io.BytesIO(data))) as rows:
        return [row async for row in rows]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": 5}, '"prompt" must be a string'),
        ({"id": 1.5, "prompt": "a"}, '"id" must be a string'),
    ],
)
async def test_rows_that_are_all_invalid_alike_end_the_run(row: object, words: str) -> None:
    """At the twentieth, with the first one's reason, whatever follows."""
    data = jsonl(*[row] * 1000)
    with pytest.raises(UsageError) as caught:
        await read(data)
    assert "the first 20 rows are all invalid" in caught.value.message
    assert "<stdin>:1: " in caught.value.message
    assert words in caught.value.message
    with pytest.raises(UsageError, match="the first 20 rows"):
        async for _ in from_values([row] * 1000):
            pass


async def test_lines_that_are_no_json_are_alike() -> None:
    """Python's own words for dicts, for instance, wherever each of them is wrong."""
    data = b"".join(b"{%s'prompt': 'a'}\n" % (b" " * number) for number in range(30))
    with pytest.raises(UsageError, match="bad JSON"):
        await read(data, input_format="jsonl")


async def test_fewer_or_others_are_error_rows() -> None:
    """Nineteen, or a good one or another mistake among them: each is a row, in order."""
    bad: list[object] = [{"prompt": ""}] * 19
    for values in (bad, [*bad, "good", *bad, *bad], [*bad, {"prompt": 5}, *bad]):
        found = await read(jsonl(*values))
        assert [row.index for row in found] == list(range(len(values)))
        assert sum(isinstance(row, Prompt) for row in found) == values.count("good")
    assert len(await read(jsonl(*bad, *bad), limit=10)) == 10


async def test_a_pipe_that_waits_gets_its_error_rows() -> None:
    """Whoever writes one row and waits for its outcome is not kept waiting."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        async with aclosing(Inputs(["-"]).rows(stdin=stdin)) as rows:
            for _ in range(3):
                pipe.write(b'{"prompt": []}\n')
                assert isinstance(await asyncio.wait_for(anext(rows), 10), BadRow)

    async def live() -> AsyncIterator[object]:
        for _ in range(3):
            yield {"prompt": []}
            assert len(seen) == _ + 1

    seen: list[Row] = []
    async for row in from_values(live()):
        seen.append(row)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("temprature", 0.2, "temperature"),
        ("Temperature", 0.2, "temperature"),
        ("maxTokens", 5, "max_tokens"),
        ("max_new_tokens", 5, "max_tokens"),
        ("top-p", 0.5, "top_p"),
        ("repetiton_penalty", 1.1, "repetition_penalty"),
        ("enable_thinkng", False, "enable_thinking"),
        ("system_prompt", "be brief", "system"),
        ("stop_sequence", ["END"], "stop_sequences"),
        ("respone_format", {"type": "json_object"}, "response_format"),
    ],
)
async def test_what_looks_like_a_parameter_is_said_once(
    field: str, value: object, meant: str
) -> None:
    """A typo is carried, not sent, and that is said."""
    events: list[Event] = []
    found = await read(jsonl(*[{"prompt": "hi", field: value}] * 3), events)
    assert [row.metadata for row in found] == [{field: value}] * 3
    (notice,) = (event.message for event in events if isinstance(event, Notice))
    assert notice.startswith(f'<stdin>:1: "{field}" is carried to the output and not sent')
    assert f'did you mean "{meant}"?' in notice
    events.clear()
    async for _ in from_values([{"prompt": "hi", field: value}] * 3, events.append):
        pass
    assert len(events) == 1


async def test_a_parameter_in_a_form_of_data_is_said_once() -> None:
    """A name that may be a column of data, with a value that cannot be the parameter's."""
    events: list[Event] = []
    row = {"prompt": "hi", "reasoning": "2 + 2 is 4"}
    await read(jsonl(*[row] * 3), events)
    (notice,) = (event.message for event in events if isinstance(event, Notice))
    assert notice.startswith('<stdin>:1: "reasoning" is carried to the output and not sent')


@pytest.mark.parametrize(
    "row",
    [
        {"title": "a", "topic": "b", "text": "c", "tool": "d", "users": 3, "steps": 5, "stops": 2},
        {"message": "hi", "models_tried": ["a"], "seeds": [1], "temp_file": "x", "format": "json"},
        {"source": "a", "category": "b", "answer": "c", "max_score": 5, "n_shot": 2, "num": 1},
        {"maxTokens": None},
    ],
)
async def test_columns_of_data_are_no_typos(row: dict[str, object]) -> None:
    """Nothing is said of what is only data."""
    events: list[Event] = []
    await read(jsonl({"prompt": "hi", **row}), events)
    assert events == []


async def test_ever_new_fields_are_not_remembered() -> None:
    """Rows whose fields are data do not fill the memory, and are not looked at for ever."""
    events: list[Event] = []
    values = [{"prompt": "hi", f"field {number}": 1} for number in range(1_500)]
    await read(jsonl(*values, {"prompt": "hi", "temprature": 1}), events)
    assert events == []
