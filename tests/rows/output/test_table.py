"""A table of answers: its columns, and its cells as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.options import COLUMNS, OutputOptions
from llmbatch_cli.core.types import Outcome
from llmbatch_cli.rows.output.delimited import Delimited, Streamed
from llmbatch_cli.rows.output.table import Choice, Columns


def row(**more: Any) -> dict[str, Any]:
    """A row of output, as --format jsonl has it."""
    return {"index": 0, "text": "yes", "error": None, "fields": {"q": "why"}, **more}


def table(rows: Sequence[dict[str, Any]], options: OutputOptions | None = None) -> list[list[str]]:
    """The rows as CSV, read back; the first is the header."""
    options = options or OutputOptions()
    columns = Columns.of(rows, Choice.of(options)).columns()
    lines = Delimited(",", raw=options.raw_cells)
    data = lines.header(columns) + b"".join(lines.row(columns, one) for one in rows)
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_the_answer_stands_beside_the_columns_of_the_input() -> None:
    """Each row has the input's fields in their order, then its answer or its error."""
    error = {"type": "rejected", "message": "no", "status": 400, "retryable": False}
    rows = [row(), row(fields={"q": "how", "z": 1}), row(text=None, error=error)]
    assert table(rows) == [
        ["q", "z", "answer", "error"],
        ["why", "", "yes", ""],
        ["how", "1", "yes", ""],
        ["why", "", "", "rejected: no"],
    ]


def test_columns_are_chosen_and_stand_in_that_order() -> None:
    """--columns names them, tokens are two, and --answer-field renames the answer."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    more = {"model": "m", "usage": usage, "cost": 0.0000216, "latency": 0.5, "reasoning": "so"}
    options = OutputOptions(
        columns="error,cost, tokens,answer,model,reasoning,finish_reason,latency",
        answer_field="label",
    )
    head, cells = table([row(**more)], options)
    assert head[:6] == ["q", "error", "cost", "prompt_tokens", "completion_tokens", "label"]
    assert head[6:] == ["model", "reasoning", "finish_reason", "latency"]
    assert cells == ["why", "", "0.0000216", "3", "4", "yes", "m", "so", "", "0.5"]


@pytest.mark.parametrize("columns", ["answer,modle", "", "answer,,error"])
def test_an_unknown_column_is_refused(columns: str) -> None:
    """Nothing is guessed: the names that there are stand in the message."""
    with pytest.raises(UsageError, match="no column") as caught:
        Choice.of(OutputOptions(columns=columns))
    assert any(name in str(caught.value.hint) for name in COLUMNS)


def test_the_columns_of_the_input_need_not_be_named() -> None:
    """Whoever names one learns that it is there."""
    with pytest.raises(UsageError) as caught:
        Choice.of(OutputOptions(columns="id,answer"))
    assert caught.value.hint is not None
    assert "the input's are always there" in caught.value.hint


def test_no_column_of_the_input_is_lost_to_ours() -> None:
    """Where the input has a column of our name, ours gets another, and that is said."""
    rows = [row(fields={"question": "why", "answer": "gold", "error": 0, "answer_2": "x"})]
    head, cells = table(rows)
    assert head == ["question", "answer", "error", "answer_2", "answer_3", "error_2"]
    assert cells == ["why", "gold", "0", "x", "yes", ""]
    assert list(Columns.of(rows, Choice()).notes()) == [
        "there is a column answer already, so ours is answer_3",
        "there is a column error already, so ours is error_2",
    ]


def test_data_has_a_column_for_each_property() -> None:
    """An object stands in its own columns, in place of its text unless that was asked for."""
    rows = [row(text="{}", data={"mood": "good", "q": [1]}), row(text="{}", data={"sure": True})]
    assert table(rows) == [
        ["q", "mood", "q_2", "sure", "error"],
        ["why", "good", "[1]", "", ""],
        ["why", "", "", "true", ""],
    ]
    assert table(rows, OutputOptions(columns="answer"))[0] == ["q", "answer", "mood", "q_2", "sure"]


def test_what_is_not_a_text_alone_is_one_cell() -> None:
    """A value of data, several answers, and tool calls are the answer."""
    choices = [{"message": {"content": text}} for text in "ab"]
    rows = [row(data="yes"), row(choices=choices), row(text=None, tool_calls=[{"id": 1}])]
    assert [cells[1] for cells in table(rows)[1:]] == ["yes", '["a","b"]', '[{"id":1}]']


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])  # noqa: RUF001
def test_a_formula_is_made_text(text: str) -> None:
    """A cell or a name that a spreadsheet may run begins with an apostrophe, unless raw."""
    rows = [row(text=text, fields={text: text})]
    safe, raw = f"'{text}", OutputOptions(raw_cells=True)
    assert table(rows) == [[safe, "answer", "error"], [safe, safe, ""]]
    assert table(rows, raw) == [[text, "answer", "error"], [text, text, ""]]


@pytest.mark.parametrize("value", ["-5", "+4.5e-3", "-.5", -5, -0.5])
def test_a_number_is_no_formula(value: object) -> None:
    """Numbers stay numbers, also below zero."""
    assert table([row(fields={"n": value})])[1][0] == str(value)


@given(st.lists(st.dictionaries(st.text(), st.text() | st.none() | st.integers()), min_size=1))
def test_any_cells_can_be_read_back(fields: list[dict[str, Any]]) -> None:
    """Whatever the cells hold, a reader of CSV finds as many rows and cells, and their texts."""
    rows = [row(fields=one) for one in fields]
    found = table(rows, OutputOptions(raw_cells=True))
    names = list(dict.fromkeys(name for one in fields for name in one))
    assert [cells[: len(names)] for cells in found[1:]] == [
        ["" if (value := one.get(name)) is None else str(value) for name in names] for one in fields
    ]
    assert len(found) == len(rows) + 1
    assert {len(cells) for cells in found} == {len(names) + 2}


def test_a_stream_has_the_columns_of_its_first_row() -> None:
    """What later rows have beyond them is left out, and counted."""
    streamed = Streamed(OutputOptions(format="tsv"))
    outcomes = [Outcome(index, index, "m", "p", fields=fields) for index, fields in FIELDS]
    lines = [streamed(outcome) for outcome in outcomes]
    assert lines == [b"a\tanswer\terror\n1\t\t\n", b"2\t\t\n", b"\t\t\n"]
    assert streamed.notice == (
        "1 row has fields that the first has not, which are left out (-o FILE has all)"
    )


FIELDS = [(0, {"a": 1}), (1, {"a": 2, "b": 3}), (2, None)]
