"""Every wire reads its recorded replies as is written beside them, and nothing upsets it.

A reply is one file, `replies/WIRE/CASE.json`:

    {"source": "where the body comes from, and the date",
     "status": 200, "headers": {...}, "body": <JSON> or "text": "..." or "hex": "...",
     "request"?: {"model"?: "...", "params"?: {...}},
     "expect": {"text": ..., "usage": {...}, ...}}       fields of Completion, in part
     or "error": "RateLimited", "message"?: "a part of it", "retry_after_s"?: 2.0, "hint"?: "a part"

`CASE.stream.json` holds `"stream": "the raw text"`, or `"hex"`, in place of the body. A wire of
its own is one line in `OWN`; an OpenAI-compatible host is found in the registry's rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.hosts import HOSTS

REPLIES = Path(__file__).parent / "replies"
KEY = "sk-the-key-of-this-test"
OWN: Mapping[str, tuple[str, str]] = {
    "openai": ("openai.provider:OpenAI", "https://api.openai.com/v1"),
    "responses": ("responses.provider:Responses", "https://api.openai.com/v1"),
    "mistral": ("mistral.provider:Mistral", "https://api.mistral.ai/v1"),
    "azure": ("openai.azure:Azure", "https://example.openai.azure.com"),
    "gemini": ("gemini.provider:Gemini", "https://generativelanguage.googleapis.com/v1beta"),
    "cohere": ("cohere.provider:Cohere", "https://api.cohere.com/v2"),
    "ollama": ("ollama.provider:Ollama", "http://localhost:11434"),
}
"""The folders of wires with a file of their own: the class, and the address it is made with."""
ROWS = {
    host.name: ("openai.compatible:Compatible", host.base_url or "https://example.com/v1")
    for host in HOSTS.values()
    if (REPLIES / host.name).is_dir()
}
WIRES: Mapping[str, tuple[str, str]] = {**OWN, **ROWS}
FUZZED = (*OWN, "openrouter", "minimax", "perplexity")
"""The wires that are fed nonsense: those with code of their own, and the most peculiar rows."""

Case = Mapping[str, Any]


@cache
def provider(wire: str) -> Provider:
    factory, base_url = WIRES[wire]
    module, _, name = factory.partition(":")
    made = getattr(import_module(f"llmbatch_cli.providers.{module}"), name)
    found: Provider = made(Settings(wire, base_url, KEY))
    return found


@cache
def cases(wire: str) -> Mapping[str, Case]:
    """The wire's recorded replies by file name."""
    paths = sorted((REPLIES / wire).glob("*.json"))
    return {path.name.removesuffix(".json"): orjson.loads(path.read_bytes()) for path in paths}


def recorded(*, streamed: bool) -> list[Any]:
    return [
        pytest.param(wire, name, id=f"{wire}-{name}")
        for wire in WIRES
        for name in cases(wire)
        if name.endswith(".stream") == streamed
    ]


def request(case: Case, *, stream: bool) -> Request:
    asked = case.get("request", {})
    messages = [{"role": "user", "content": "Hi"}]
    return Request(asked.get("model", "a-model"), messages, asked.get("params", {}), stream)


def raw(case: Case) -> bytes:
    """The body as bytes."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    for name in ("text", "stream"):
        if name in case:
            return str(case[name]).encode()
    return orjson.dumps(case["body"])


def parsed(wire: str, case: Case, body: bytes) -> Completion | ProviderError:
    reply = WireReply(case["status"], case["headers"], body)
    try:
        return provider(wire).parse(request(case, stream=False), reply)
    except ProviderError as error:
        return error


def fed(wire: str, case: Case, pieces: Sequence[bytes]) -> tuple[str, Completion | ProviderError]:
    """The text that a stream gave on its way, and how it ended."""
    reader = provider(wire).stream(request(case, stream=True), case["headers"])
    texts: list[str] = []
    try:
        texts.extend(reader.feed(piece) for piece in pieces)
        return "".join(texts), reader.finish()
    except ProviderError as error:
        return "".join(texts), error


def check(case: Case, outcome: Completion | ProviderError) -> None:
    if "error" in case:
        assert isinstance(outcome, ProviderError), outcome
        check_error(case, outcome)
        return
    assert isinstance(outcome, Completion), outcome
    for name, value in case["expect"].items():
        found = getattr(outcome, name)
        if name in ("usage", "limits") and isinstance(value, dict):
            found = {field: getattr(found, field) for field in value}
        assert (list(found) if isinstance(value, list) else found) == value, name


def check_error(case: Case, error: ProviderError) -> None:
    assert type(error) is getattr(errors, case["error"]), repr(error)
    assert case.get("message", "") in error.message
    assert case.get("hint", "") in (error.hint or "")
    assert error.retry_after_s == case.get("retry_after_s")
    assert len(error.message) <= 2000
    assert KEY not in error.message


@pytest.mark.parametrize("wire", WIRES)
def test_cases_are_told_whole(wire: str) -> None:
    """Every recorded reply says where it comes from and either what it means or its error."""
    for name, case in cases(wire).items():
        assert len(case["source"]) > 10, name
        assert ("expect" in case) != ("error" in case), name
    assert len(cases(wire)) >= (12 if wire in OWN else 2)


@pytest.mark.parametrize(("wire", "name"), recorded(streamed=False))
def test_recorded_replies(wire: str, name: str) -> None:
    """A recorded reply gives the completion or the error that is written beside it."""
    case = cases(wire)[name]
    check(case, parsed(wire, case, raw(case)))


@pytest.mark.parametrize(("wire", "name"), recorded(streamed=True))
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_recorded_streams(wire: str, name: str, data: st.DataObject) -> None:
    """A stream gives the same whole, byte by byte, and cut anywhere."""
    case = cases(wire)[name]
    body = raw(case)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=9))
    for ends in ([], list(range(1, len(body))), sorted(cuts)):
        pieces = [body[a:b] for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
        text, outcome = fed(wire, case, pieces)
        check(case, outcome)
        if isinstance(outcome, Completion):
            # What is no stream after all is passed on by the caller, at its end.
            came_whole = wire != "ollama" and body[:1] == b"{"
            assert text == ("" if came_whole else outcome.text or "")


@pytest.mark.parametrize("wire", WIRES)
def test_streams_that_break_off(wire: str) -> None:
    """A stream cut before its end mark is no answer: Interrupted, or the stream's own error."""
    for name, case in cases(wire).items():
        if name.endswith(".stream") and "expect" in case and len(raw(case)) > 40:
            _, outcome = fed(wire, case, [raw(case)[: len(raw(case)) // 2]])
            assert isinstance(outcome, errors.Interrupted | errors.BadReply), (name, outcome)


def words(value: Any) -> Iterator[str]:
    """Every field's name in a JSON value."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from words(inner)


@cache
def junk(wire: str) -> st.SearchStrategy[Any]:
    """Any JSON value, its fields often named as the wire's are."""
    bodies = [case["body"] for case in cases(wire).values() if "body" in case]
    names = st.sampled_from(sorted({name for body in bodies for name in words(body)}))
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=8)
        | st.sampled_from(["", "stop", "length", "tool_calls", "text", "\ud800"])
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=20,
    )


def mutated(value: Any, places: Sequence[int], new: Any) -> Any:
    """The value with one thing in it, found by walking along `places`, replaced."""
    if not places or not isinstance(value, dict | list) or not value:
        return new
    place = places[0] % len(value)
    if isinstance(value, list):
        return [mutated(v, places[1:], new) if i == place else v for i, v in enumerate(value)]
    changed = (
        (k, mutated(v, places[1:], new) if i == place else v)
        for i, (k, v) in enumerate(value.items())
    )
    return dict(changed)


PLACES = st.lists(st.integers(0, 30), min_size=1, max_size=7)
STATUSES = st.sampled_from([200, 200, 200, 204, 302, 400, 401, 404, 413, 424, 429, 500, 529])


@pytest.mark.parametrize("wire", FUZZED)
@given(data=st.data(), status=STATUSES)
@settings(max_examples=60, deadline=None)
def test_any_json_is_an_answer_or_an_error(wire: str, data: st.DataObject, status: int) -> None:
    """Any JSON value as a reply, with any status, is a completion or a ProviderError."""
    body = json.dumps(data.draw(junk(wire))).encode()
    outcome = parsed(wire, {"status": status, "headers": {}}, body)
    assert isinstance(outcome, Completion | ProviderError)
    _, outcome = fed(wire, {"headers": {}}, [b"data: ", body, b"\n\ndata: [DONE]\n\n"])
    assert isinstance(outcome, Completion | ProviderError)


@pytest.mark.parametrize("wire", FUZZED)
@given(data=st.data(), places=PLACES)
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_place(wire: str, data: st.DataObject, places: list[int]) -> None:
    """A real reply with any JSON in any place is a completion or a ProviderError."""
    known = [case for case in cases(wire).values() if "body" in case]
    case = data.draw(st.sampled_from(known))
    body = json.dumps(mutated(case["body"], places, data.draw(junk(wire)))).encode()
    assert isinstance(parsed(wire, case, body), Completion | ProviderError)


def each_place(value: Any) -> Iterator[list[int]]:
    """The way to every value inside this one, and to itself."""
    yield []
    if isinstance(value, dict | list):
        for place, inner in enumerate(value.values() if isinstance(value, dict) else value):
            yield from ([place, *rest] for rest in each_place(inner))


@pytest.mark.parametrize("wire", WIRES)
def test_any_shape_in_every_place_of_an_error(wire: str) -> None:
    """A recorded error with another shape in any one place is still a ProviderError."""
    known = [case for case in cases(wire).values() if "error" in case and "body" in case]
    for case in known:
        for places in each_place(case["body"]):
            for new in (["x"], {"x": ["x"]}, 10**30, None, "x", []):
                body = json.dumps(mutated(case["body"], places, new)).encode()
                assert isinstance(parsed(wire, case, body), Completion | ProviderError)


@pytest.mark.parametrize("wire", FUZZED)
@given(data=st.data(), places=PLACES)
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_event(wire: str, data: st.DataObject, places: list[int]) -> None:
    """A real stream with any JSON in any place of any event upsets nothing."""
    known = [case for case in cases(wire).values() if "stream" in case]
    known = known or [case for case in cases("openai").values() if "stream" in case]
    case = data.draw(st.sampled_from(known))
    lines = str(case["stream"]).split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    mark, brace, rest = lines[at].partition("{")
    try:
        event = orjson.loads(brace + rest)
    except orjson.JSONDecodeError:
        event = None
    lines[at] = mark + json.dumps(mutated(event, places, data.draw(junk(wire))))
    _, outcome = fed(wire, case, ["\n".join(lines).encode()])
    assert isinstance(outcome, Completion | ProviderError)


@pytest.mark.parametrize("wire", FUZZED)
@given(data=st.data(), strange=st.binary(max_size=100))
@settings(max_examples=60, deadline=None)
def test_any_bytes(wire: str, data: st.DataObject, strange: bytes) -> None:
    """Any bytes, alone or in the middle of a real reply or stream, upset nothing."""
    case = data.draw(st.sampled_from(list(cases(wire).values())))
    real = raw(case)
    at = data.draw(st.integers(0, len(real)))
    for pieces in ([strange], [real[:at], strange, real[at:]]):
        body = b"".join(pieces)
        assert isinstance(parsed(wire, {"status": 200, **case}, body), Completion | ProviderError)
        assert isinstance(fed(wire, case, pieces)[1], Completion | ProviderError)


@pytest.mark.parametrize("wire", FUZZED)
def test_deep_values(wire: str) -> None:
    """A value nested deeper than JSON can be written, wherever it stands, is never passed on."""
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    for case in cases(wire).values():
        for place in range(6) if "body" in case else ():
            for below in ([], [0], [0, 0], [0, 0, 1], [0, 1, 2]):
                body = json.dumps(mutated(case["body"], [place, *below], deep)).encode()
                outcome = parsed(wire, case, body)
                if isinstance(outcome, Completion):
                    orjson.dumps([outcome.extras, outcome.tool_calls, outcome.choices])
