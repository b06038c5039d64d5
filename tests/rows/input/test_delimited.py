"""CSV as people have it: cut into records, however its bytes arrive."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.rows.input.delimited import delimiter_of, records_of
from llmbatch_cli.rows.input.table import Record, names_of

UNHURRIED = settings(deadline=None)
CELLS = st.text(st.sampled_from('a,;"\n\r |\té'), max_size=6)
LONG = st.text(st.sampled_from('x,"\n'), min_size=15, max_size=50)


def read(*chunks: bytes, delimiter: str | None = None, max_chars: int = 1_000_000) -> list[Record]:
    batches = records_of(iter(chunks), delimiter, max_chars, lambda note: None)
    return [row for batch in batches for row in batch]


def fields(*chunks: bytes) -> list[dict[str, object]]:
    found = read(*chunks)
    assert [row.wrong for row in found] == [None] * len(found)
    return [dict(row.fields) for row in found]


@UNHURRIED
@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=6),
    st.lists(st.integers(0, 120), max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_cells_come_back_as_they_were_written(
    rows: list[tuple[str, str]], cuts: list[int], delimiter: str, newline: str
) -> None:
    """Whatever is in them, however the bytes are cut, and each with the line that it begins on."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(["one", "two"])
    lines = []
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    data = text.getvalue().encode()
    edges = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]
    expected = [
        (line, {"one": one, "two": two})
        for line, (one, two) in zip(lines, rows, strict=True)
        if one or two
    ]
    found = read(*chunks, delimiter=delimiter)
    assert [(row.line, row.fields) for row in found] == expected


@UNHURRIED
@given(st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\xff", b"\0", b"bc"])))
def test_any_bytes_are_records_or_errors(pieces: list[bytes]) -> None:
    """Nothing is raised for a row; each record says its line, in order."""
    found = read(b"x,y\n", *pieces, max_chars=8)
    assert [row.line for row in found] == sorted({row.line for row in found})
    assert all(row.fields or row.wrong for row in found)


@UNHURRIED
@given(st.lists(st.tuples(CELLS | LONG, CELLS | LONG), max_size=6), st.integers(1, 60))
def test_no_part_of_a_cell_is_a_row(rows: list[tuple[str, str]], cut: int) -> None:
    """Whatever is over the cap: each record is itself or an error, and none behind it is lost."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("one", "two"), *rows])
    data = text.getvalue().encode()
    found = read(*(data[at : at + cut] for at in range(0, len(data), cut)), max_chars=20)
    expected = [{"one": one, "two": two} for one, two in rows if one or two]
    assert len(found) == len(expected)
    for row, fields in zip(found, expected, strict=True):
        if row.wrong is None:
            assert row.fields == fields
        else:
            assert sum(len(cell.encode()) + cell.count('"') + 3 for cell in fields.values()) > 20


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1,2\n", ","),
        (b"a;b\n1,5;2,5\n", ";"),
        (b'"a, or so";b\n"x, y, z";2\n', ";"),
        (b"a\tb\n1,1\t2,2\n", "\t"),
        (b"a|b\n1|2\n", "|"),
    ],
)
def test_the_delimiter_is_counted_outside_of_quotes(data: bytes, expected: str) -> None:
    assert delimiter_of(data.decode().splitlines(keepends=True)) == expected
    assert list(fields(data)[0]) == [
        cell.strip('"') for cell in data.decode().splitlines()[0].split(expected)
    ]


def test_a_column_alone_has_no_delimiter() -> None:
    """Commas in the only column are its own, quoted or not."""
    assert fields(b'prompt\nHello, you\n"Hi, ""you"""\n') == [
        {"prompt": "Hello, you"},
        {"prompt": 'Hi, "you"'},
    ]


def test_excels_own_ways() -> None:
    """Its first line `sep=;`, and lines that end in a carriage return alone."""
    assert fields(b"sep=;\r\na;b\r\n1;2,5\r\n") == [{"a": "1", "b": "2,5"}]
    assert fields(b"a,b\r1,2\r3,4") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_row_with_other_cells_than_columns_is_an_error() -> None:
    """It names its line; the others go on. Empty cells behind the last column are no cells."""
    found = read(b'a,b\n1\n1,2,3\n"x\ny",2,,\n,\n\n3,4\n')
    assert found == [
        Record(2, {"a": "1"}, "bad CSV: 1 cell, but there are 2 columns"),
        Record(3, {"a": "1", "b": "2"}, "bad CSV: 3 cells, but there are 2 columns"),
        Record(4, {"a": "x\ny", "b": "2"}),
        Record(8, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "x" * 50,
        '5" ' + "x" * 50,
        '"' + "x\n" * 25 + 'y"',
        '"' + 'x""\n' * 25 + '"',
        '"' + "x" * 50 + '\n1,2\ny"',
        '"x\n7,8\n' + "y" * 50 + '\n1,2"',
        '"x\n' + "y" * 50 + '"',
    ],
)
def test_a_cell_over_the_cap_costs_itself_alone(cell: str) -> None:
    """Of a quoted one over many lines, none is taken for a row."""
    data = f"a,b\n1,2\n3,{cell}\n5,6\n".encode()
    for chunks in ([data], [data[place : place + 7] for place in range(0, len(data), 7)]):
        found = read(*chunks, max_chars=20)
        assert [row.line for row in found[:2]] == [2, 3]
        assert [dict(row.fields) for row in found] == [
            {"a": "1", "b": "2"},
            {},
            {"a": "5", "b": "6"},
        ]
        assert found[1].wrong == "a cell is longer than 20 characters (--max-line-bytes)"


def test_a_quote_without_its_end_is_one_error() -> None:
    """What is behind it is not sent as one long prompt."""
    found = read(b'a,b\n1,2\n3,"x\n5,6\n')
    assert [row.line for row in found] == [2, 3]
    assert found[1].wrong is not None
    assert "never closed" in found[1].wrong


def test_bytes_of_another_encoding_are_an_error_of_their_row() -> None:
    (bad, good) = read(b"a,b\n\xe4,1\n\xc3\xa4,2\n")
    assert bad == Record(2, {"a": "\ufffd", "b": "1"}, "not UTF-8: byte 0xe4 (--encoding names it)")
    assert good.fields == {"a": "\xe4", "b": "2"}


def test_a_header_that_cannot_be_read_is_the_tables_error() -> None:
    with pytest.raises(csv.Error, match="header"):
        read(b'"a\n1,2\n')


def test_lines_of_an_old_mac_are_told_with_a_way_out() -> None:
    """csv's own words are about how Python opens files."""
    with pytest.raises(csv.Error, match="a line ends with CR alone"):
        read(b"a,b\r1,2\r")
    (row,) = read(b"a,b\n1\r2,3\n")
    assert "a line ends with CR alone" in (row.wrong or "")


def test_columns_without_a_name_of_their_own_get_one() -> None:
    """No two are called alike, whatever the others are called."""
    assert names_of(["a", "", "a", " ", "a_2", "b"]) == [
        "a",
        "column_2",
        "a_3",
        "column_4",
        "a_2",
        "b",
    ]


def test_new_names_are_said() -> None:
    said: list[str] = []
    list(records_of(iter([b"a,,a\n1,2,3\n"]), None, 1_000, said.append))
    assert said == ["columns without a name of their own are called column_2, a_2"]


def test_a_record_is_given_once_its_line_is_whole() -> None:
    """Nothing waits for what comes next, also before a cell that goes on."""
    asked: list[int] = []
    said: list[str] = []

    def chunks() -> Iterator[bytes]:
        for place, chunk in enumerate((b"a,b\n", b"1,2\n3,", b'"4\n', b'5"\n6,7\n')):
            asked.append(place)
            yield chunk

    batches: Iterator[Sequence[Record]] = records_of(chunks(), None, 1_000, said.append)
    seen = [([dict(row.fields) for row in batch], asked[-1]) for batch in batches]
    assert seen == [
        ([], 0),
        ([{"a": "1", "b": "2"}], 1),
        ([{"a": "3", "b": "4\n5"}], 3),
        ([{"a": "6", "b": "7"}], 3),
    ]
