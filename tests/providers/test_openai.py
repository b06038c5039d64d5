"""OpenAI's chat completions: what is sent, what is refused before sending, what is read."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import ProviderError, Rejected, UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.models import CURRENT, needs_responses, neutral
from llmbatch_cli.providers.openai.provider import OpenAI

HI = [{"role": "user", "content": "Hi"}]
OFFICIAL = "https://api.openai.com/v1"
SAMPLING = {"temperature", "top_p", "logprobs", "top_logprobs"}
PENALTIES = {"presence_penalty", "frequency_penalty", "logit_bias"}


def provider(base_url: str = OFFICIAL, key: str | None = "sk-key") -> OpenAI:
    return OpenAI(Settings("openai", base_url, key))


def body(request: Request, base_url: str = OFFICIAL) -> Any:
    return orjson.loads(provider(base_url).build(request).body)


def test_a_plain_request() -> None:
    """Without parameters the body holds the model and the messages, nothing else."""
    wire = provider().build(Request("gpt-4o", HI, {}))
    assert orjson.loads(wire.body) == {"model": "gpt-4o", "messages": HI}
    assert (wire.method, wire.url) == ("POST", f"{OFFICIAL}/chat/completions")
    assert wire.headers["authorization"] == "Bearer sk-key"
    assert wire.headers["content-type"] == "application/json"


def test_no_key_no_header() -> None:
    """Without a key no authorization is sent."""
    wire = provider("http://localhost:8000/v1", None).build(Request("m", HI, {}))
    assert "authorization" not in wire.headers


def test_every_parameter_is_said() -> None:
    """Every parameter of a chat model reaches the body by OpenAI's own name."""
    params: dict[str, Any] = {
        "temperature": 0.1,
        "top_p": 0.2,
        "max_tokens": 3,
        "stop": ["a"],
        "seed": 4,
        "n": 2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.6,
        "logit_bias": {"1": 2},
        "logprobs": True,
        "top_logprobs": 7,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": {"type": "json_object"},
        "user": "u",
        "metadata": {"a": "b"},
    }
    expected = {**params, "max_completion_tokens": 3, "model": "gpt-4o", "messages": HI}
    del expected["max_tokens"]
    assert body(Request("gpt-4o", HI, params)) == expected


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        (OFFICIAL, "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://api.openai.com.example.com/v1", "max_tokens"),
        ("https://notapi.openai.com/v1", "max_tokens"),
        ("http://localhost:8000/v1", "max_tokens"),
    ],
)
def test_the_bound_goes_by_the_address(base_url: str, name: str) -> None:
    """OpenAI itself takes max_completion_tokens, a server in its place max_tokens."""
    assert body(Request("gpt-4o", HI, {"max_tokens": 5}), base_url)[name] == 5


def test_a_stream_asks_for_usage() -> None:
    """A stream asks for the usage too, and leaves that to a parameter of the user's."""
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    assert body(Request("m", HI, {}, stream=True)) == {"model": "m", "messages": HI, **asked}
    own = body(Request("m", HI, {"stream_options": {"include_usage": False}}, stream=True))
    assert own["stream_options"] == {"include_usage": False}


def test_extras_win() -> None:
    """extra_body and extra_headers are merged last and reach the wire under no other name."""
    params = {
        "temperature": 0.1,
        "extra_body": {"temperature": 0.9, "novel": {"a": 1}},
        "extra_headers": {"x-novel": "1", "user-agent": "mine"},
    }
    wire = provider().build(Request("gpt-4o", HI, params))
    expected = {"model": "gpt-4o", "messages": HI, "temperature": 0.9, "novel": {"a": 1}}
    assert orjson.loads(wire.body) == expected
    assert (wire.headers["x-novel"], wire.headers["user-agent"]) == ("1", "mine")
    assert "x-novel" not in provider().build(Request("gpt-4o", HI, {})).headers


def test_what_json_cannot_hold() -> None:
    """A parameter that JSON cannot hold is a UsageError, not a crash."""
    with pytest.raises(UsageError):
        provider().build(Request("gpt-4o", HI, {"metadata": {1, 2}}))


@pytest.mark.parametrize(
    ("model", "effort", "names"),
    [
        ("gpt-4o", None, set()),
        ("gpt-4.1-mini", None, set()),
        ("gpt-3.5-turbo", None, set()),
        ("chatgpt-4o-latest", None, set()),
        ("gpt-5-chat-latest", None, set()),
        ("gpt-oss-120b", None, set()),
        ("ft:gpt-4o-mini:org::id", None, set()),
        ("o1", None, SAMPLING | PENALTIES),
        # Only o3 and o4-mini refuse stop; o3-mini has taken it.
        ("o3-mini", "low", SAMPLING | PENALTIES),
        ("o3-mini-2025-01-31", None, SAMPLING | PENALTIES),
        ("o3", None, SAMPLING | PENALTIES | {"stop"}),
        ("o4-mini-2025-04-16", None, SAMPLING | PENALTIES | {"stop"}),
        ("gpt-5", None, SAMPLING | PENALTIES | {"stop"}),
        ("gpt-5-mini-2025-08-07", "minimal", SAMPLING | PENALTIES | {"stop"}),
        ("gpt-5.1", None, PENALTIES | {"stop"}),
        ("gpt-5.1", "low", SAMPLING | PENALTIES | {"stop"}),
        ("gpt-5.4-mini", "none", PENALTIES | {"stop"}),
        ("gpt-5.5", None, SAMPLING | PENALTIES | {"stop"}),
        ("gpt-5.6-luna", "none", PENALTIES | {"stop"}),
        ("gpt-6-astra", None, SAMPLING | PENALTIES | {"stop"}),
        ("ft:o4-mini:org::id", None, SAMPLING | PENALTIES | {"stop"}),
        ("codex-mini-latest", None, SAMPLING | PENALTIES),
    ],
)
def test_what_reasoning_models_refuse(model: str, effort: str | None, names: set[str]) -> None:
    """A reasoning model refuses sampling while it reasons, and the penalties always."""
    assert set(neutral(model, effort)) == names


@pytest.mark.parametrize("name", sorted(neutral("gpt-5", None)))
def test_refusals_are_told(name: str) -> None:
    """A refused parameter is unsupported at OpenAI's address, and passes at another's."""
    value: Any = {"logit_bias": {"1": 1}, "stop": ["a"], "logprobs": True}.get(name, 0.5)
    request = Request("gpt-5", HI, {name: value})
    with pytest.raises(UnsupportedParameter, match=name) as raised:
        provider().build(request)
    assert raised.value.parameter == name
    assert body(request, "http://localhost:8000/v1")[name] == value


def test_what_says_nothing_is_left_out() -> None:
    """A refused parameter with its default value is left out, since it says nothing."""
    params = {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "logprobs": False, "n": 1}
    assert body(Request("o3", HI, params)) == {"model": "o3", "messages": HI, "n": 1}


@pytest.mark.parametrize(
    ("model", "params", "needs"),
    [
        ("o1-pro", {}, True),
        ("o3-pro-2025-06-10", {}, True),
        ("gpt-5-pro", {}, True),
        ("gpt-5.5-pro", {}, True),
        ("gpt-5-codex", {}, True),
        ("gpt-5.1-codex-max", {}, True),
        ("o4-mini-deep-research", {}, True),
        ("computer-use-preview", {}, True),
        ("gpt-6.2-astra-law", {}, True),
        ("gpt-4o", {"tools": [1]}, False),
        ("gpt-5", {"tools": [1], "reasoning_effort": "high"}, False),
        ("gpt-5.4", {"tools": [1]}, False),
        ("gpt-5.4", {"tools": [1], "reasoning_effort": "high"}, True),
        ("gpt-5.6-luna", {"tools": [1]}, True),
        ("gpt-5.6-luna", {"tools": [1], "reasoning_effort": "none"}, False),
        ("gpt-6-astra", {}, False),
        ("gpt-6-astra", {"tools": []}, False),
        ("o3", {"tools": [1]}, False),
    ],
)
def test_which_models_need_responses(model: str, params: dict[str, Any], needs: bool) -> None:
    """Pro, codex and research models answer only there, and tools beside reasoning from 5.4 on."""
    assert needs_responses(model, params) is needs


def test_the_known_models_are_no_fine_tunes() -> None:
    """Every current model is either for chat or for the Responses API, and is named once."""
    assert len(set(CURRENT)) == len(CURRENT)
    assert {name for name in CURRENT if needs_responses(name)} >= {"o3-pro", "gpt-5-pro"}


def test_messages_hold_no_key() -> None:
    """A key that a server repeats, and anything like one, is not in the error."""
    said = orjson.dumps({"error": {"message": "bad key abcdefgh-own and sk-1234567890abcdef"}})
    with pytest.raises(ProviderError) as raised:
        provider(key="abcdefgh-own").parse(Request("m", HI, {}), WireReply(401, {}, said))
    assert raised.value.message == "bad key [key] and [key]"


def test_messages_are_cut_and_clean() -> None:
    """A provider's message is cut at 2,000 characters and holds no control characters."""
    said = orjson.dumps({"error": {"message": "\x1b[31mred\x07 " + "x" * 5000}})
    with pytest.raises(Rejected) as raised:
        provider().parse(Request("m", HI, {}), WireReply(400, {}, said))
    assert len(raised.value.message) == 2000
    assert raised.value.message.startswith("[31mred x")


@pytest.mark.parametrize(
    ("base_url", "status", "code", "hint"),
    [
        (OFFICIAL, 404, "model_not_found", "llmbatch models openai lists"),
        ("http://box:8000/v1", 404, "model_not_found", "--base-url http://box:8000/v1 lists"),
        (OFFICIAL, 429, "insufficient_quota", "add credit"),
    ],
)
def test_a_hint_leads_to_what_helps(base_url: str, status: int, code: str, hint: str) -> None:
    """The list of models is that of the address that was asked; no money is no question of keys."""
    reply = WireReply(status, {}, orjson.dumps({"error": {"message": "no", "code": code}}))
    with pytest.raises(ProviderError) as caught:
        provider(base_url).parse(Request("m", HI, {}), reply)
    assert hint in (caught.value.hint or "")
