"""The Responses API: what a chat request becomes there, and what it does not support."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.responses.provider import Responses
from llmbatch_cli.rows.input.params import check_all

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
OFFICIAL = "https://api.openai.com/v1"


def body(request: Request, base_url: str = OFFICIAL) -> Any:
    wire = Responses(Settings("openai", base_url, "sk-key")).build(request)
    assert wire.url == f"{base_url}/responses"
    return orjson.loads(wire.body)


def test_nothing_is_stored() -> None:
    """A plain request asks that nothing is stored; a parameter may say otherwise."""
    assert body(Request("o3-pro", HI, {})) == {"model": "o3-pro", "input": HI, "store": False}
    assert body(Request("o3-pro", HI, {"store": True}))["store"] is True


def test_system_messages() -> None:
    """System texts at the beginning are the instructions, any other stays where it stands."""
    system = {"role": "system", "content": "A"}
    developer = {"role": "developer", "content": "B"}
    said = body(Request("m", [system, developer, *HI, system], {}))
    assert said["instructions"] == "A\n\nB"
    assert said["input"] == [*HI, system]


def test_only_system_messages() -> None:
    """Where there are only system messages, they are the input: there must be one."""
    system = {"role": "system", "content": "A"}
    said = body(Request("m", [system], {}))
    assert said["input"] == [system]
    assert "instructions" not in said


def test_turns() -> None:
    """An assistant's text, its calls and their results become items in their order."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
    messages: list[dict[str, Any]] = [
        *HI,
        {"role": "assistant", "content": "Wait.", "tool_calls": [call, custom]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
    ]
    assert body(Request("m", messages, {}))["input"] == [
        *HI,
        {"role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_text", "text": "42"}],
        },
    ]


def test_tools_keep_their_meaning() -> None:
    """A function without `strict` is not strict in chat, so it is said not to be here."""
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {
            "type": "custom",
            "custom": {
                "name": "g",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}},
            },
        },
    ]
    assert body(Request("m", HI, {"tools": tools}))["tools"] == [
        {"type": "function", "name": "f", "parameters": None, "strict": False},
        {
            "type": "custom",
            "name": "g",
            "format": {"type": "grammar", "syntax": "lark", "definition": "d"},
        },
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("seed", 1),
        ("stop", ["a"]),
        ("presence_penalty", 0.1),
        ("frequency_penalty", 0.1),
        ("logit_bias", {"1": 1}),
    ],
)
def test_what_it_has_no_words_for(name: str, value: Any) -> None:
    """What the Responses API lacks is told by its name, at every address."""
    for base_url in (OFFICIAL, "http://localhost:8080/v1"):
        with pytest.raises(UnsupportedParameter, match=name):
            body(Request("gpt-4o", HI, {name: value}), base_url)


def test_what_says_nothing_is_left_out() -> None:
    """n = 1 and penalties of 0 say nothing and are left out."""
    params = {"n": 1, "presence_penalty": 0, "stop": []}
    assert set(body(Request("gpt-4o", HI, params))) == {"model", "input", "store"}


def test_reasoning_models_refuse_sampling() -> None:
    """What a reasoning model refuses is refused here too, at OpenAI's address."""
    with pytest.raises(UnsupportedParameter, match="temperature"):
        body(Request("o3-pro", HI, {"temperature": 0.5}))
    assert body(Request("o3-pro", HI, {"temperature": 0.5}), "http://x/v1")["temperature"] == 0.5


def test_nested_parameters_meet() -> None:
    """Parameters that share an object here are merged into it, extra_body too."""
    params = {
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "extra_body": {
            "verbosity": "high",
            "reasoning": {"summary": "auto"},
            "text": {"novel": 1},
        },
    }
    said = body(Request("m", HI, params))
    assert said["reasoning"] == {"effort": "low", "summary": "auto"}
    assert said["text"] == {"format": {"type": "json_object"}, "verbosity": "high", "novel": 1}


def test_parameters_that_have_no_name_of_their_own() -> None:
    """What came as an extra parameter is said in this API's words too, and nothing is lost.

    ResponseTextConfigParam.verbosity and ResponseIncludable of the Python SDK 3.54.0.
    """
    more = check_all(
        {"logprobs": True, "verbosity": "low", "include": ["file_search_call.results"]}
    )
    said = body(Request("gpt-4o", HI, {**more, "response_format": {"type": "json_object"}}))
    assert said["include"] == ["message.output_text.logprobs", "file_search_call.results"]
    assert said["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert said.keys() == {"model", "input", "store", "include", "text"}


def test_allowed_tools_are_flat() -> None:
    """A choice among some tools has its fields at its top, as tool_choice_allowed_param has."""
    one = {"type": "function", "function": {"name": "f"}}
    allowed = {"mode": "required", "tools": [one, {"type": "web_search"}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert body(Request("m", HI, {"tool_choice": choice}))["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
    }


def test_no_bound_is_left_out() -> None:
    """max_tokens of -1 means no bound, which an absent one says."""
    assert "max_output_tokens" not in body(Request("gpt-4o", HI, {"max_tokens": -1}))


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "content": "x"},
        {"role": "user", "content": [{"type": "video", "video": "x"}]},
        {"role": "assistant", "content": "x", "audio": {"id": "a"}},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "mcp"}]},
        {"role": "user", "content": 5},
    ],
)
def test_messages_without_a_form(message: dict[str, Any]) -> None:
    """A message that has no form here is a UsageError, never left out in silence."""
    with pytest.raises(UsageError):
        body(Request("m", [message], {}))
