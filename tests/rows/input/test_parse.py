"""One JSON value, one row: each shape, and each way to get it wrong."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.types import BadRow, Failure, Outcome, Prompt
from llmbatch_cli.rows.input.own_params import NAMES
from llmbatch_cli.rows.input.params import API_KEYS, PARAMETERS
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
        ({"prompt": [SYSTEM, USER], "completion": [USER]}, [SYSTEM, USER]),  # TRL
        ({"prompt": [USER], "system": "be brief"}, [SYSTEM, USER]),
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
        "max_completion_tokens": 5,
        "extra_body": {"store": True, "metadata": {"team": "a"}},
    }
    assert row.metadata == {"note": "kept"}


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("/chat/completions", "m"),
        ("/v1/chat/completions", "m"),
        ("/openai/v1/chat/completions", "m"),
        ("https://api.openai.com/v1/chat/completions", "m"),
        ("/openai/deployments/d/chat/completions?api-version=2024-10-21", "d"),
    ],
)
def test_batch_lines_of_azure_are_read(url: str, model: str) -> None:
    """Azure's own sample has no /v1 (mozilla-ai/any-llm PR 1348); a deployment's URL
    names the model where the body does not."""
    body = {"messages": [USER], "top_k": 1}
    if model == "m":
        body["model"] = "m"
    row = good({"custom_id": "a", "method": "POST", "url": url, "body": body})
    assert (row.id, row.model, row.messages) == ("a", model, [USER])
    assert row.params == {"extra_body": {"top_k": 1}}


FUNCTION = {"name": "f", "parameters": {"type": "object"}, "strict": True}


def test_a_batch_line_of_the_responses_api_asks_the_same() -> None:
    """Its fields get the names of chat completions (openai/openai-python 2497)."""
    body = {
        "model": "gpt-4o-mini",
        "instructions": "be brief",
        "input": "hi",
        "max_output_tokens": 9,
        "temperature": 0,
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        "tools": [{"type": "function", **FUNCTION}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"},
        "include": ["message.output_text.logprobs"],
        "store": False,
        "stream": True,
    }
    row = good({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body})
    assert (row.id, row.model, row.messages) == ("a", "gpt-4o-mini", [SYSTEM, USER])
    assert row.params == {
        "max_tokens": 9,
        "temperature": 0,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "tools": [{"type": "function", "function": FUNCTION}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "logprobs": True,
        "extra_body": {"store": False, "verbosity": "low"},
    }


def test_the_items_of_a_responses_input_are_messages() -> None:
    """Parts, calls and their results have their places in a conversation."""
    call = {"call_id": "c", "name": "f", "arguments": "{}"}
    given = [
        {"role": "developer", "content": "be brief"},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "data:,", "detail": "low"},
                {"type": "input_file", "file_id": "f-1"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "ok", "annotations": []}],
        },
        {"type": "function_call", "id": "fc", "status": "completed", **call},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
    ]
    row = good({"custom_id": "a", "url": "/v1/responses", "body": {"input": given}})
    assert row.messages == [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}},
                {"type": "file", "file": {"file_id": "f-1"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "ok"}], "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]


def test_parameters_of_any_api_are_sent() -> None:
    """As with --param (sgl-project/sglang 28179); `extra_body` itself wins."""
    row = good(
        {
            "prompt": "hi",
            "top_k": 5.0,
            "min_p": 0.1,
            "repetition_penalty": None,
            "chat_template_kwargs": {"enable_thinking": False},
            "guided_json": {"type": "object"},
            "thinking": {"type": "disabled"},
            "extra_body": {"min_p": 0.2, "x": 1},
            "note": 1,
        }
    )
    assert row.params["extra_body"] == {
        "top_k": 5,
        "min_p": 0.2,
        "chat_template_kwargs": {"enable_thinking": False},
        "guided_json": {"type": "object"},
        "thinking": {"type": "disabled"},
        "x": 1,
    }
    assert type(row.params["extra_body"]["top_k"]) is int
    assert row.metadata == {"repetition_penalty": None, "note": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": "Let me see ..."},
        {"reasoning": "2 + 2 is 4", "prediction": 4},
        {"options": ["A", "B"], "provider": "openai", "grammar": "bad"},
        {"options": {"A": "yes"}, "provider": {"name": "x"}, "audio": {"path": "a.wav"}},
        {
            "verbosity": 3,
            "store": "Berlin",
            "service_tier": "gold",
            "modalities": ["text", "image"],
        },
        {"priority": 1, "format": "json", "documents": [], "k": 5, "metadata": {}, "functions": 2},
        {"regex": "a+", "json_schema": {}, "session_id": "s", "request_id": "r", "bad_words": 3},
    ],
)
def test_columns_of_data_are_not_sent(fields: dict[str, Any]) -> None:
    """Names that may be a data set's own are sent only in the form that the parameter has."""
    row = good({"prompt": "hi", **fields})
    assert (row.params, row.metadata) == ({}, fields)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, 1), (0.0, 0), (-0.0, 0), (1e3, 1000), ("1.0", "1.0"), (2**64 - 1, 2**64 - 1)],
)
def test_an_id_that_is_whole_is_a_whole_number(value: object, expected: object) -> None:
    """pandas writes a column of ids as 1.0 where one is missing (Cloud-CV/EvalAI 3889)."""
    found = good({"id": value, "prompt": "hi"}).id
    assert (found, type(found)) == (expected, type(expected))


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
    ({"prompt": 5}, '"prompt" must be a string or a list of messages, not 5'),
    ({"prompt": ["a", "b"]}, '"prompt" must be a string or a list of messages, not a list'),
    ({"prompt": [USER, 1]}, '"prompt"[1]: a message is an object, not 1'),
    ({"prompt": None}, '"prompt" is null'),
    ({}, 'no "prompt" or "messages"; the row is empty'),
    (
        {"text": "x", "label": 1},
        'no "prompt" or "messages"; the row has: text, label '
        "(jq -c '(arrays[] // .) | .prompt = .text' FILE)",
    ),
    (
        {"answer": "x", "label": 1},
        'no "prompt" or "messages"; the row has: answer, label '
        '(rename the field that is the prompt to "prompt")',
    ),
    (
        {"data": [{"prompt": "x"}]},
        'no "prompt" or "messages"; the row has: data (jq -c \'.data[]\' FILE)',
    ),
    (
        {"custom_id": "a", "params": {"messages": [USER]}},  # Anthropic's batch API
        'no "prompt" or "messages"; the row has: custom_id, params '
        "(jq -c '(arrays[] // .) | {id: .custom_id} + .params' FILE)",
    ),
    (
        {"key": "a", "request": {"contents": [{"parts": [{"text": "x"}]}]}},  # Gemini's
        'no "prompt" or "messages"; the row has: key, request '
        "(jq -c '(arrays[] // .) | {id: .key, prompt: .request.contents[0].parts[0].text}' FILE)",
    ),
    (
        {"text": "Paris.", "finish_reason": "stop"},
        'no "prompt" or "messages"; the row has: text, finish_reason (it is an answer: name the '
        "input of that run; llmbatch errors --rows has failed rows)",
    ),
    (
        {"instruction": "add", "input": "1 2", "output": "3"},  # alpaca
        'no "prompt" or "messages"; the row has: instruction, input, output '
        r"""(jq -c '(arrays[] // .) | .prompt = .instruction + "\n\n" + .input' FILE)""",
    ),
    (
        {"conversations": [{"from": "human", "value": "hi"}]},  # NVIDIA-NeMo/Automodel PR 2375
        'no "prompt" or "messages"; the row has: conversations '
        "(jq -c '(arrays[] // .) | .prompt = .conversations[0].value' FILE)",
    ),
    ({"prompt": "a", "top_k": "5"}, 'top_k must be a whole number, not "5"'),
    (
        {"prompt": "a", "chat_template_kwargs": "{}"},
        'chat_template_kwargs must be an object, not "{}"',
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
        '"url" must be that of chat completions or responses, as in "/v1/chat/completions", '
        'not "/v1/embeddings"',
    ),
    (
        {"custom_id": "c", "url": "/v1/completions", "body": {"prompt": "a"}},
        '"url" must be that of chat completions or responses, as in "/v1/chat/completions", '
        'not "/v1/completions"',
    ),
    ({"custom_id": "c", "url": "/v1/responses", "body": {}}, '"body" has no "input"'),
    (
        {"custom_id": "c", "url": "/v1/responses", "body": {"input": [{"type": "reasoning"}]}},
        '"body"."input"[0]: items of the type "reasoning" cannot be read',
    ),
    (
        {"custom_id": "c", "url": "/v1/responses", "body": {"input": "a", "background": True}},
        '"body"."background" asks for an answer later, which cannot be read',
    ),
    (
        {"custom_id": "c", "url": "/v1/responses", "body": {"input": [], "text": 1}},
        '"body"."text" must be an object, not 1',
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
        st.text().filter(lambda name: name not in {*OWN, *PARAMETERS, *NAMES, *API_KEYS}),
        st.builds(object),
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
