"""Whatever a row says, each wire builds a request of it or tells in words why it cannot."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core.errors import InputError, UsageError
from llmbatch_cli.core.types import Request, WireRequest
from llmbatch_cli.providers.registry import Access, Target, resolve
from llmbatch_cli.rows.input.params import PARAMETERS, check_all
from llmbatch_cli.rows.input.parse import ROLES, check_messages

MODELS = (
    *("openai/gpt-4o", "openai/gpt-5-pro", "azure/deployed", "mistral/mistral-large"),
    *("anthropic/claude-opus-5-5", "bedrock/anthropic.claude-sonnet-4-6", "vertex/gemini-3-pro"),
    *("cohere/command-a-03-2025", "gemini/gemini-2.5-flash", "ollama/llama", "perplexity/sonar"),
)
KEYS = (
    *("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "MISTRAL_API_KEY", "ANTHROPIC_API_KEY"),
    *("AWS_BEARER_TOKEN_BEDROCK", "GOOGLE_OAUTH_ACCESS_TOKEN", "COHERE_API_KEY", "GEMINI_API_KEY"),
    "PERPLEXITY_API_KEY",
)
ENVIRON = {
    **dict.fromkeys(KEYS, "key-of-this-test"),
    "AWS_REGION": "us-east-1",
    "GOOGLE_CLOUD_PROJECT": "project",
    "AZURE_OPENAI_ENDPOINT": "https://example.openai.azure.com",
}
WORDS = (
    *("type", "text", "image_url", "input_audio", "file", "url", "data", "file_data", "format"),
    *("function", "name", "arguments", "id", "custom", "input", "json_schema", "schema", "strict"),
    *("refusal", "thinking", "auto", "required", "allowed_tools", "tools", "mode", "parameters"),
    *("data:image/png;base64,AAAA", "data:,x", "http://[", "{", "[1]", "document", "low", ""),
)
ODD = st.sampled_from((*WORDS, 0, -1, 1.5, True, None, 10**30, "\ud800"))
HELLO = {"role": "user", "content": "hi"}
JUNK = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)
FUNCTION = st.fixed_dictionaries({"name": JUNK, "arguments": JUNK})
CALL = st.fixed_dictionaries({"id": JUNK, "type": JUNK, "function": FUNCTION | JUNK})
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(WORDS)}, optional=dict.fromkeys(WORDS[1:7], JUNK)
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(sorted(ROLES)),
        "content": st.none() | st.just("hi") | st.lists(PART, max_size=2),
    },
    optional={"tool_calls": st.lists(CALL, max_size=2) | JUNK, "tool_call_id": JUNK, "name": JUNK},
)
TYPED = st.fixed_dictionaries({"type": st.sampled_from(WORDS), "function": JUNK})
PARAMS = st.dictionaries(
    st.sampled_from(sorted(PARAMETERS)), JUNK | TYPED | st.lists(TYPED, max_size=2), max_size=3
)


@cache
def target(model: str) -> Target:
    return resolve(model, Access(environ=ENVIRON))


def passes(check: Callable[..., object], *value: object) -> bool:
    try:
        check(*value)
    except InputError:
        return False
    return True


def holds(model: str, messages: list[Any], params: Mapping[str, Any]) -> None:
    to = target(model)
    with suppress(UsageError):
        wire = to.provider.build(Request(to.model, messages, params))
        assert isinstance(wire, WireRequest)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=60, deadline=None)
@given(messages=st.lists(MESSAGE, min_size=1, max_size=3), params=PARAMS)
def test_a_row_that_passed_the_checks_is_sent_or_refused_in_words(
    model: str, messages: list[Any], params: dict[str, Any]
) -> None:
    """No messages and no parameters that the checks let through upset a wire."""
    said = [message for message in messages if passes(check_messages, [HELLO, message], "")]
    kept = {name: value for name, value in params.items() if passes(check_all, {name: value})}
    holds(model, [HELLO, *said], check_all(kept))


CALLS = {"role": "assistant", "content": None}
BIG = {"type": "function", "function": {"name": "f", "arguments": {"n": 10**30}}}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("messages", "params"),
    [
        ([], {"tools": [BIG], "tool_choice": {"type": "function", "function": "x"}}),
        ([{**CALLS, "tool_calls": 1.5}], {}),
        ([{**CALLS, "tool_calls": [{"type": ["x"], "function": {}}]}], {}),
        ([{**CALLS, "tool_calls": [{"id": "a", **BIG}]}], {}),
        ([{"role": "user", "content": [{"type": ["x"], "text": "hi"}]}], {}),
        (
            [
                {**CALLS, "tool_calls": [{"id": "a", **BIG}]},
                {"role": "user", "content": None},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
            ],
            {},
        ),
        (
            [],
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"maximum": 10**30}},
                }
            },
        ),
    ],
)
def test_a_row_that_once_ended_the_run(
    model: str, messages: list[Any], params: dict[str, Any]
) -> None:
    """Rows that a wire stumbled over fail, if at all, alone."""
    holds(model, messages or [HELLO], params)
