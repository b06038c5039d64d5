"""Sampling parameters: which values are valid, and how an invalid one is reported."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import InputError
from llmbatch_cli.rows.input.params import PARAMETERS, check, check_all, quoted, shown

UNHURRIED = settings(deadline=None)
TAKEN: dict[str, list[object]] = {
    "temperature": [0, 0.7, 2, 5],
    "top_p": [0, 0.1, 1],
    "max_tokens": [1, 100_000, -1],
    "max_completion_tokens": [1],
    "stop": ["\n", ["a", "b"]],
    "seed": [0, -7, 2**40],
    "n": [1, 8],
    "presence_penalty": [-2, 0.5],
    "frequency_penalty": [-2, 0.5],
    "logit_bias": [{}, {"50256": -100}],
    "logprobs": [True, False, 5],
    "top_logprobs": [0, 20],
    "tools": [[], [{"type": "function", "function": {"name": "f"}}]],
    "tool_choice": ["auto", {"type": "function", "function": {"name": "f"}}],
    "parallel_tool_calls": [False],
    "response_format": [{"type": "json_object"}],
    "reasoning_effort": ["low", "a-level-of-next-year"],
    "user": ["u-1", ""],
    "extra_body": [{"top_k": 5}],
    "extra_headers": [{"x-trace": "a b"}],
}
REFUSED: dict[str, list[object]] = {
    "temperature": ["hot", -0.1, True, math.nan, math.inf, [1]],
    "top_p": [1.1, -1, "1"],
    "max_tokens": [0, -2, 1.5, "100", True],
    "max_completion_tokens": [0],
    "stop": ["", [""], [1], {"a": 1}],
    "seed": ["1", 1.5],
    "n": [0, 1.5],
    "presence_penalty": ["x"],
    "frequency_penalty": [False],
    "logit_bias": [{"a": "b"}, []],
    "logprobs": ["yes", -1],
    "top_logprobs": [-1],
    "tools": [{"type": "function"}, ["f"]],
    "tool_choice": [5, ""],
    "parallel_tool_calls": [1],
    "response_format": ["json"],
    "reasoning_effort": [3],
    "user": [7],
    "extra_body": ["{}", {1: 2}],
    "extra_headers": [{"X": 1}, {"a b": "c"}, {"X": "a\r\nY: b"}, {"X": "\N{SNOWMAN}"}],
}


def test_every_parameter_has_its_examples() -> None:
    """The tables of this file leave no parameter out."""
    assert TAKEN.keys() == REFUSED.keys() == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_that_a_provider_may_take_pass_unchanged(name: str) -> None:
    """A value of the right type is sent as it is."""
    for value in TAKEN[name]:
        assert check(name, value) == value


@pytest.mark.parametrize("name", PARAMETERS)
def test_values_that_no_provider_takes_are_refused_by_name(name: str) -> None:
    """The message names the parameter, what it must be and what it is."""
    for value in REFUSED[name]:
        with pytest.raises(InputError, match=f"^{name}(: | must be .*, not )") as caught:
            check(name, value)
        assert len(caught.value.message) < 160


def test_a_reason_reads_as_a_sentence() -> None:
    """The message says what is expected in plain words."""
    with pytest.raises(InputError) as caught:
        check("temperature", "hot")
    assert caught.value.message == 'temperature must be a number >= 0, not "hot"'


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x": "y", "a b": "c"}, '"a b" is not a valid header name'),
        ({"x-n": 1}, '"x-n" must be a string'),
        ({"x-key": "secret\n"}, '"x-key" has a line break or another invalid character'),
    ],
)
def test_a_wrong_header_is_named_and_its_text_is_not(headers: dict[str, Any], words: str) -> None:
    """Headers hold keys, and a key read from a file often ends in a line break."""
    with pytest.raises(InputError) as caught:
        check("extra_headers", headers)
    assert words in caught.value.message
    assert "secret" not in caught.value.message


def test_whole_numbers_written_as_floats_are_whole() -> None:
    """100.0, as tables are often exported, is sent as 100."""
    value = check("max_tokens", 100.0)
    assert (value, type(value)) == (100, int)


def test_null_is_as_good_as_absent() -> None:
    """A null parameter is dropped, whatever its name."""
    assert check_all({"temperature": None, "top_k": None, "seed": 1}) == {"seed": 1}


def test_both_names_of_the_token_bound_are_one() -> None:
    """The name that was written is sent (mnfst/llm-gateway 1878), as a server may
    know only that one; two different values are an error."""
    assert check_all({"max_completion_tokens": 5}) == {"max_completion_tokens": 5}
    assert check_all({"max_tokens": 5, "max_completion_tokens": 5}) == {"max_tokens": 5}
    with pytest.raises(InputError, match="the same parameter"):
        check_all({"max_tokens": 5, "max_completion_tokens": 6})


def test_unknown_names_go_to_the_wire() -> None:
    """An unknown parameter is sent in extra_body, whose own fields win."""
    params = check_all({"top_k": 40, "min_p": 0.1, "extra_body": {"top_k": 5}})
    assert params == {"extra_body": {"top_k": 5, "min_p": 0.1}}


@UNHURRIED
@given(st.text() | st.integers() | st.floats() | st.lists(st.text()) | st.binary() | st.none())
def test_a_value_in_a_message_is_short_and_printable(value: object) -> None:
    """Nothing that stands in a row can break or flood the message about it."""
    assert shown(value).isprintable()
    assert len(shown(value)) <= 62


def test_quoting_shows_what_cannot_be_seen() -> None:
    """Control and surrogate characters are shown as escapes, long texts are cut."""
    assert quoted("a\x1b[2J\ud800é") == '"a\\x1b[2J\\ud800é"'
    assert quoted("x" * 10_000_000) == '"' + "x" * 59 + '…"'
    assert shown(10**5000) == "a very large number"
