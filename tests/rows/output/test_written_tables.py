"""Tables in files that are written as a whole: Parquet and workbooks."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.rows.output import parquet, xlsx
from llmbatch_cli.rows.output.parquet import write_parquet
from llmbatch_cli.rows.output.table import Choice, Columns
from llmbatch_cli.rows.output.xlsx import write_xlsx

JSON = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
CELLS = JSON | st.lists(JSON, max_size=3) | st.dictionaries(st.text(), JSON, max_size=2)
FIELDS = st.lists(st.dictionaries(st.sampled_from("abc"), CELLS), max_size=5)


def rows_with(fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": "yes", "error": None, "fields": dict(one)} for one in fields]


def as_parquet(rows: Sequence[Mapping[str, Any]], choice: Choice | None = None) -> pa.Table:
    file = io.BytesIO()
    write_parquet(file, Columns.of(rows, choice or Choice()).columns(), lambda: rows)
    return pq.read_table(io.BytesIO(file.getvalue()))


def as_xlsx(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    file = io.BytesIO()
    notes = list(write_xlsx(file, Columns.of(rows, Choice()).columns(), rows))
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(file.getvalue())).get_sheet_by_index(0)
    return sheet.to_python(), notes


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, -(2**63)], pa.int64()),
        ([1, 0.5], pa.float64()),
        ([True, None], pa.bool_()),
        (["a", None], pa.string()),
        ([[1, 2], [], None], pa.list_(pa.int64())),
        ([["a"], ["b", None]], pa.list_(pa.string())),
        ([[0.5], [1]], pa.list_(pa.float64())),
    ],
)
def test_a_column_has_the_type_of_its_values(values: list[Any], kind: Any) -> None:
    """Values of one kind keep it, lists too, and come back as they were."""
    table = as_parquet(rows_with([{"x": value} for value in values]))
    assert table.schema.field("x").type == kind
    assert table.column("x").to_pylist() == values


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "a", None], ["1", "a", None]),
        ([2**64], ["18446744073709551616"]),
        ([2**53 + 1, 0.5], ["9007199254740993", "0.5"]),
        ([True, 1], ["true", "1"]),
        ([{"a": 1}, []], ['{"a":1}', "[]"]),
        ([[1, "a"], [{"b": 2}]], ['[1,"a"]', '[{"b":2}]']),
        ([None, None], [None, None]),
    ],
)
def test_what_has_no_common_type_is_text(values: list[Any], texts: list[Any]) -> None:
    """Nothing is rounded or lost: the text of each is JSON."""
    table = as_parquet(rows_with([{"x": value} for value in values]))
    assert table.schema.field("x").type == pa.string()
    assert table.column("x").to_pylist() == texts


def test_numbers_of_ours_are_numbers_also_where_none_is_known() -> None:
    """A cost that no row has is an empty column of numbers, as in the next run."""
    rows = [{**row, "cost": None} for row in rows_with([{}])]
    table = as_parquet(rows, Choice(("cost", "tokens", "answer")))
    assert [str(one) for one in table.schema.types] == ["double", "int64", "int64", "string"]


def test_a_table_without_rows_has_its_columns() -> None:
    """Both kinds can be read, and have the columns that are known."""
    assert as_parquet([]).column_names == ["answer", "error"]
    assert as_xlsx([])[0] == [["answer", "error"]]


@given(FIELDS)
@settings(deadline=None)
def test_any_rows_become_parquet(fields: list[dict[str, Any]]) -> None:
    """Whatever the cells hold, there are as many rows; in several groups of rows too."""
    assert as_parquet(rows_with(fields)).num_rows == len(fields)


def test_a_file_has_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is flat: what is held is a group."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    table = as_parquet(rows_with([{"n": n} for n in range(5)]))
    assert table.column("n").to_pylist() == list(range(5))
    file = io.BytesIO()
    rows = rows_with([{"n": "x" * 10}] * 4)
    monkeypatch.setattr(parquet, "GROUP_CHARS", 15)
    write_parquet(file, Columns.of(rows, Choice()).columns(), lambda: rows)
    assert pq.ParquetFile(io.BytesIO(file.getvalue())).num_row_groups == 4


def test_texts_are_no_formulas_and_no_links_in_a_workbook() -> None:
    """Cells have the type of their value, and a text is a text whatever it begins with."""
    cells = ["=1+1", "https://example.com", "5", 5, 0.5, True, None, [1], 2**60]
    found, notes = as_xlsx(rows_with([{str(n): cell for n, cell in enumerate(cells)}]))
    assert notes == []
    assert found[1] == [
        "=1+1", "https://example.com", "5", 5.0, 0.5, True, "", "[1]", str(2**60), "yes", ""
    ]  # fmt: skip


def test_a_text_is_never_taken_for_xml() -> None:
    """A model may write tags that would be part of the workbook."""
    found, _ = as_xlsx(rows_with([{"x": "<r><t>a</t></r>", "y": "<b>&amp;</b>"}]))
    assert found[1][:2] == ["<r><t>a</t></r> ", "<b>&amp;</b>"]


def test_a_text_that_is_too_long_for_a_workbook_is_cut_and_told() -> None:
    """Excel holds 32,767 characters in a cell; the run says how many were longer."""
    found, notes = as_xlsx(rows_with([{"x": "ä" * 40_000, "y": "ok"}]))
    assert len(found[1][0]) == 32_767
    assert notes == ["1 cell has more than the 32,767 characters that Excel allows, and were cut"]


def test_more_rows_than_a_sheet_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not fit are not left out silently."""
    monkeypatch.setattr(xlsx, "MOST_ROWS", 2)
    assert len(as_xlsx(rows_with([{}] * 2))[0]) == 3
    with pytest.raises(UsageError, match="at most 2 rows"):
        as_xlsx(rows_with([{}] * 3))


@given(FIELDS)
@settings(deadline=None, max_examples=50)
def test_any_rows_become_a_workbook(fields: list[dict[str, Any]]) -> None:
    """Whatever the cells hold, control characters too, it can be read and has as many rows."""
    assert len(as_xlsx(rows_with(fields))[0]) == len(fields) + 1
