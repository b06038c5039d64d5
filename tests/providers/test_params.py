"""The one walk over a table of parameters, by which every request's body is built."""

from copy import deepcopy
from typing import Any

import pytest

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.wire.draft import Draft
from llmbatch_cli.providers.wire.params import ParamTable, as_list, unless

TABLE = ParamTable(
    rules={
        "top_p": "config.topP",
        "max_tokens": unless(-1, "config.limit"),
        "stop": as_list("stops"),
    },
    neutral={"n": 1},
    own={"top_k": "config.topK"},
    merged=frozenset(("config",)),
    hint="do without",
)


def body(table: ParamTable = TABLE, **params: Any) -> dict[str, Any]:
    draft = Draft(Request("m", [], params), "p")
    table.add(draft)
    return draft.body


def test_each_parameter_goes_to_its_place() -> None:
    """Renamed, nested, converted, left out where it is neutral, else a field of the same name."""
    found = body(top_p=0.5, max_tokens=9, stop="x", n=1, seed=3, extra_headers={"a": "b"})
    assert found == {"config": {"topP": 0.5, "limit": 9}, "stops": ["x"], "seed": 3}
    assert body(max_tokens=-1) == {}


def test_an_unsupported_value_is_named() -> None:
    """Any but the neutral value of an unsupported parameter is refused, with the table's hint."""
    with pytest.raises(UnsupportedParameter, match=r"^p does not support n\nhint") as caught:
        body(n=2)
    assert (caught.value.parameter, caught.value.hint) == ("n", "do without")


def test_extra_body_is_merged_where_the_table_says_so() -> None:
    """It comes last: merged into the objects that are named, in the place of all others."""
    more = {"config": {"topP": 1, "x": 1}, "top_k": 5, "stops": {"y": 1}}
    found = body(top_p=0.5, max_tokens=9, stop="x", extra_body=more)
    assert found == {"config": {"topP": 1, "limit": 9, "x": 1, "topK": 5}, "stops": {"y": 1}}


def test_extra_body_stays_as_it_was() -> None:
    """Rows share the run's parameters, so building one request must not change them."""
    more = {"config": {"x": {"y": 1}}, "top_k": 5}
    before = deepcopy(more)
    body(extra_body=more)
    assert more == before


def test_a_name_of_extra_body_is_no_path() -> None:
    """A dot in a name that the user gives is a dot in the field's name."""
    assert body(extra_body={"a.b": 1}) == {"a.b": 1}


def test_a_table_may_merge_every_object() -> None:
    """None merges whatever is an object on both sides."""
    table = ParamTable(rules={"top_p": "config.topP"}, merged=None)
    assert body(table, top_p=1, extra_body={"config": {"x": 2}}) == {"config": {"topP": 1, "x": 2}}
