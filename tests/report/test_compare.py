"""Two runs, row by row."""

from typing import Any

from support.answers import HOSTILE, answer, failure

from llmbatch_cli.report.compare import compared
from llmbatch_cli.report.compare_text import COLUMNS, text_comparison
from llmbatch_cli.report.row import Row, row_of

NAMES = {"first_file": "a.jsonl", "second_file": "b.jsonl"}


def rows(found: list[dict[str, Any]]) -> list[Row]:
    return [row_of(row, place) for place, row in enumerate(found)]


def compare(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[str, Any]:
    return compared(rows(first), rows(second), rows(first))


def test_rows_are_matched_by_id_in_any_order() -> None:
    """Ids that only one run has are counted, and so is an id that comes again."""
    first = [answer(place) for place in range(4)]
    second = [answer(place) for place in (5, 3, 2, 3)]
    found = compare(first, second)
    assert (found["in_both"], found["only_in_first"], found["only_in_second"]) == (2, 2, 1)
    assert found["repeated_ids"] == 1
    assert found["text"] == {"agree": 2, "rows": 2}


def test_a_row_without_an_id_is_matched_by_its_index() -> None:
    """The place in the input is the id of a row that has none; `--all` has parts."""
    first = [answer(place, id=place) for place in range(3)]
    second = [answer(place, id=str(place)) for place in range(3)]
    assert compare(first, second)["in_both"] == 3
    parts = [answer(0, str(part), part=[part, 2]) for part in (1, 2)]
    assert compare(parts, parts[::-1])["text"] == {"agree": 2, "rows": 2}


def test_texts_agree_but_for_white_space_around_them() -> None:
    """Where they differ, both are shown from just before the place where they do."""
    first = [answer(0, "yes"), answer(1, "a" * 500 + " one"), answer(2, "x")]
    second = [answer(0, " yes\n"), answer(1, "a" * 500 + " two"), answer(2, "")]
    found = compare(first, second)
    assert found["text"] == {"agree": 1, "rows": 3}
    assert found["examples"] == [
        {"id": "q1", "first": f"…{'a' * 23} one", "second": f"…{'a' * 23} two"},
        {"id": "q2", "first": "x", "second": ""},
    ]


def test_data_is_compared_and_not_its_text() -> None:
    """As a whole and field by field, whatever the order of keys; a missing field differs."""
    one, other = {"a": 1, "b": [1, {"c": 2}]}, {"b": [1, {"c": 2}], "a": 1}
    first = [answer(0, "one way", data=one), answer(1, data=one), answer(2, data="red")]
    second = [answer(0, "another", data=other), answer(1, data={"a": 2}), answer(2, data="red")]
    found = compare(first, second)
    assert found["data"] == {"agree": 2, "rows": 3}
    assert found["text"]["rows"] == 0
    assert found["fields"] == [
        {"field": "a", "agree": 1, "rows": 2}, {"field": "b", "agree": 1, "rows": 2}
    ]  # fmt: skip


def test_failures_on_either_side() -> None:
    """A row that failed in one run agrees with nothing, and is counted by where it failed."""
    first = [failure(0), failure(1), answer(2), answer(3)]
    second = [failure(0), answer(1), failure(2), answer(3)]
    found = compare(first, second)
    assert [found[name] for name in (
        "both_failed", "failed_only_in_first", "failed_only_in_second", "both_answered"
    )] == [1, 1, 1, 1]  # fmt: skip
    assert found["text"] == {"agree": 1, "rows": 1}
    assert (found["first"]["failed"], found["second"]["failed"]) == (2, 2)


def test_costs_lengths_and_latencies_of_the_rows_in_both() -> None:
    """Rows that only one run has are in none of the figures; an unknown cost is counted."""
    first = [answer(0, "ab", cost=1.5, latency=1), answer(1, cost=9), answer(2, cost=None)]
    second = [answer(0, "abcd", cost=0.5, latency=0.5), answer(2, "no", latency=None)]
    found = compare(first, second)
    assert found["first"] == {
        "failed": 0, "usd": 1.5, "unknown_cost_rows": 1, "mean_chars": 2.5, "p50": 1, "p95": 1,
        "maybe_billed": {"attempts": 0, "up_to": 0, "unknown_attempts": 0},
    }  # fmt: skip
    assert (found["second"]["usd"], found["second"]["mean_chars"]) == (0.75, 3)
    assert (found["faster_in_first"], found["faster_in_second"]) == (0, 1)


def test_what_may_have_been_billed_besides_is_a_figure_of_each_run() -> None:
    """Shown where there is any; where the most of an attempt is unknown, so is that of all."""
    unseen = [{"attempts": 2, "up_to": 0.5}, {"attempts": 1, "up_to": 0.25}, {"attempts": 4}]
    plain = [answer(place) for place in range(2)]
    billed = [answer(place, maybe_billed=unseen[place]) for place in range(2)]
    found = compare(plain, billed)
    assert found["second"]["maybe_billed"] == {"attempts": 3, "up_to": 0.75, "unknown_attempts": 0}
    (line,) = [one for one in text_comparison({**NAMES, **found}) if "billed" in one]
    assert line.split()[-2:] == ["$0.00", "$0.75"]
    found = compare([answer(0, maybe_billed=unseen[2])], [answer(0, maybe_billed=unseen[1])])
    assert found["first"]["maybe_billed"] == {"attempts": 4, "up_to": 0, "unknown_attempts": 4}
    assert not [
        one for one in text_comparison({**NAMES, **compare(plain, plain)}) if "billed" in one
    ]


def test_the_text_fits_a_terminal() -> None:
    """80 columns, and nothing that has power over it."""
    first = [answer(0, HOSTILE, data={HOSTILE: 1}), answer(1, HOSTILE)]
    found = compare(first, [answer(0, "x", data={"y": HOSTILE}), answer(1, "y" * 999)])
    lines = [*text_comparison({**NAMES, **found})]
    assert max(map(len, lines)) <= COLUMNS
    assert not {"\x1b", "\u202e", "\x00", "\ud800"} & set("".join(lines))
    assert any(line.startswith("rows in both") and line.split()[-1] == "2" for line in lines)
