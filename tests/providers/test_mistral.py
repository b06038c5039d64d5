"""Mistral: the differences from OpenAI in what is sent."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.mistral.provider import Mistral, call_id

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]


def body(messages: list[dict[str, Any]], **params: Any) -> Any:
    provider = Mistral(Settings("mistral", "https://api.mistral.ai/v1", "key"))
    wire = provider.build(Request("magistral-small", messages, params))
    assert wire.url == "https://api.mistral.ai/v1/chat/completions"
    return orjson.loads(wire.body)


def test_parameters_by_their_own_names() -> None:
    """The seed is random_seed, the bound max_tokens, and the rest as with OpenAI."""
    said = body(HI, seed=1, max_tokens=2, temperature=0, prompt_mode="reasoning", safe_prompt=True)
    assert said == {
        "model": "magistral-small",
        "messages": HI,
        "random_seed": 1,
        "max_tokens": 2,
        "temperature": 0,
        "prompt_mode": "reasoning",
        "safe_prompt": True,
    }


def test_a_stream_is_asked_for_without_options() -> None:
    """A stream has no stream_options: Mistral forbids fields that it does not know."""
    provider = Mistral(Settings("mistral", "https://api.mistral.ai/v1", "key"))
    said = orjson.loads(provider.build(Request("m", HI, {}, stream=True)).body)
    assert said == {"model": "m", "messages": HI, "stream": True}


@pytest.mark.parametrize(("name", "value"), [("logit_bias", {"1": 1}), ("user", "u")])
def test_what_it_has_no_words_for(name: str, value: Any) -> None:
    """What Mistral forbids is told by its name; one choice is always sayable."""
    with pytest.raises(UnsupportedParameter, match=name):
        body(HI, **{name: value})
    assert body(HI, n=1)["n"] == 1


def test_thoughts_go_back() -> None:
    """The thoughts of an earlier answer become a thinking chunk before its text."""
    said = body([*HI, {"role": "assistant", "content": "So.", "reasoning_content": "Hm."}])
    assert said["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
            {"type": "text", "text": "So."},
        ],
    }


def test_call_ids_agree() -> None:
    """A call's id becomes nine letters and digits, the same in the call and in its result."""
    call = {"id": "call_abc-123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        *HI,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_abc-123", "content": "42"},
    ]
    said = body(messages)["messages"]
    assert said[1]["tool_calls"][0]["id"] == said[2]["tool_call_id"] == call_id("call_abc-123")
    assert call["id"] == "call_abc-123"


@given(st.text(max_size=40))
def test_every_id_has_the_form(name: str) -> None:
    """Every id has the form that Mistral demands, and one that has it already stays."""
    made = call_id(name)
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", made)
    assert call_id(made) == made


def test_nulls_are_nothing() -> None:
    """Fields of OpenAI's answers that hold nothing are left out."""
    said = body([*HI, {"role": "assistant", "content": "A", "refusal": None, "annotations": []}])
    assert said["messages"][1] == {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "content": "x"},
        {"role": "user", "content": "x", "name": "Ann"},
        {"role": "assistant", "content": "x", "audio": {"id": "a"}},
        {"role": "user", "content": [{"type": "file", "file": {"filename": "a"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "no base64!"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav"}}]},
    ],
)
def test_messages_without_a_form(message: dict[str, Any]) -> None:
    """A message that Mistral has no form for is a UsageError, never left out in silence."""
    with pytest.raises(UsageError):
        body([message])
