"""Inputs at s3://: objects, prefixes and patterns of a simulated store."""

import asyncio
import gzip
import io
import re

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.moto import Bucket
from support.proxy import breaking

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Counted, Event
from llmbatch_cli.core.types import BadRow, Prompt
from llmbatch_cli.rows.input import inputs as input_names
from llmbatch_cli.rows.input.choose import Choice
from llmbatch_cli.rows.input.folders import expanded
from llmbatch_cli.rows.input.source import Inputs


async def read(*names: str, choice: Choice | None = None) -> list[tuple[int | str, str]]:
    inputs = Inputs(expanded(names), choice=choice or Choice())
    inputs.check()
    return await prompts(inputs)


async def prompts(inputs: Inputs) -> list[tuple[int | str, str]]:
    found = []
    async for row in inputs.rows():
        assert isinstance(row, Prompt), row
        found.append((row.id, row.messages[0]["content"]))
    return found


async def test_an_object_is_read_as_a_file(bucket: Bucket) -> None:
    """Packed too; a table by its name."""
    bucket.put("in/rows.jsonl", b'"one"\n{"id": "b", "prompt": "two"}\n')
    bucket.put("in/rows.csv.gz", gzip.compress(b"id,prompt\n7,cell\n"))
    assert await read(f"{bucket.address}/in/rows.jsonl", f"{bucket.address}/in/rows.csv.gz") == [
        (0, "one"),
        ("b", "two"),
        ("7", "cell"),
    ]


async def test_a_prefix_is_read_as_a_folder(bucket: Bucket) -> None:
    """By name; what begins with a dot or an underscore is left out."""
    for name in ("in/b.jsonl", "in/more/a.jsonl", "in/_SUCCESS", "in/.x/c.jsonl", "other.jsonl"):
        bucket.put(name, f'"{name}"\n'.encode())
    for address in ("in", "in/"):
        found = await read(f"{bucket.address}/{address}")
        assert [text for _, text in found] == ["in/b.jsonl", "in/more/a.jsonl"]
    assert [text for _, text in await read(bucket.address)] == [
        "in/b.jsonl",
        "in/more/a.jsonl",
        "other.jsonl",
    ]


async def test_a_pattern_chooses_objects(bucket: Bucket) -> None:
    """A star stays within a part of the name; two stars go deep."""
    for name in ("in/a.jsonl", "in/b.txt", "in/deep/c.jsonl"):
        bucket.put(name, f'"{name}"\n'.encode())
    assert [text for _, text in await read(f"{bucket.address}/in/*.jsonl")] == ["in/a.jsonl"]
    assert [text for _, text in await read(f"{bucket.address}/in/**/*.jsonl")] == [
        "in/a.jsonl",
        "in/deep/c.jsonl",
    ]


async def test_a_text_below_a_prefix_is_one_prompt(bucket: Bucket) -> None:
    """Whose id is its name from there on."""
    bucket.put("in/a.md", b"# one\n")
    bucket.put("in/more/b.txt", b"two\nlines\n")
    assert await read(f"{bucket.address}/in/") == [
        ("a.md", "# one"),
        ("more/b.txt", "two\nlines"),
    ]


async def test_parquet_is_read_where_it_lies(bucket: Bucket) -> None:
    """And only the parts of it that are needed, not a copy."""
    table = pa.table({"id": [*range(3000)], "prompt": [f"question {n}" for n in range(3000)]})
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=500)
    bucket.put("in/rows.parquet", file.getvalue())
    found = await read(f"{bucket.address}/in/rows.parquet")
    assert found == [(n, f"question {n}") for n in range(3000)]


async def test_arrow_is_read_from_a_copy(bucket: Bucket) -> None:
    """As from a pipe."""
    table = pa.table({"id": [1, 2], "prompt": ["a", "b"]})
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    bucket.put("rows.arrow", file.getvalue())
    assert await read(f"{bucket.address}/rows.arrow") == [(1, "a"), (2, "b")]


async def test_rows_are_drawn_and_counted(bucket: Bucket) -> None:
    """A sample reads twice; a short object is counted ahead, a long one is not fetched for it."""
    bucket.put("rows.jsonl", b"".join(b'"%d"\n' % n for n in range(100)))
    address = f"{bucket.address}/rows.jsonl"
    assert len(await read(address, choice=Choice(sample=7))) == 7
    inputs = Inputs(expanded([address]))
    seen: list[Event] = []
    with inputs.counting(seen.append):
        while not seen:
            await asyncio.sleep(0.01)
    assert seen == [Counted(100)]


def test_a_long_object_is_not_counted(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be fetched twice."""
    monkeypatch.setattr(input_names, "MOST_COUNTED_BYTES", 3)
    bucket.put("rows.jsonl", b'"one"\n')
    (name,) = expanded([f"{bucket.address}/rows.jsonl"])
    assert input_names.count_rows(name) is None


async def test_a_broken_download_goes_on(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the byte where it broke, as often as it breaks, with no row lost or read twice."""
    rows = [f"{n} {'x' * 1000}" for n in range(6000)]
    bucket.put("rows.jsonl", "".join(f'"{row}"\n' for row in rows).encode())
    with breaking(bucket.url, after_bytes=700_000, times=5) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        found = await read(f"{bucket.address}/rows.jsonl")
    assert [text for _, text in found] == rows
    assert proxy.broken == 5


async def test_a_changed_object_is_refused(bucket: Bucket) -> None:
    """What was found at the start is what is read, or the rest is one bad row that says why."""
    bucket.put("rows.jsonl", b'"one"\n')
    inputs = Inputs(expanded([f"{bucket.address}/rows.jsonl"]))
    bucket.put("rows.jsonl", b'"two"\n"three"\n')
    (row,) = [row async for row in inputs.rows()]
    assert isinstance(row, BadRow)
    assert "it has changed since it was first read" in row.reason
    assert row.file == f"{bucket.address}/rows.jsonl"


async def test_a_bad_row_names_its_object(bucket: Bucket) -> None:
    """With the line, as of a file."""
    bucket.put("in/rows.jsonl", b'"one"\n{"prompt": \n"three"\n')
    inputs = Inputs(expanded([f"{bucket.address}/in/rows.jsonl"]))
    bad = [row async for row in inputs.rows() if isinstance(row, BadRow)]
    assert bad[0].place == f"{bucket.address}/in/rows.jsonl:2"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/none.jsonl", "no such object: {}/none.jsonl"),
        ("/none/*.jsonl", "no object is there: {}/none/[*].jsonl"),
    ],
)
def test_what_is_missing_is_named(bucket: Bucket, path: str, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError, match=words.format(bucket.address)):
        expanded([f"{bucket.address}{path}"])


def test_a_missing_bucket_is_named(bucket: Bucket) -> None:
    """It is told apart from a missing object."""
    with pytest.raises(
        UsageError, match=re.escape("cannot read s3://nobody-has-it/in/: no such b")
    ):
        expanded(["s3://nobody-has-it/in/"])


def test_missing_credentials_are_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; nothing is asked of a machine that is not Amazon's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(UsageError, match="no AWS credentials for s3://") as caught:
        expanded([f"{bucket.address}/in/"])
    assert "AWS_PROFILE" in (caught.value.hint or "")
