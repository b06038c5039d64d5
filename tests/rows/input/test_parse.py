"""One JSON value, one row: each shape, and each way to get it wrong."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.types import BadRow, Failure, Outcome, Prompt
from llmbatch_cli.rows.input.params import PARAMETERS
from llmbatch_cli.rows.input.parse import parse_row
from llmbatch_cli.rows.output.render import render

UNHURRIED = settings(deadline=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OWN = ["id", "custom_id", "prompt", "system", "messages", "model", "models", "body", "url", "role"]
ROWS = st.dictionaries(st.sampled_from([*OWN, *PARAMETERS]) | st.text(max_size=3), JSON)
USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be brief"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def good(value: object) -> Prompt:
    row = parse_row(value, index=7, file="f.jsonl", line=9)
    assert isinstance(row, Prompt), row
    assert (row.index, row.file, row.line) == (7, "f.jsonl", 9)
    return row


def bad(value: object) -> BadRow:
    row = parse_row(value, index=7, file="f.jsonl", line=9)
    assert isinstance(row, BadRow), row
    assert (row.index, row.place) == (7, "f.jsonl:9")
    return row


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("hi", [USER]),
        ({"prompt": "hi"}, [USER]),
        ({"prompt": "hi", "messages": None, "system": None}, [USER]),
        ({"prompt": "hi", "system": "be brief"}, [SYSTEM, USER]),
        ({"prompt": "hi", "system": ""}, [USER]),
        ({"messages": [USER]}, [USER]),
        ({"messages": [USER], "system": "be brief"}, [SYSTEM, USER]),
        ([SYSTEM, USER], [SYSTEM, USER]),
        ({"custom_id": "x", "body": {"messages": [USER]}}, [USER]),
    ],
)
def test_every_shape_is_the_same_messages(value: object, messages: list[object]) -> None:
    """The accepted shapes are told apart by themselves."""
    assert good(value).messages == messages


@pytest.mark.parametrize(
    "message",
    [
        {"role": "developer", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": ""}},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
        {"role": "function", "content": "42", "name": "f"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "user", "content": "hi", "name": "ann", "a_field_of_next_year": 1},
    ],
)
def test_messages_are_sent_as_they_are(message: dict[str, Any]) -> None:
    """What a chat endpoint takes is not changed."""
    assert good([message]).messages == [message]


def test_an_openai_batch_line_gives_what_its_body_says() -> None:
    """`custom_id` names the row; the body's model, messages and parameters count."""
    row = good(
        {
            "custom_id": "q1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "gpt-4o-mini",
                "messages": [USER],
                "max_completion_tokens": 5,
                "temperature": None,
                "store": True,
                "metadata": {"team": "a"},
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            "note": "kept",
        }
    )
    assert (row.id, row.model, row.messages) == ("q1", "gpt-4o-mini", [USER])
    assert row.params == {
        "max_tokens": 5,
        "extra_body": {"store": True, "metadata": {"team": "a"}},
    }
    assert row.metadata == {"note": "kept"}


def test_fields_go_where_they_belong() -> None:
    """Model, racers and parameters are read; every other field is metadata, as it is."""
    row = good(
        {
            "id": 12,
            "prompt": "hi",
            "model": "m",
            "models": ["a", "b"],
            "temperature": 0,
            "seed": None,
            "extra_body": {"top_k": 1},
            "label": {"deep": [1, None]},
            "metadata": "mine",
            "custom_id": "second name",
        }
    )
    assert (row.id, row.model, row.models) == (12, "m", ("a", "b"))
    assert row.params == {"temperature": 0, "extra_body": {"top_k": 1}}
    assert row.metadata == {
        "label": {"deep": [1, None]},
        "metadata": "mine",
        "custom_id": "second name",
    }


@pytest.mark.parametrize(
    ("row", "row_id"),
    [
        ({"prompt": "hi"}, 7),
        ({"prompt": "hi", "id": None}, 7),
        ({"prompt": "hi", "id": ""}, ""),
        ({"prompt": "hi", "id": 0}, 0),
        ({"prompt": "hi", "id": None, "custom_id": "c"}, "c"),
        ({"custom_id": "c", "id": "i", "body": {"messages": [USER]}}, "c"),
        ("hi", 7),
    ],
)
def test_a_row_without_a_name_is_named_by_its_place(row: object, row_id: object) -> None:
    """`id`, else `custom_id`, else the index; in a batch line `custom_id` comes first."""
    assert good(row).id == row_id


REASONS: list[tuple[object, str]] = [
    (5, "a row is text, an object or a list of messages, not 5"),
    (None, "a row is text, an object or a list of messages, not null"),
    ("", "the prompt is empty"),
    (" \n\u2003", "the prompt is empty"),
    ({"prompt": " "}, "the prompt is empty"),
    ({"id": "a", "prompt": ""}, "the prompt is empty"),
    ({"prompt": 5}, '"prompt" must be a string, not 5'),
    ({"prompt": [USER]}, '"prompt" must be a string, not a list'),
    ({"prompt": None}, '"prompt" is null'),
    ({}, 'no "prompt" or "messages"; the row is empty'),
    (
        {"text": "x", "label": 1},
        'no "prompt" or "messages"; the row has: text, label (name the field to send "prompt")',
    ),
    (
        {"prompt": "a", "messages": [USER]},
        'both "prompt" and "messages": it is ambiguous which to send',
    ),
    ({"prompt": "a", "system": 5}, '"system" must be a string, not 5'),
    (
        {"messages": [SYSTEM, USER], "system": "other"},
        'both "system" and a system message: it is ambiguous which to send',
    ),
    ({"messages": "hi"}, '"messages" must be a list of messages, not "hi"'),
    ({"messages": []}, '"messages" is empty'),
    ([], "the list of messages is empty"),
    ({"messages": [USER, "hi"]}, '"messages"[1]: a message is an object, not "hi"'),
    ({"messages": [{"content": "hi"}]}, '"messages"[0]: no "role"'),
    ({"messages": [{"role": 5}]}, '"messages"[0]: "role" must be a string, not 5'),
    (
        {"messages": [USER, {"role": "robot", "content": "x"}]},
        '"messages"[1]: unknown role "robot" (known: system, developer, user, assistant, tool)',
    ),
    ({"messages": [{"role": "user"}]}, '"messages"[0]: no "content"'),
    (
        {"messages": [{"role": "assistant", "content": None}]},
        "the prompt is empty: no message has any content",
    ),
    (
        {"messages": [{"role": "user", "content": 5}]},
        '"messages"[0]: "content" must be a string or a list of parts, not 5',
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, 5]}]},
        '"messages"[0]: a part of "content" is an object, not 5',
    ),
    (
        {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
        '"messages"[0]: a part of "content" has no "type"',
    ),
    (
        {"messages": [{"role": "user", "content": " "}, {"role": "user", "content": []}]},
        "the prompt is empty: no message has any content",
    ),
    (
        ["a prompt", "another"],
        'a list is the messages of one prompt, and its first item has no "role" '
        "(write one JSON value per line: jq -c '.[]' FILE)",
    ),
    ({"id": 1.5, "prompt": "a"}, '"id" must be a string or a whole number, not 1.5'),
    ({"id": True, "prompt": "a"}, '"id" must be a string or a whole number, not true'),
    ({"prompt": "a", "model": 5}, '"model" must be a model name, not 5'),
    ({"prompt": "a", "model": ""}, '"model" must be a model name, not ""'),
    ({"prompt": "a", "models": "m"}, '"models" must be a list of model names, not "m"'),
    ({"prompt": "a", "models": [1]}, '"models" must be a list of model names, and has 1'),
    ({"prompt": "a", "temperature": "hot"}, 'temperature must be a number >= 0, not "hot"'),
    (
        {"custom_id": "c", "url": "/v1/embeddings", "body": {"input": "a"}},
        '"url" must be "/v1/chat/completions", the one supported, not "/v1/embeddings"',
    ),
    ({"custom_id": "c", "method": "GET", "body": {}}, '"method" must be "POST", not "GET"'),
    (
        {"custom_id": "c", "url": "/v1/chat/completions"},
        '"body" must be an object, not null',
    ),
    ({"custom_id": "c", "body": {"model": "m"}}, '"body" has no "messages"'),
    (
        {"custom_id": "c", "body": {"messages": [USER, 1]}},
        '"body"."messages"[1]: a message is an object, not 1',
    ),
]


@pytest.mark.parametrize(("value", "reason"), REASONS)
def test_a_bad_row_says_what_is_wrong(value: object, reason: str) -> None:
    """Each mistake has its sentence, which names the field."""
    assert bad(value).reason == reason


def test_a_bad_row_keeps_its_name_and_metadata() -> None:
    """What could be read of a bad row is in its error row, so that it can be found again."""
    row = bad({"id": "q", "prompt": "a", "temperature": "hot", "label": 1})
    assert (row.id, row.metadata) == ("q", {"label": 1})
    row = bad({"custom_id": "q", "id": "i", "url": "/v1/responses", "body": {}, "label": 1})
    assert (row.id, row.metadata) == ("q", {"label": 1, "id": "i"})
    assert bad({"id": [1], "prompt": "a"}).id == 7


def test_values_from_python_may_be_mappings_and_tuples() -> None:
    """Whatever acts as an object or a list is one."""
    assert good(MappingProxyType({"prompt": "hi", "id": 1})).messages == [USER]
    assert list(good((SYSTEM, USER)).messages) == [SYSTEM, USER]


@UNHURRIED
@given(JSON | ROWS)
def test_any_value_is_one_row(value: object) -> None:
    """Any JSON value gives a prompt that says something, or a reason short enough to read."""
    row = parse_row(value, index=3)
    assert row.index == 3
    if isinstance(row, BadRow):
        assert row.reason.isprintable()
        assert len(row.reason) < 200
        failed = Outcome(3, row.id, None, None, error=Failure("invalid_row", row.reason))
        assert render(failed, "jsonl").endswith(b"\n")
    else:
        assert all(isinstance(message["role"], str) for message in row.messages)
        assert None not in row.params.values()


@UNHURRIED
@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in {*OWN, *PARAMETERS}), st.builds(object)
    )
)
def test_metadata_is_carried_unchanged(fields: dict[str, object]) -> None:
    """Every field that means nothing to us comes out as it went in, whatever the row is."""
    for row in (
        good({**fields, "id": "a", "prompt": "hi"}),
        good({"prompt": "hi", **fields, "temperature": 1}),
        bad({**fields, "prompt": ""}),
    ):
        assert list(row.metadata) == [*fields]
        for name, value in fields.items():
            assert row.metadata[name] is value


@UNHURRIED
@given(
    st.text(min_size=1).map(lambda text: text * 2000), st.sampled_from([*OWN, "temperature", "odd"])
)
def test_a_reason_never_carries_a_long_or_unprintable_value(text: str, field: str) -> None:
    """However long or strange a value or a name is, the reason about it is one short line."""
    rows: list[object] = [{field: text}, {text: field}, [{"role": text}], {"prompt": {text: 1}}]
    for value in rows:
        row = parse_row(value, index=0)
        if isinstance(row, BadRow):
            assert len(row.reason) < 200
            assert row.reason.isprintable()
