"""Keys: what makes two rows the same work."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.types import BadRow, Message, Prompt, Request
from llmbatch_cli.rows.keys import (
    KEY_DIGITS,
    REQUEST_DIGITS,
    bad_row_key,
    check_key,
    request_key,
    row_digits,
)

MESSAGES: list[Message] = [{"role": "user", "content": "hi"}]
PROMPT = Prompt(3, MESSAGES, "q3", metadata={"label": 1})
REQUEST = Request("m", MESSAGES, {"temperature": 0.5, "seed": 1})

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=5)  # lone surrogates too
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def request_part(provider: str = "p", **changes: Any) -> str:
    return request_key(provider, replace(REQUEST, **changes), PROMPT)[:REQUEST_DIGITS]


def test_a_key_is_the_same_in_every_run() -> None:
    """Keys of this version are found again by every later one: these digits never change."""
    assert request_key("p", REQUEST, PROMPT) == "125a88fdf010c39f2c1fb37ee8eec9a1"
    assert bad_row_key(BadRow(3, "bad JSON", 3, "a.jsonl", 4)) == "3d63ac452c3c1018cf2865837480f3be"


def test_a_key_says_what_was_asked() -> None:
    """Another provider, model, message or parameter is another request; their order is not."""
    others = [
        request_part("q"),
        request_part(model="n"),
        request_part(messages=[{"role": "system", "content": "s"}, *MESSAGES]),
        request_part(params={"temperature": 0.6, "seed": 1}),
        request_part(params={"temperature": 0.5}),
    ]
    assert len({request_part(), *others}) == 6
    assert request_part(params={"seed": 1, "temperature": 0.5}) == request_part()
    assert request_part(messages=[{"content": "hi", "role": "user"}]) == request_part()


def test_a_key_tells_rows_of_one_request_apart() -> None:
    """Id, metadata and parameters of the row are in the second part, its place is not."""
    moved = replace(PROMPT, index=9, file="b.jsonl", line=4)
    others = [
        replace(PROMPT, id="q4"),
        replace(PROMPT, metadata={"label": 2}),
        replace(PROMPT, params={"seed": 1}),
        replace(PROMPT, model="m"),
    ]
    assert row_digits(moved) == row_digits(PROMPT)
    assert len({row_digits(PROMPT), *map(row_digits, others)}) == 5
    whole = {request_key("p", REQUEST, other)[:REQUEST_DIGITS] for other in others}
    assert whole == {request_part()}


def test_a_row_without_an_id_is_the_same_wherever_it_stands() -> None:
    """The id that is only the index is not part of the key."""
    assert row_digits(Prompt(1, MESSAGES, 1)) == row_digits(Prompt(2, MESSAGES, 2))
    assert bad_row_key(BadRow(1, "bad JSON", 1, "a", 2)) == bad_row_key(BadRow(5, "bad JSON", 5))
    assert bad_row_key(BadRow(1, "bad JSON", 1)) != bad_row_key(BadRow(1, "not UTF-8", 1))


@given(values, values)
def test_every_value_has_a_key(one: Any, other: Any) -> None:
    """Whatever stands in messages, parameters or metadata, there is a key, twice the same."""
    messages = [{"role": "user", "content": one}]
    prompt = Prompt(0, messages, "x", metadata={"m": other})
    request = Request("m", messages, {"p": other})
    key = request_key("p", request, prompt)
    assert key == request_key("p", request, prompt)
    assert check_key(key) == bytes.fromhex(key)


def test_too_deep_a_value_has_a_key() -> None:
    """Nesting that no provider takes does not end the run."""
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    assert len(request_key("p", replace(REQUEST, params={"deep": deep}), PROMPT)) == KEY_DIGITS


@pytest.mark.parametrize("key", [None, 5, "", "ab" * 15, "zz" * 16, " " + "ab" * 16, "ab" * 17])
def test_what_is_no_key_is_refused(key: object) -> None:
    """A key is 32 hex digits and nothing else."""
    with pytest.raises((TypeError, ValueError)):
        check_key(key)
