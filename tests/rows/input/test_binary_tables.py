"""Parquet, Arrow and workbooks: from a file, packed, and from a pipe, told by their first bytes."""

import datetime as dt
import decimal
import gzip
import io
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from support.workbooks import xlsx

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import BadRow, Prompt, Row
from llmbatch_cli.rows.input.source import Inputs

COLUMNS = {
    "id": [7, 8],
    "question": ["a?", "b?"],
    "day": [dt.date(2026, 1, 2), None],
    "price": [decimal.Decimal("1.50"), decimal.Decimal("2.00")],
    "share": [0.5, float("nan")],
    "picture": [b"\xff\0", None],
    "tags": [["x"], []],
    "more": [{"n": 1}, {"n": None}],
}
READ = [
    {
        "day": "2026-01-02",
        "price": 1.5,
        "share": 0.5,
        "picture": "/wA=",
        "tags": ["x"],
        "more": {"n": 1},
    },
    {"day": None, "price": 2, "share": None, "picture": None, "tags": [], "more": {"n": None}},
]


def table(columns: dict[str, list[Any]] | None = None) -> Any:
    return pa.table(columns or COLUMNS)


def packed(kind: str, data: Any = None) -> bytes:
    """The table as a file of this kind."""
    file = io.BytesIO()
    data = table() if data is None else data
    if kind == "parquet":
        parquet.write_table(data, file)
    elif kind == "stream":
        with pa.ipc.new_stream(file, data.schema) as writer:
            writer.write_table(data)
    else:
        feather.write_feather(data, file, version=2, compression="zstd")
    return file.getvalue()


async def rows(name: str, data: bytes = b"", form: str = "auto", **more: Any) -> list[Row]:
    inputs = Inputs([name], input_format=form, **more)  # type: ignore[arg-type]
    async with aclosing(inputs.rows(stdin=io.BytesIO(data))) as found:
        return [row async for row in found]


def prompts(found: list[Row]) -> list[tuple[Any, str, int | None]]:
    assert not [row for row in found if isinstance(row, BadRow)]
    return [
        (row.id, row.messages[0]["content"], row.line) for row in found if isinstance(row, Prompt)
    ]


@pytest.mark.parametrize("kind", ["parquet", "feather", "stream"])
async def test_columns_of_every_type_are_carried(kind: str, tmp_path: Path) -> None:
    """As JSON has them: by name, packed, and on standard input by the first bytes."""
    data = packed(kind)
    path, zipped = tmp_path / f"a.{kind}", tmp_path / f"a.{kind}.gz"
    path.write_bytes(data)
    zipped.write_bytes(gzip.compress(data))
    form = "arrow" if kind == "stream" else "auto"
    for name, stdin in ((str(path), b""), (str(zipped), b""), ("-", data)):
        found = await rows(name, stdin, form)
        assert prompts(found) == [(7, "a?", 1), (8, "b?", 2)]
        assert [row.metadata for row in found] == READ


async def test_a_decimal_keeps_all_its_digits() -> None:
    """As text where a float has not so many."""
    values = [decimal.Decimal(text) for text in ("12345678901234567.89", "1.50", "-3.00")]
    data = pa.table({"question": ["a"] * 3, "price": pa.array(values, pa.decimal128(38, 2))})
    found = await rows("-", packed("parquet", data))
    prices = [row.metadata["price"] for row in found]
    assert prices == ["12345678901234567.89", 1.5, -3]


async def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    """Read part by part, in the order of their names, whatever a job has left beside them."""
    from llmbatch_cli.rows.input.folders import expanded

    (tmp_path / "year=2026").mkdir()
    (tmp_path / "_SUCCESS").touch()
    for place, name in enumerate(("part-0.parquet", "part-1.parquet", "year=2026/part-0.parquet")):
        data = table({"prompt": [f"{place}.{row}" for row in range(3)]})
        (tmp_path / name).write_bytes(packed("parquet", data))
    inputs = Inputs(expanded([str(tmp_path)]))
    found = [row async for row in inputs.rows()]
    assert [text for _, text, _ in prompts(found)] == [
        f"{part}.{row}" for part in range(3) for row in range(3)
    ]
    assert [row.index for row in found] == list(range(9))


@pytest.mark.parametrize("kind", ["parquet", "feather", "xlsx"])
async def test_a_damaged_file_is_one_error(kind: str, tmp_path: Path) -> None:
    """It names the file and what it is; no traceback."""
    good = xlsx([["prompt"], ["hi"]]) if kind == "xlsx" else packed(kind)
    path = tmp_path / f"a.{kind}"
    for data in (good[: len(good) // 2], b"", good[:20] + b"\0" * 40 + good[60:], b"hello\n"):
        path.write_bytes(data)
        found = await rows(str(path))
        assert all("cannot be read as" in row.reason for row in found if isinstance(row, BadRow))


async def test_a_workbook_is_its_first_sheet_with_rows(tmp_path: Path) -> None:
    """Whole numbers are whole, empty rows are none, and the line is the row's number."""
    data = xlsx(
        [],
        [["id", "question", "score"], [1, "a?", 2.5], [None, None, None], [2, "b?", 3]],
        [["prompt"], ["no"]],
    )
    path = tmp_path / "a.xlsx"
    path.write_bytes(data)
    for name, stdin in ((str(path), b""), ("-", data)):
        found = await rows(name, stdin)
        assert prompts(found) == [(1, "a?", 2), (2, "b?", 4)]
        assert [row.metadata for row in found] == [{"score": 2.5}, {"score": 3}]


@pytest.mark.parametrize(("kind", "extra"), [("parquet", "parquet"), ("xlsx", "excel")])
async def test_without_the_library_the_way_to_it_is_said(
    kind: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"")

    def missing(name: str, *rest: Any) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("llmbatch_cli.rows.input.binary_tables.import_module", missing)
    with pytest.raises(UsageError, match="not installed") as caught:
        Inputs([str(path)]).check()
    assert f".[{extra}]" in (caught.value.hint or "")
