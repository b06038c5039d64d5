"""The figures of a run."""

import html
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answers import HOSTILE, answer, failure

from llmbatch_cli.report.figures import MOST_NAMES, OTHERS, figures_of
from llmbatch_cli.report.gallery import Gallery
from llmbatch_cli.report.page import page
from llmbatch_cli.report.row import row_of
from llmbatch_cli.report.sections import totals
from llmbatch_cli.report.text import COLUMNS, text_report


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return figures_of(row_of(row, place) for place, row in enumerate(rows)).as_json()


def test_rows_and_costs_add_up() -> None:
    """Cost is the sum of what is known; rows of unknown cost are counted, as are tokens."""
    rows = [
        answer(0), answer(1, cost=None), answer(2, usage=None, finish_reason="length"),
        failure(3), failure(4, cost=0.5), failure(5, "invalid_row", attempts=0),
        answer(6, cached=True, cost=0.0, attempts=0), answer(7, " "),
    ]  # fmt: skip
    found = figures(rows)
    assert (found["rows"], found["answered"], found["failed"]) == (8, 5, 3)
    assert found["cost"]["usd"] == 0.25 * 3 + 0.5
    assert found["cost"]["unknown_rows"] == 2
    assert found["tokens"]["prompt_tokens"] == 30, "those of the cache were used before"
    assert found["tokens"]["unknown_rows"] == 1
    assert [found[name] for name in ("truncated", "empty", "cached")] == [1, 1, 1]
    assert found["finish_reasons"] == {"stop": 4, "length": 1}


def test_nothing_known_is_not_zero() -> None:
    """Where no row has a cost, a time or a usage, there is none."""
    found = figures([answer(0, cost=None, usage=None, latency=None)])
    assert (found["cost"]["usd"], found["cost"]["unknown_rows"]) == (None, 1)
    assert found["latency"]["p50"] is None
    assert found["time"]["rows_per_s"] is None
    assert "prompt_tokens" not in found["tokens"]


@pytest.mark.parametrize(
    ("up_to", "says"),
    [
        ([0.5, 0.25], "up to $0.75 more for 4 attempts"),
        ([0.5, None], "up to $0.5 more for 4 attempts, and unknown for 2 attempts"),
        ([None, None], "4 attempts may have been billed besides"),
        (["x", -1], "4 attempts may have been billed besides"),
    ],
)
def test_what_may_be_billed_besides_is_in_dollars(up_to: list[Any], says: str) -> None:
    """It is no part of the cost; where the most is not known, its attempts are counted."""
    rows = [answer(n, maybe_billed={"attempts": 2, "up_to": one}) for n, one in enumerate(up_to)]
    found = figures([*rows, answer(9)])
    assert found["cost"]["usd"] == 0.75
    assert says in [line.strip() for line in text_report("o", found, blocks=False)]
    assert says in html.unescape(totals(found))


def test_failures_by_kind_with_examples() -> None:
    """The most frequent first, three examples each, with their HTTP status."""
    rows = [failure(place) for place in range(5)] + [failure(9, "refused")]
    first, second = figures(rows)["failures"]
    assert (first["type"], first["count"], first["retryable"]) == ("overloaded", 5, True)
    assert first["statuses"] == [503]
    assert [one["id"] for one in first["examples"]] == ["q0", "q1", "q2"]
    assert second["examples"] == [{"id": "q9", "message": "sorry 9"}]


def test_throughput_is_by_the_time_of_the_rows() -> None:
    """From the first row's beginning to the last one's end; rows without a time are counted."""
    rows = [answer(place, finished_at=1000.5 + place, latency=0.5) for place in range(10)]
    found = figures([*rows, answer(11)])["time"]
    assert (found["first"], found["last"], found["elapsed_s"]) == (1000, 1009.5, 9.5)
    assert found["rows_per_s"] == 10 / 9.5
    assert found["rows_without_time"] == 1
    assert found["points"][0] == [1000, 1, 0, 14]


def test_answers_of_a_form() -> None:
    """Data, what was mended, what fit only at a further attempt, and what never did."""
    unfit = [{"type": "invalid_output", "maybe_billed": True}]
    rows = [
        answer(0, data={"a": 1}), answer(1, data={"a": 1}, repaired=True),
        answer(2, data={"a": 1}, failed_attempts=unfit), failure(3, "invalid_output"),
    ]  # fmt: skip
    found = figures(rows)
    assert found["schema"] == {
        "with_data": 3, "repaired": 1, "fit_after_retry": 1, "invalid_output": 1
    }  # fmt: skip
    assert figures([answer(0)])["schema"] is None


def test_the_standings_of_a_race() -> None:
    """Each model's races by their end, the winner first."""
    racers = [
        {"model": "a", "provider": "p", "status": "cancelled", "latency": 1},
        {"model": "b", "provider": "p", "status": "won", "latency": 0.5},
    ]
    first, second = figures([answer(place, race=racers) for place in range(3)])["race"]
    assert (first["model"], first["races"], first["won"], first["p50"]) == ("p/b", 3, 3, 0.5)
    assert (second["model"], second["cancelled"], second["p50"]) == ("p/a", 3, None)
    both = [answer(0, race=racers, part=[part, 2]) for part in (1, 2)]
    assert figures(both)["race"][0]["races"] == 1, "with --all each outcome has the same race"


def test_the_slowest_and_the_dearest() -> None:
    """Ten of each, the highest first; of equal ones the first of the file."""
    rows = [answer(place, latency=place % 20, cost=1.0) for place in range(40)]
    found = figures(rows)
    assert [one["latency"] for one in found["slowest"]] == sorted([*range(15, 20)] * 2)[::-1]
    assert [one["id"] for one in found["dearest"]] == [f"q{place}" for place in range(10)]


def test_a_million_names_take_no_room() -> None:
    """Models, kinds and reasons beyond the first hundred are counted together."""
    rows = [answer(place, model=f"m{place}", finish_reason=f"r{place}") for place in range(300)] + [
        failure(place, f"k{place}") for place in range(300)
    ]
    found = figures(rows)
    for names in (
        found["finish_reasons"],
        [one["model"] for one in found["models"]],
        [one["type"] for one in found["failures"]],
    ):
        assert len(names) == MOST_NAMES + 1
        assert OTHERS in names
    assert sum(one["count"] for one in found["failures"]) == 300


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "message", "status", "model"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)
USAGE = st.dictionaries(st.sampled_from(["prompt_tokens", "cached_tokens"]), VALUES, max_size=2)
FIELDS = (*answer(0), "data", "race", "failed_attempts", "finished_at", "input", "part")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES | USAGE, max_size=6), max_size=3))
def test_any_row_is_reported(rows: list[dict[str, Any]]) -> None:
    """Whatever a file has for values, there is a page, a text of 80 columns, and valid JSON."""
    found, gallery = figures(rows), Gallery()
    for place, row in enumerate(rows):
        gallery.add(row_of(row, place))
    assert found["rows"] == len(rows)
    assert page("x", found, gallery).endswith(b"</html>\n")
    lines = [*text_report("x", found, blocks=True)]
    assert max(map(len, lines)) <= COLUMNS
    json.loads(json.dumps(found, allow_nan=False))


def test_a_hostile_answer_is_only_text() -> None:
    """In figures and texts there is no control character, and no half of a pair."""
    found = figures([answer(0, HOSTILE, model=HOSTILE, finish_reason="a\nb"), failure(1, HOSTILE)])
    for text in (json.dumps(found, ensure_ascii=False), *text_report("x", found, blocks=False)):
        assert not {"\x00", "\x1b", "\u202e", "\ud800", "\n"} & set(text)
