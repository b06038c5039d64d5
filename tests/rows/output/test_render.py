"""The output formats: one outcome, one line."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.options import OutputFormat
from llmbatch_cli.core.types import Completion, Failure, Outcome, Racer
from llmbatch_cli.rows.output.render import render

ANSWERED = Outcome(
    index=0,
    id="q1",
    model="gpt-4o-mini",
    provider="openai",
    completion=Completion(
        text="Paris.",
        finish_reason="stop",
        native_finish_reason="stop",
        usage=Usage(24, 30, 54),
        model="gpt-4o-mini-2024-07-18",
        response_id="chatcmpl-7",
        request_id="req_9",
    ),
    latency_s=0.53149,
    attempts=1,
    metadata={"topic": "cities"},
    cost_usd=Decimal("0.0000216"),
)
FAILED = replace(
    ANSWERED,
    completion=None,
    error=Failure("rate_limited", "slow down", 429, True),
    attempts=3,
    cost_usd=None,
)
TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
}


def answered(completion: Completion) -> Outcome:
    return replace(ANSWERED, completion=completion)


def row(outcome: Outcome, format: OutputFormat = "jsonl", created: int = 0) -> dict[str, Any]:  # noqa: A002
    """The one line that the outcome renders to, read back."""
    data = render(outcome, format, created=created)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    value = json.loads(data)
    assert isinstance(value, dict)
    return value


# jsonl


def test_an_answered_row_has_the_contract_s_fields_in_its_order() -> None:
    """A plain answer is exactly the twelve constant fields."""
    assert render(ANSWERED, "jsonl") == (
        b'{"index":0,"id":"q1","model":"gpt-4o-mini-2024-07-18","provider":"openai",'
        b'"text":"Paris.","finish_reason":"stop",'
        b'"usage":{"prompt_tokens":24,"completion_tokens":30,"total_tokens":54},'
        b'"cost":0.0000216,"latency":0.531,"attempts":1,'
        b'"metadata":{"topic":"cities"},"error":null}\n'
    )


def test_a_row_of_a_run_says_when_it_ended() -> None:
    """Answered or not, in seconds since the epoch, to the millisecond."""
    for outcome in (ANSWERED, FAILED):
        row = json.loads(render(replace(outcome, finished_at=1_700_000_000.12349), "jsonl"))
        assert row["finished_at"] == 1_700_000_000.123


def test_a_failed_row_has_the_same_fields_and_its_error() -> None:
    """A failure has no text, no usage and no cost, and says what went wrong."""
    assert render(FAILED, "jsonl") == (
        b'{"index":0,"id":"q1","model":"gpt-4o-mini","provider":"openai",'
        b'"text":null,"finish_reason":null,"usage":null,'
        b'"cost":null,"latency":0.531,"attempts":3,'
        b'"metadata":{"topic":"cities"},"error":{"type":"rate_limited",'
        b'"message":"slow down","status":429,"retryable":true}}\n'
    )


def test_an_unreadable_row_has_neither_model_nor_latency() -> None:
    """What was never sent has null for all that only sending tells."""
    bad = Outcome(4, 4, None, None, error=Failure("invalid_row", "p.jsonl:5: bad JSON"))
    values = row(bad)
    assert [values[name] for name in ("model", "provider", "latency", "attempts")] == [
        None, None, None, 0,
    ]  # fmt: skip
    assert values["error"]["status"] is None


def test_optional_fields_appear_where_there_are_any() -> None:
    """Everything that only some answers have is carried when it is there."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": "a"}}]
    full = row(
        answered(
            Completion(
                text=None,
                finish_reason="tool_calls",
                native_finish_reason="tool_use",
                usage=Usage(1, 2, 3, cached_tokens=4, cache_write_tokens=0, reasoning_tokens=6),
                reasoning="hm",
                tool_calls=(TOOL_CALL,),
                choices=choices,
                extras={"logprobs": {"content": []}, "refusal": None, "citations": ["u"]},
            )
        )
    )
    assert full["model"] == "gpt-4o-mini"
    assert full["usage"] == {
        "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
        "cached_tokens": 4, "cache_write_tokens": 0, "reasoning_tokens": 6,
    }  # fmt: skip
    assert full["native_finish_reason"] == "tool_use"
    assert full["reasoning"] == "hm"
    assert full["tool_calls"] == [TOOL_CALL]
    assert full["choices"] == choices
    assert full["logprobs"] == {"content": []}
    assert full["citations"] == ["u"]
    assert "refusal" not in full
    assert "race" not in full


def test_an_extra_never_replaces_a_field_of_ours() -> None:
    """A provider cannot forge the fields that the contract owns."""
    forged = row(answered(Completion("a", extras={"text": "b", "error": "c", "index": 9})))
    assert (forged["text"], forged["error"], forged["index"]) == ("a", None, 0)


def test_a_race_row_tells_how_each_model_fared() -> None:
    """Every racer is listed in order with its status, latency and error."""
    failure = Failure("overloaded", "busy", 529, True)
    race = (
        Racer("m1", "p1", "won", 0.1234),
        Racer("m2", "p2", "cancelled", 0.12),
        Racer("m3", "p3", "failed", 0.1, 1, failure),
    )
    assert row(replace(ANSWERED, race=race))["race"] == [
        {"model": "m1", "provider": "p1", "status": "won", "latency": 0.123, "attempts": 1,
         "error": None},
        {"model": "m2", "provider": "p2", "status": "cancelled", "latency": 0.12, "attempts": 1,
         "error": None},
        {"model": "m3", "provider": "p3", "status": "failed", "latency": 0.1, "attempts": 1,
         "error": {"type": "overloaded", "message": "busy", "status": 529, "retryable": True}},
    ]  # fmt: skip


# text


@pytest.mark.parametrize(
    ("one_line", "expected"), [(False, b"a\\b\nc\r\n"), (True, b"a\\\\b\\nc\\r\n")]
)
def test_text_is_the_answer_alone(one_line: bool, expected: bytes) -> None:
    """The text stands as it is, or escaped so that it is one line."""
    assert render(answered(Completion("a\\b\nc\r")), "text", one_line=one_line) == expected


@pytest.mark.parametrize("outcome", [FAILED, answered(Completion(None, tool_calls=(TOOL_CALL,)))])
def test_a_row_without_text_is_an_empty_line(outcome: Outcome) -> None:
    """Lines still pair with their prompts when one of them has no text."""
    assert render(outcome, "text", one_line=True) == b"\n"


@given(st.text())
def test_one_line_text_is_one_line_and_can_be_undone(text: str) -> None:
    """With one_line, any text is one line, from which it can be read back."""
    line = render(answered(Completion(text)), "text", one_line=True)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    meaning = {"\\": "\\", "n": "\n", "r": "\r"}
    assert re.sub(r"\\(.)", lambda match: meaning[match[1]], line[:-1].decode()) == text


# chat and openai


def test_chat_is_the_bare_completion() -> None:
    """The chat format is OpenAI's chat.completion with every field it requires."""
    assert row(ANSWERED, "chat", created=1700000000) == {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 24, "completion_tokens": 30, "total_tokens": 54},
    }


def test_chat_carries_what_the_message_has_besides_text() -> None:
    """Reasoning, tool calls, refusal and the rest stand where OpenAI has them."""
    chat = row(
        answered(
            Completion(
                None,
                usage=Usage(1, 2, 3, cached_tokens=1, reasoning_tokens=2),
                reasoning="hm",
                tool_calls=(TOOL_CALL,),
                extras={
                    "refusal": "no",
                    "logprobs": {},
                    "annotations": [1],
                    "thinking_blocks": [2],
                    "citations": ["u"],
                },
            )
        ),
        "chat",
    )
    (choice,) = chat["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm",
        "tool_calls": [TOOL_CALL], "annotations": [1], "thinking_blocks": [2],
    }  # fmt: skip
    assert choice["logprobs"] == {}
    assert chat["citations"] == ["u"]
    assert chat["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    assert chat["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_chat_keeps_all_choices() -> None:
    """With n over 1 the provider's choices are given as they came."""
    choices = [{"index": i, "message": {"content": str(i)}} for i in range(3)]
    assert row(answered(Completion("0", choices=choices)), "chat")["choices"] == choices


def test_a_failed_chat_row_is_openai_s_error_object() -> None:
    """A program that reads OpenAI's replies understands the failure."""
    assert row(FAILED, "chat") == {
        "error": {
            "message": "slow down", "type": "rate_limited", "param": None, "code": "rate_limited",
        }
    }  # fmt: skip


def test_an_openai_line_wraps_the_completion() -> None:
    """An answer is a batch output line with status 200 and the completion as its body."""
    line = row(ANSWERED, "openai", created=5)
    assert line.pop("id").startswith("batch_req_")
    assert line == {
        "custom_id": "q1",
        "response": {
            "status_code": 200,
            "request_id": "req_9",
            "body": row(ANSWERED, "chat", created=5),
        },
        "error": None,
    }


def test_an_openai_line_of_a_refused_request_has_its_status() -> None:
    """A failure that the provider answered has the status, its body, and an error."""
    line = row(FAILED, "openai")
    assert line["response"] == {
        "status_code": 429, "request_id": "", "body": row(FAILED, "chat"),
    }  # fmt: skip
    assert line["error"] == {"code": "rate_limited", "message": "slow down"}


@pytest.mark.parametrize("status", [None, 200])
def test_an_openai_line_without_an_error_status_has_no_response(status: int | None) -> None:
    """No failure can be taken for a success by its status 200."""
    failed = replace(FAILED, error=Failure("bad_reply", "cut short", status))
    line = row(failed, "openai")
    assert line["response"] is None
    assert line["error"]["code"] == "bad_reply"


def test_an_openai_line_s_id_is_the_row_s_own() -> None:
    """The id is the same in every run, and another for every row."""
    others = [replace(ANSWERED, index=1), replace(ANSWERED, id="q2"), replace(ANSWERED, id=1)]
    ids = {row(outcome, "openai")["id"] for outcome in [ANSWERED, *others]}
    assert len(ids) == 4
    assert row(ANSWERED, "openai")["id"] == row(FAILED, "openai")["id"]


# Any outcome at all

TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates too
CLEAN_TEXTS = st.text()
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | CLEAN_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CLEAN_TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, TEXTS | JSONS, max_size=3)
IDS = TEXTS | st.integers()
TOKENS = st.none() | st.integers(0, 2**40)
SECONDS = st.floats(0, 1e6)
FAILURES = st.builds(
    Failure, kind=TEXTS, message=TEXTS, status=st.none() | st.integers(0, 999),
    retryable=st.booleans(),
)  # fmt: skip
COMPLETIONS = st.builds(
    Completion,
    text=st.none() | TEXTS,
    finish_reason=st.sampled_from([None, "stop", "length", "tool_calls", "content_filter"]),
    native_finish_reason=st.none() | TEXTS,
    usage=st.none() | st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS),
    model=st.none() | TEXTS,
    reasoning=st.none() | TEXTS,
    tool_calls=st.lists(OBJECTS, max_size=2),
    choices=st.lists(OBJECTS, max_size=2),
    extras=OBJECTS,
    response_id=st.none() | TEXTS,
    request_id=st.none() | TEXTS,
    cost_usd=st.none() | st.floats(),
    limits=st.none(),
)
RACERS = st.builds(
    Racer, TEXTS, TEXTS, st.sampled_from(["won", "lost", "cancelled", "failed"]), SECONDS,
    st.none() | FAILURES,
)  # fmt: skip


@st.composite
def outcomes(
    draw: st.DrawFn,
    ids: st.SearchStrategy[Any] = IDS,
    metadata: st.SearchStrategy[Any] = OBJECTS,
) -> Outcome:
    completion = draw(st.none() | COMPLETIONS)
    return Outcome(
        index=draw(st.integers(0, 2**40)),
        id=draw(ids),
        model=draw(st.none() | TEXTS),
        provider=draw(st.none() | TEXTS),
        completion=completion,
        error=draw(FAILURES) if completion is None else None,
        latency_s=draw(st.none() | SECONDS),
        attempts=draw(st.integers(0, 99)),
        metadata=draw(metadata),
        race=draw(st.lists(RACERS, max_size=2)),
        cost_usd=draw(st.none() | st.decimals(0, 1000)),
    )


@given(outcomes(), st.sampled_from(["jsonl", "openai", "chat"]))
def test_any_outcome_is_one_line_of_json(outcome: Outcome, format: OutputFormat) -> None:  # noqa: A002
    """Whatever a model or a row holds, its output is one line that any reader can read."""
    line = render(outcome, format)
    assert isinstance(orjson.loads(line), dict)
    row(outcome, format)


@given(
    outcomes(
        ids=CLEAN_TEXTS | st.integers(),
        metadata=st.dictionaries(CLEAN_TEXTS, JSONS, max_size=4),
    )
)
def test_index_id_and_metadata_come_back(outcome: Outcome) -> None:
    """A row is told by what it came with: index, id and metadata are never changed."""
    values = row(outcome)
    assert values["index"] == outcome.index
    assert values["id"] == outcome.id
    assert values["metadata"] == outcome.metadata
    assert (values["error"] is None) == (outcome.error is None)


@given(outcomes(), st.booleans())
def test_any_outcome_has_a_text_line(outcome: Outcome, one_line: bool) -> None:
    """The text format is UTF-8 that ends with a newline, whatever the model said."""
    assert render(outcome, "text", one_line=one_line).decode().endswith("\n")


def test_a_split_character_is_joined_and_half_of_one_replaced() -> None:
    """Surrogates become what they stand for, or U+FFFD; the rest of the row stays."""
    values = row(replace(ANSWERED, completion=Completion("\ud83d\ude00 \ud83d!")))
    assert values["text"] == "\N{GRINNING FACE} \ufffd!"
    assert values["metadata"] == ANSWERED.metadata


class UnsupportedParameter:
    def __str__(self) -> str:
        return "said"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10**30, 10**30),
        (MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}),
        ({1: "a"}, {"1": "a"}),
        (UnsupportedParameter(), "said"),
        (float("nan"), None),
    ],
)
def test_values_that_json_lacks_are_written_all_the_same(value: object, expected: object) -> None:
    """Metadata from Python code cannot lose a paid answer."""
    metadata: Mapping[str, Any] = {"x": value}
    values = row(replace(ANSWERED, metadata=metadata))
    assert values["metadata"] == {"x": expected}
    assert values["text"] == "Paris."


def test_a_huge_integer_is_written_as_its_hex_text() -> None:
    """An integer that Python will not turn into digits does not lose the row."""
    assert row(replace(ANSWERED, metadata={"x": 1 << 20000}))["metadata"]["x"].startswith("0x1000")


def test_deep_metadata_is_cut_and_the_answer_kept() -> None:
    """Nesting that orjson reads but does not write costs the depth, not the answer."""
    values = row(replace(ANSWERED, metadata={"x": orjson.loads("[" * 1000 + "]" * 1000)}))
    assert values["text"] == "Paris."
    assert values["metadata"]["x"] != []
