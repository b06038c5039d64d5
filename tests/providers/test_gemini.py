"""What is sent to Gemini, and what it does not support."""

from typing import Any

import orjson
import pytest

from llmbatch_cli.core.errors import ProviderError, UnsupportedParameter, UsageError
from llmbatch_cli.core.types import Request, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.gemini.provider import Gemini

BASE = "https://generativelanguage.googleapis.com/v1beta"
OLD, OLD_PRO, NEW, NEW_PRO = (
    *("gemini-2.5-flash", "gemini-2.5-pro"),
    *("gemini-3-flash-preview", "gemini-3.1-pro-preview"),
)
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
STRICT = {"type": "function", "function": {**TOOL["function"], "strict": True}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "1"}'}}


def provider(key: str | None = "a-key") -> Gemini:
    return Gemini(Settings("gemini", f"{BASE}/", key))


def body(messages: Any = None, model: str = OLD, **params: Any) -> Any:
    request = Request(model, HI if messages is None else messages, params)
    return orjson.loads(provider().build(request).body)


def config(model: str = OLD, **params: Any) -> Any:
    return body(model=model, **params).get("generationConfig", {})


def parts(*found: Any) -> Any:
    """What the parts of a user's message are sent as."""
    return body([{"role": "user", "content": list(found)}])["contents"][0]["parts"]


def test_the_plainest_request() -> None:
    """A prompt goes to its model's address, with the key in its header and nowhere else."""
    wire = provider().build(Request(OLD, HI, {}))
    assert (wire.method, wire.url) == ("POST", f"{BASE}/models/{OLD}:generateContent")
    assert {**wire.headers, "user-agent": ""} == {
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": "",
        "x-goog-api-key": "a-key",
    }
    assert orjson.loads(wire.body) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_no_key_is_no_header() -> None:
    """Without a key none is sent, and extra headers are added."""
    wire = provider(None).build(Request(OLD, HI, {"extra_headers": {"x-a": "b"}}))
    assert "x-goog-api-key" not in wire.headers
    assert wire.headers["x-a"] == "b"


@pytest.mark.parametrize(
    ("base_url", "found"),
    [
        ("http://localhost:1", "http://localhost:1/v1beta"),
        ("http://localhost:1/gemini/", "http://localhost:1/gemini/v1beta"),
        ("http://localhost:1/v1", "http://localhost:1/v1"),
        ("http://localhost:1/v1alpha/", "http://localhost:1/v1alpha"),
    ],
)
def test_the_address_with_and_without_its_version(base_url: str, found: str) -> None:
    """An address in the form of Google's own SDK, without a version, means v1beta."""
    wire = Gemini(Settings("gemini", base_url)).build(Request(OLD, HI, {}))
    assert wire.url == f"{found}/models/{OLD}:generateContent"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("../files/x?key=1#", "models/..%2Ffiles%2Fx%3Fkey%3D1%23"),
        ("a:b", "models/a%3Ab"),
    ],
)
def test_a_model_is_only_a_model(model: str, path: str) -> None:
    """A row's model cannot lead the request to another address."""
    assert provider().build(Request(model, HI, {})).url == f"{BASE}/{path}:generateContent"


def test_a_stream_has_its_own_method() -> None:
    """A streamed request asks for server-sent events; the body is the same."""
    wire = provider().build(Request(OLD, HI, {}, stream=True))
    assert wire.url == f"{BASE}/models/{OLD}:streamGenerateContent?alt=sse"
    assert wire.body == provider().build(Request(OLD, HI, {})).body


def test_files_of_every_kind() -> None:
    """Data goes inline with its type, an address as a file, each typed by name where it can be."""
    assert parts(
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg/%3E"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/pic"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_id": f"{BASE}/files/abc-1", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "AAAA", "filename": "b.csv"}},
        {"type": "file", "file": {"file_data": "data:;base64,AAAA"}},
    ) == [
        {"inlineData": {"mimeType": "image/svg+xml", "data": "PHN2Zy8+"}},
        {"fileData": {"fileUri": "https://example.com/pic"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        {"fileData": {"fileUri": f"{BASE}/files/abc-1", "mimeType": "application/pdf"}},
        {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        {"inlineData": {"mimeType": "text/plain", "data": "AAAA"}},
    ]


def test_calls_and_their_results() -> None:
    """A result finds its function's name by the id; results side by side share one content."""
    twice = [
        *HI,
        {"role": "assistant", "content": "I call.", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "[1]"}]},
        {"role": "tool", "tool_call_id": "c2", "content": '{"b": 2}'},
        *HI,
    ]
    call = {"name": "f", "args": {"a": "1"}}
    assert body(twice)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "I call."},
                {"functionCall": {**call, "id": "c1"}},
                {"functionCall": {**call, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": [1]}}},
                {"functionResponse": {"id": "c2", "name": "f", "response": {"b": 2}}},
            ],
        },
        {"role": "user", "parts": [{"text": "Hi"}]},
    ]


def test_thoughts_and_signatures_come_back() -> None:
    """What an answer carried of its thinking is sent back where it was."""
    signed = {"google": {"thought_signature": "c2ln"}}
    answer = {
        "role": "assistant",
        "reasoning": "Hm.",
        "content": "Ho",
        "extra_content": signed,
        "tool_calls": [{**CALL, "extra_content": signed}],
    }
    assert body([*HI, answer], NEW)["contents"][1]["parts"] == [
        {"text": "Hm.", "thought": True},
        {"text": "Ho", "thoughtSignature": "c2ln"},
        {
            "functionCall": {"id": "c1", "name": "f", "args": {"a": "1"}},
            "thoughtSignature": "c2ln",
        },
    ]


def test_foreign_calls_are_let_through() -> None:
    """A call that Gemini 3 has not made has the sign that spares it the check, once a turn."""
    answer = {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2"}]}
    first, second = body([*HI, answer], NEW)["contents"][1]["parts"]
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second
    older = body([*HI, answer], OLD)["contents"][1]["parts"]
    assert all("thoughtSignature" not in part for part in older)


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        (OLD, "none", {"thinkingBudget": 0}),
        (OLD, "minimal", {"thinkingBudget": 1024}),
        (OLD, "low", {"thinkingBudget": 1024}),
        (OLD_PRO, "medium", {"thinkingBudget": 8192}),
        (OLD_PRO, "high", {"thinkingBudget": 24576}),
        (NEW, "minimal", {"thinkingLevel": "MINIMAL"}),
        (NEW_PRO, "minimal", {"thinkingLevel": "LOW"}),
        (NEW_PRO, "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-4-flash", "xhigh", {"thinkingLevel": "XHIGH"}),
    ],
)
def test_effort_is_said_as_google_maps_it(model: str, effort: str, thinking: Any) -> None:
    """reasoning_effort is a budget for Gemini 2.5 and a level from Gemini 3 on."""
    assert config(model, reasoning_effort=effort) == {"thinkingConfig": thinking}


def test_own_parameters_find_their_places() -> None:
    """Gemini's own names go to where they belong, in either spelling, and merge into objects."""
    found = body(
        temperature=0.5,
        topK=9,
        extra_body={
            "media_resolution": "MEDIA_RESOLUTION_LOW",
            "generationConfig": {"temperature": 1, "thinkingConfig": {"includeThoughts": True}},
            "cachedContent": "cachedContents/1",
        },
        reasoning_effort="low",
    )
    assert found["generationConfig"] == {
        "temperature": 1,
        "topK": 9,
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }
    assert found["cachedContent"] == "cachedContents/1"


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1},
        {"max_tokens": -1},
        {"logprobs": False},
        {"parallel_tool_calls": True},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_is_said_by_saying_nothing(params: Any) -> None:
    """A parameter that asks for what happens anyway adds nothing."""
    assert body(**params) == body()


def test_tools_and_their_choice() -> None:
    """Strict functions are validated, allowed ones named, and a choice outweighs strictness."""
    calling = "functionCallingConfig"
    assert body(tools=[STRICT])["toolConfig"] == {calling: {"mode": "VALIDATED"}}
    assert body(tools=[STRICT], tool_choice="auto")["toolConfig"] == {
        calling: {"mode": "VALIDATED"}
    }
    assert body(tools=[STRICT], tool_choice="none")["toolConfig"] == {calling: {"mode": "NONE"}}
    assert body(tools=[TOOL], tool_choice="auto")["toolConfig"] == {calling: {"mode": "AUTO"}}
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}
    assert body(tools=[TOOL], tool_choice=some)["toolConfig"] == {
        calling: {"mode": "ANY", "allowedFunctionNames": ["f"]}
    }
    assert body(tools=[TOOL, {"codeExecution": {}}])["tools"] == [
        {"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]},
        {"codeExecution": {}},
    ]


@pytest.mark.parametrize(
    ("name", "value", "model"),
    [
        ("logit_bias", {"1": 1}, OLD),
        ("user", "ann", OLD),
        ("parallel_tool_calls", False, OLD),
        ("tool_choice", "sometimes", OLD),
        ("response_format", {"type": "grammar"}, OLD),
        ("reasoning_effort", "none", OLD_PRO),
        ("reasoning_effort", "none", NEW),
        ("reasoning_effort", "xhigh", OLD),
    ],
)
def test_unsupported(name: str, value: Any, model: str) -> None:
    """A parameter that Gemini does not support is named, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(model=model, **{name: value})
    assert caught.value.parameter == name
    assert "gemini" in caught.value.message


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "function", "content": "x"}],
        [{"role": "system", "content": "alone"}],
        [{"role": "user", "content": "Hi", "name": "ann"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
            }
        ],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        [{"role": "user", "content": [{"type": "file", "file": {"file_data": "a/b c"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}],
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "low"}}],
            }
        ],
        [*HI, {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]}],
        [*HI, {"role": "tool", "tool_call_id": "unknown", "content": "x"}],
        [
            *HI,
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": "[1"}}],
            },
        ],
        [{"role": "user", "content": "\ud800"}],
    ],
)
def test_unsupported_messages(messages: Any) -> None:
    """What has no place in Gemini's contents is a UsageError, never left out in silence."""
    with pytest.raises(UsageError):
        body(messages)


def test_hints_say_what_to_do() -> None:
    """An unknown model's error tells how to list those that there are."""
    said = {"error": {"code": 404, "message": "models/x is not found for API version v1beta"}}
    with pytest.raises(ProviderError) as caught:
        provider().parse(Request("x", HI, {}), WireReply(404, {}, orjson.dumps(said)))
    assert "llmbatch models gemini" in (caught.value.hint or "")
