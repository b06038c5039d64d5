"""The wires that reach Claude read every recorded reply, and nothing hostile upsets them."""

import json
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_frames import event_frame

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.bedrock.provider import Bedrock
from llmbatch_cli.providers.vertex.provider import Vertex

REPLIES = Path(__file__).parent / "replies"
WIRES: Mapping[str, Provider] = {
    "anthropic": Anthropic(Settings("anthropic", "https://api.anthropic.com/v1", "sk-ant-x")),
    "bedrock": Bedrock(Settings("bedrock", "https://bedrock.example.com", "key")),
    "vertex": Vertex(Settings("vertex", "https://vertex.example.com/v1", "ya29.key")),
}
MODELS = {
    "anthropic": "claude-opus-5-5",
    "bedrock": "us.anthropic.claude-opus-4-6-v1",
    "vertex": "claude-opus-4-6",
}
Case = Mapping[str, Any]
Outcome = Completion | ProviderError


def request(wire: str, case: Case, *, stream: bool = False) -> Request:
    model = case.get("request", {}).get("model", MODELS[wire])
    return Request(model, [{"role": "user", "content": "Hi"}], {}, stream=stream)


@cache
def recorded(*, streamed: bool) -> list[Any]:
    return [
        pytest.param(wire, orjson.loads(path.read_bytes()), id=f"{wire}-{path.stem}")
        for wire in WIRES
        for path in sorted((REPLIES / wire).glob("*.json"))
        if path.name.endswith(".stream.json") == streamed
    ] + (framed() if streamed else [])


def framed() -> list[Any]:
    """Bedrock's streams, each a list of frames: headers, and a payload in JSON."""
    cases = orjson.loads((REPLIES.parent / "bedrock_streams.json").read_bytes())
    return [
        pytest.param("bedrock", {"headers": {}, **case}, id=f"bedrock-{name}")
        for name, case in cases.items()
    ]


def reply(case: Case) -> WireReply:
    body = case["text"].encode() if "text" in case else orjson.dumps(case["body"])
    return WireReply(case["status"], case["headers"], body)


def check(case: Case, outcome: Outcome) -> None:
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
        assert (list(found) if name == "tool_calls" else found) == value, name


def parsed(wire: str, said: WireReply, case: Case = MappingProxyType({})) -> Outcome:
    try:
        return WIRES[wire].parse(request(wire, case), said)
    except ProviderError as error:
        return error


def streamed(wire: str, pieces: list[bytes], case: Case) -> tuple[str, Outcome]:
    """The text that was fed out, and how the stream ended."""
    reader = WIRES[wire].stream(request(wire, case, stream=True), case["headers"])
    text = ""
    try:
        for piece in pieces:
            text += reader.feed(piece)
        return text, reader.finish()
    except ProviderError as error:
        return text, error


def raw(case: Case) -> bytes:
    """The streamed bytes."""
    if "frames" in case:
        return b"".join(event_frame(headers, payload) for headers, payload in case["frames"])
    return str(case["stream"]).encode()


@pytest.mark.parametrize(("wire", "case"), recorded(streamed=False))
def test_recorded_replies(wire: str, case: Case) -> None:
    """A recorded reply gives the completion or the error that is written beside it."""
    check(case, parsed(wire, reply(case), case))


@pytest.mark.parametrize(("wire", "case"), recorded(streamed=True))
def test_recorded_streams(wire: str, case: Case) -> None:
    """A stream gives the same whole, one byte at a time, and cut anywhere."""
    data = raw(case)
    chance = random.Random(1)
    cuts = [sorted(chance.sample(range(len(data)), 9)) for _ in range(20)]
    for cut in [[], list(range(1, len(data))), *cuts]:
        ends = [*cut, len(data)]
        pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        text, outcome = streamed(wire, pieces, case)
        check(case, outcome)
        if isinstance(outcome, Completion):
            assert text == (outcome.text or "")


FIELDS = (
    *("type", "content", "text", "thinking", "input", "usage", "error", "message", "id", "name"),
    *("stop_reason", "output", "model", "toolUse", "reasoningContent", "stopReason", "details"),
    *("inputTokens", "citations", "candidates", "parts", "citationsContent"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
STATUSES = st.sampled_from([200, 200, 200, 400, 401, 404, 424, 429, 500, 529])


@pytest.mark.parametrize("wire", WIRES)
@given(body=JSON, status=STATUSES)
@settings(max_examples=100, deadline=None)
def test_any_json_is_answer_or_error(wire: str, body: Any, status: int) -> None:
    """Any JSON value as a reply is read as a completion or as a ProviderError."""
    outcome = parsed(wire, WireReply(status, {}, json.dumps(body).encode()))
    assert isinstance(outcome, Completion | ProviderError)


def mutated(value: Any, places: list[int], junk: Any) -> Any:
    """The value with one thing in it, found by walking along `places`, replaced by junk."""
    if not places or not isinstance(value, dict | list) or not value:
        return junk
    place = places[0] % len(value)
    if isinstance(value, list):
        return [mutated(v, places[1:], junk) if i == place else v for i, v in enumerate(value)]
    return {
        k: mutated(v, places[1:], junk) if i == place else v
        for i, (k, v) in enumerate(value.items())
    }


@pytest.mark.parametrize("wire", WIRES)
@given(
    places=st.lists(st.integers(0, 30), min_size=1, max_size=6), junk=JSON, pick=st.integers(0, 99)
)
@settings(max_examples=100, deadline=None)
def test_any_value_in_any_place(wire: str, places: list[int], junk: Any, pick: int) -> None:
    """A real reply with any JSON in any place is a completion or a ProviderError."""
    cases = [case.values[1] for case in recorded(streamed=False) if case.values[0] == wire]
    bodies = [case for case in cases if "body" in case]
    case = bodies[pick % len(bodies)]
    body = json.dumps(mutated(case["body"], places, junk)).encode()
    outcome = parsed(wire, WireReply(case["status"], case["headers"], body), case)
    assert isinstance(outcome, Completion | ProviderError)


def test_deep_values_are_no_trouble() -> None:
    """A value nested deeper than JSON can be written again is an error of the reply."""
    deep = b'{"content":[{"type":"tool_use","input":' + b"[" * 900 + b"]" * 900 + b"}]}"
    for wire in WIRES:
        assert isinstance(parsed(wire, WireReply(200, {}, deep)), ProviderError)


@pytest.mark.parametrize("wire", WIRES)
@given(data=st.binary(max_size=200), pick=st.integers(0, 99), at=st.integers(0, 5000))
@settings(max_examples=100, deadline=None)
def test_any_bytes_in_a_stream(wire: str, data: bytes, pick: int, at: int) -> None:
    """Any bytes in a stream, alone or in the middle of a real one, upset nothing."""
    cases = [case.values[1] for case in recorded(streamed=True) if case.values[0] == wire]
    case = cases[pick % len(cases)]
    real = raw(case)
    at %= len(real)
    for pieces in ([data], [real[:at], data, real[at:]]):
        _, outcome = streamed(wire, pieces, case)
        assert isinstance(outcome, Completion | ProviderError)


@given(places=st.lists(st.integers(0, 9), min_size=1, max_size=4), junk=JSON, at=st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_any_value_in_any_event(places: list[int], junk: Any, at: int) -> None:
    """A real stream with any JSON in any place of any event upsets nothing."""
    for case in recorded(streamed=True):
        wire, said = case.values
        if "stream" not in said or "data: " not in said["stream"]:
            continue
        events = str(said["stream"]).split("\n\n")
        name, mark, data = events[at % len(events)].partition("data: ")
        if mark and data.endswith("}"):
            new = json.dumps(mutated(orjson.loads(data), places, junk))
            events[at % len(events)] = f"{name}data: {new}"
            _, outcome = streamed(wire, ["\n\n".join(events).encode()], said)
            assert isinstance(outcome, Completion | ProviderError)
