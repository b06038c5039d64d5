"""Gemini, Cohere and Ollama read every recorded reply, and nothing hostile upsets them."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbatch_cli import errors
from llmbatch_cli.errors import ProviderError
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.cohere import Cohere
from llmbatch_cli.providers.gemini import Gemini
from llmbatch_cli.providers.ollama import Ollama
from llmbatch_cli.types import Completion, Request, WireReply

REPLIES = Path(__file__).parent / "replies"
KEY = "not-to-be-repeated"
WIRES: Mapping[str, Provider] = {
    "gemini": Gemini(Settings("gemini", "https://example.com/v1beta", KEY)),
    "cohere": Cohere(Settings("cohere", "https://example.com/v2", KEY)),
    "ollama": Ollama(Settings("ollama", "http://localhost:11434", KEY)),
}
REQUEST = Request("model-1", [{"role": "user", "content": "Hi"}], {})
Outcome = Completion | ProviderError


def cases(kind: str) -> list[Any]:
    """The recorded cases with a `body`, a `text` or a `stream`, by wire and name."""
    found = [(wire, path) for wire in WIRES for path in sorted((REPLIES / wire).glob("*.json"))]
    read = [(wire, path.stem, orjson.loads(path.read_bytes())) for wire, path in found]
    return [pytest.param(w, case, id=f"{w}-{name}") for w, name, case in read if kind in case]


WHOLE = [*cases("body"), *cases("text")]
STREAMED = cases("stream")
BODIES: list[Any] = [tuple(case.values) for case in cases("body")]


def reply(case: Mapping[str, Any]) -> WireReply:
    body = case["text"].encode() if "text" in case else orjson.dumps(case["body"])
    return WireReply(case["status"], case["headers"], body)


def parsed(wire: str, said: WireReply) -> Outcome:
    try:
        return WIRES[wire].parse(REQUEST, said)
    except ProviderError as error:
        return error


def streamed(wire: str, headers: Mapping[str, str], pieces: Sequence[bytes]) -> tuple[str, Outcome]:
    """The text that came as the pieces were fed, and what it all was in the end."""
    stream = WIRES[wire].stream(REQUEST, headers)
    text = ""
    try:
        for piece in pieces:
            text += stream.feed(piece)
        return text, stream.finish()
    except ProviderError as error:
        return text, error


def check(case: Mapping[str, Any], outcome: Outcome) -> None:
    if "error" in case:
        assert type(outcome) is getattr(errors, case["error"]), outcome
        assert isinstance(outcome, ProviderError)
        assert case.get("message", "") in outcome.message
        assert outcome.retry_after_s == case.get("retry_after_s")
        return
    assert isinstance(outcome, Completion), outcome
    for name, value in case["expect"].items():
        found = getattr(outcome, name)
        if name == "usage":
            found = {field: getattr(found, field) for field in value}
        assert (list(found) if isinstance(found, list | tuple) else found) == value, name


@pytest.mark.parametrize(("wire", "case"), WHOLE)
def test_recorded_replies(wire: str, case: Mapping[str, Any]) -> None:
    """A recorded reply is read as its case says."""
    check(case, parsed(wire, reply(case)))


@pytest.mark.parametrize(("wire", "case"), STREAMED)
def test_recorded_streams(wire: str, case: Mapping[str, Any]) -> None:
    """A recorded stream is read as its case says, and its text arrives on the way."""
    text, outcome = streamed(wire, case["headers"], [case["stream"].encode()])
    check(case, outcome)
    if isinstance(outcome, Completion):
        assert text == (outcome.text or "")


@pytest.mark.parametrize(("wire", "case"), STREAMED)
@given(cuts=st.lists(st.integers(0, 4000), max_size=12))
@example(cuts=list(range(4000)))
@settings(max_examples=10, deadline=None)
def test_streams_split_anywhere(wire: str, case: Mapping[str, Any], cuts: list[int]) -> None:
    """It makes no difference where a stream is cut into pieces."""
    data = case["stream"].encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(places)]
    text, outcome = streamed(wire, case["headers"], pieces)
    check(case, outcome)
    if isinstance(outcome, Completion):
        assert text == (outcome.text or "")


WORDS = st.sampled_from(
    (
        *("candidates", "content", "parts", "text", "thought", "functionCall", "args", "name"),
        *("finishReason", "usageMetadata", "promptTokenCount", "promptFeedback", "blockReason"),
        *("error", "message", "details", "@type", "status", "code", "index", "logprobsResult"),
        *("chosenCandidates", "topCandidates", "inlineData", "mimeType", "data", "retryDelay"),
        *("type", "delta", "tool_calls", "function", "arguments", "usage", "tokens", "id"),
        *("input_tokens", "finish_reason", "citations", "logprobs", "thinking", "done", "model"),
        *("done_reason", "prompt_eval_count", "eval_count", "violations", "quotaId", "reason"),
    )
)
TEXTS = st.text(max_size=8) | st.sampled_from(
    (
        *("STOP", "SAFETY", "MALFORMED_FUNCTION_CALL", "ERROR", "COMPLETE", "load", "9s", "-1"),
        *("message-end", "content-delta", "tool-call-start", "citation-start", "message-start"),
        *("type.googleapis.com/google.rpc.QuotaFailure", "google.rpc.RetryInfo"),
        "google.rpc.ErrorInfo",
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=24,
)
STATUSES = st.sampled_from((200, 200, 200, 204, 302, 400, 401, 404, 418, 429, 498, 500, 503, 599))


@pytest.mark.parametrize("wire", WIRES)
@given(body=JSON, status=STATUSES)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read(wire: str, body: Any, status: int) -> None:
    """Any JSON value, under any status, is an answer or a ProviderError."""
    outcome = parsed(wire, WireReply(status, {}, orjson.dumps(body)))
    assert isinstance(outcome, Completion | ProviderError)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value, by the way to it."""
    found: list[tuple[Any, ...]] = []
    if not isinstance(value, dict | list):
        return found
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        found += [(*path, key), *places(one, (*path, key))]
    return found


def mutated(body: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The value with another one in one place."""
    whole = copy.deepcopy(body)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return whole


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_real_reply_gone_wrong_is_read(data: st.DataObject) -> None:
    """A real reply with any one value replaced by any other is an answer or a ProviderError."""
    wire, case = data.draw(st.sampled_from(BODIES))
    path = data.draw(st.sampled_from(places(case["body"])))
    other = mutated(case["body"], path, data.draw(JSON))
    outcome = parsed(wire, WireReply(data.draw(STATUSES), {}, orjson.dumps(other)))
    assert isinstance(outcome, Completion | ProviderError)


@pytest.mark.parametrize("wire", WIRES)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_a_stream(wire: str, pieces: list[bytes]) -> None:
    """Any bytes fed into a stream end in an answer or a ProviderError."""
    assert isinstance(streamed(wire, {}, pieces)[1], Completion | ProviderError)


@pytest.mark.parametrize("wire", WIRES)
@given(events=st.lists(st.dictionaries(WORDS, JSON, max_size=5), max_size=5))
@settings(max_examples=120, deadline=None)
def test_any_events_are_a_stream(wire: str, events: list[Any]) -> None:
    """Any JSON objects as a stream's events end in an answer or a ProviderError."""
    mark, end = (b"", b"\n") if wire == "ollama" else (b"data: ", b"\n\n")
    pieces = [mark + orjson.dumps(event) + end for event in events]
    assert isinstance(streamed(wire, {}, pieces)[1], Completion | ProviderError)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("wire", "template"),
    [
        ("gemini", b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":%s}}]}}]}'),
        ("gemini", b'{"candidates":[{"content":%s}],"error":{"details":[{"@type":%s}]}}'),
        ("gemini", b'{"error":{"message":%s,"status":%s,"code":429}}'),
        ("cohere", b'{"message":{"content":[%s],"tool_calls":[{"function":%s}]}}'),
        ("ollama", b'{"message":{"tool_calls":[{"function":{"arguments":%s}}]}}'),
        ("ollama", b'{"error":%s}'),
    ],
)
@pytest.mark.parametrize("depth", [300, 900, 5000])
def test_depth_does_no_harm(wire: str, template: bytes, depth: int) -> None:
    """JSON nested as deep as a reader takes is an answer or a ProviderError."""
    body = template.replace(b"%s", nested(depth))
    assert isinstance(parsed(wire, WireReply(200, {}, body)), Completion | ProviderError)
    line = body + b"\n" if wire == "ollama" else b"data: " + body + b"\n\n"
    assert isinstance(streamed(wire, {}, [line, line])[1], Completion | ProviderError)


@pytest.mark.parametrize("wire", WIRES)
def test_the_key_is_never_repeated(wire: str) -> None:
    """A server that repeats the key in its error does not bring it into the message."""
    said = f"bad key {KEY} \x1b[31m" + "long " * 1000
    body = {"error": {"message": said}} if wire != "cohere" else {"message": said}
    outcome = parsed(wire, WireReply(401, {}, orjson.dumps(body)))
    assert isinstance(outcome, errors.Unauthorized)
    assert KEY not in outcome.message
    assert "\x1b" not in outcome.message
    assert len(outcome.message) <= 2000
