"""A 200 that holds the answer is read, on every wire, however the server has spoilt it.

Cases: public reports, each named as owner/repository and number (read 2026-11-26).
"""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from support.wires import WIRES, Json, Wire, answer, fed, parsed, streamed_bytes

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    ProviderError,
    Refused,
    Unreadable,
)
from llmbatch_cli.core.types import Completion

SPOILT = {
    # decolua/9router 3492 and 1396
    "done behind it": (b"%s\n\ndata: [DONE]\n\n", "hello"),
    # sgl-project/sglang 4097 and 2955, dphnAI/sonar 183
    "not a number": (b"%s", "hello"),
    "byte order mark": (b"\xef\xbb\xbf%s", "hello"),
    "null bytes behind it": (b"%s\0\0\r\n\0", "hello"),
    "keep-alives before it": (b": keep-alive\n\n\n : x\n%s", "hello"),
    # latitude-dev/latitude-llm PR 4230, ai-dynamo/dynamo PR 11114
    "half an emoji": (b"%s", "hel\ufffdlo \U0001f600"),
    "bytes that are not UTF-8": (b"%s", "hel\ufffdlo"),
    "raw control characters": (b"%s", "hel\tlo\x01"),
    "text behind it": (b"%s</body>", "hello"),
}
REFUSING = [name for name in WIRES if name not in ("cohere", "ollama")]
"""The wires on which an empty answer that a filter has ended is refused."""
RAW = {
    "half an emoji": b"hel\\ud83dlo \\ud83d\\ude00",
    "bytes that are not UTF-8": b"hel\xfflo",
    "raw control characters": b"hel\tlo\x01",
}


def spoilt(wire: Wire, how: str, stop: str | None = None) -> bytes:
    """The whole answer, spoilt in this way."""
    body = orjson.dumps({**wire.whole("hello", stop or wire.stop), "extra": "HERE"})
    body = body.replace(b'"hello"', b'"%b"' % RAW.get(how, b"hello"))
    numbers = b"[NaN, -Infinity, 1e999, %b]" % (b"9" * 5000)
    return SPOILT[how][0].replace(
        b"%s", body.replace(b'"HERE"', numbers if "number" in how else b"0")
    )


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", WIRES)
def test_what_is_not_quite_json_is_read(name: str, how: str) -> None:
    """The text is there, with U+FFFD for what is no character, asked for as a stream or not."""
    wire, body = WIRES[name], spoilt(WIRES[name], how)
    for found in (parsed(wire, body), fed(wire, body)):
        completion = answer(found)
        assert (completion.text, completion.finish_reason) == (SPOILT[how][1], "stop")
        assert completion.usage is not None
        assert completion.usage.total_tokens == 5


def test_numbers_that_are_none_become_null() -> None:
    """Log probabilities of -Infinity stay in the row, as null (sgl-project/sglang 4097)."""
    body = WIRES["openai"].whole("No", "stop")
    body["choices"][0]["logprobs"] = {"content": [{"token": "#", "logprob": "HERE"}]}
    raw = orjson.dumps(body).replace(b'"HERE"', b"-Infinity")
    assert answer(parsed(WIRES["openai"], raw)).extras["logprobs"] == {
        "content": [{"token": "#", "logprob": None}]
    }
    events = WIRES["openai"].events("No")
    events[0]["choices"][0]["logprobs"] = body["choices"][0]["logprobs"]
    raw = streamed_bytes("openai", events).replace(b'"HERE"', b"NaN")
    for found in (parsed(WIRES["openai"], raw), fed(WIRES["openai"], raw)):
        assert answer(found).extras["logprobs"]["content"][0]["logprob"] is None


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/html", ""])
@pytest.mark.parametrize("name", WIRES)
def test_the_body_tells_what_a_reply_is(name: str, kind: str) -> None:
    """A stream that was not asked for, and a whole answer where one was, by any label.

    Alishahryar1/free-claude-code PR 486, BerriAI/litellm PR 34095, cita-777/metapi PR 177.
    """
    wire, headers = WIRES[name], {"content-type": kind} if kind else {}
    stream = streamed_bytes(name, wire.events("hello"))
    pretty = orjson.dumps(wire.whole("hello", wire.stop), option=orjson.OPT_INDENT_2)
    whole = pretty if name != "ollama" else orjson.dumps(wire.whole("hello", wire.stop))
    outcomes = [parsed(wire, stream, 200, headers), fed(wire, stream, headers)]
    outcomes += [parsed(wire, pretty, 200, headers), fed(wire, whole, headers)]
    for completion in map(answer, outcomes):
        assert (completion.text, completion.finish_reason) == ("hello", "stop")
        assert completion.usage is not None
        assert completion.usage.total_tokens == 5


@pytest.mark.parametrize("name", [name for name in WIRES if name != "bedrock"])
def test_streams_in_other_clothes(name: str) -> None:
    """`data:` before each line or not, named events, CR LF, no last line end, one whole event."""
    wire = WIRES[name]
    lines = [orjson.dumps(event) for event in wire.events("hello")]
    whole = orjson.dumps(wire.whole("hello", wire.stop))
    bodies = [
        b"\n".join(lines),
        b"[" + b",\r\n".join(lines) + b"]",
        b"".join(b"event: x\r\ndata:%b\r\n\r\n" % line for line in lines),
        b": hi\n\n" + b"\n\n".join(b"data: " + line for line in lines),
        b"\xef\xbb\xbf"
        + b"".join(b"id: 1\ndata: %b\n\n" % line for line in lines)
        + b"data: [DONE]",
        b"data: ping\n\n" + b"".join(b"data: %b\n\n" % line for line in lines),
        b"data: " + whole + b"\n\ndata: [DONE]\n\n",
        b"event: message\ndata: " + whole,
    ]
    for body in bodies:
        for found in (parsed(wire, body), fed(wire, body)):
            completion = answer(found)
            assert (completion.text, completion.finish_reason) == ("hello", "stop"), body


@pytest.mark.parametrize("status", [201, 202, 203, 206])
@pytest.mark.parametrize("name", WIRES)
def test_any_status_of_success(name: str, status: int) -> None:
    """A whole answer under another 2xx is one."""
    wire = WIRES[name]
    assert (
        answer(parsed(wire, orjson.dumps(wire.whole("hello", wire.stop)), status)).text == "hello"
    )


@pytest.mark.parametrize(
    "error",
    [
        {"message": "", "type": "", "code": None, "param": None},
        {"code": 0, "message": "success"},
        {"code": "200", "message": "ok"},
        {"message": "", "details": {"info": []}},
        {},
        [],
        "",
        False,
    ],
)
@pytest.mark.parametrize("name", [name for name in WIRES if name != "cohere"])
def test_an_empty_error_beside_an_answer_is_none(name: str, error: object) -> None:
    """Some servers put an error object into every reply, and into every event."""
    wire = WIRES[name]
    body = orjson.dumps({**wire.whole("hello", wire.stop), "error": error})
    assert answer(parsed(wire, body)).text == "hello"
    if name != "bedrock":
        events = [{**event, "error": error} for event in wire.events("hello")]
        assert answer(fed(wire, streamed_bytes(name, events))).text == "hello"


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, str.title, "-{}".format, "FINISH_REASON_{}".format]
)
@pytest.mark.parametrize("name", WIRES)
def test_finish_reasons_in_any_case(name: str, change: Callable[[str], str]) -> None:
    """QwenLM/qwen-code 9882, Portkey-AI/gateway 1200, langgenius/dify 8550."""
    wire = WIRES[name]
    for word, meant in ((wire.stop, "stop"), (wire.length, "length")):
        found = answer(parsed(wire, orjson.dumps(wire.whole("hello", change(word)))))
        assert (found.finish_reason, found.text) == (meant, "hello")
    refused = parsed(wire, orjson.dumps(wire.whole("", change(wire.filtered))))
    if name in REFUSING:
        assert isinstance(refused, Refused), refused


def test_a_word_that_is_not_known_stays_in_native() -> None:
    """It is never guessed."""
    found = answer(parsed(WIRES["openai"], orjson.dumps(WIRES["openai"].whole("hi", "Whim"))))
    assert (found.finish_reason, found.native_finish_reason) == (None, "Whim")


def changed(value: object, change: Callable[[int], object]) -> object:
    """The value with every number in it changed."""
    if isinstance(value, dict):
        return {name: changed(inner, change) for name, inner in value.items()}
    return change(value) if type(value) is int else value


@pytest.mark.parametrize("change", [str, float, lambda n: f"{n}.0", lambda n: f" {n} "])
@pytest.mark.parametrize("name", WIRES)
def test_usage_as_text_or_float(name: str, change: Callable[[int], object]) -> None:
    """Counts are counted, however they are written."""
    wire = WIRES[name]
    body = wire.whole("hello", wire.stop)
    body = {
        key: value if "choices" in key else changed(value, change) for key, value in body.items()
    }
    usage = answer(parsed(wire, orjson.dumps(body))).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 2, 5)
    assert type(usage.prompt_tokens) is int


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "text", "text": "hello"}, "hello"),
        ({"text": "hello"}, "hello"),
        (["hel", "lo"], "hello"),
        ([{"type": "text", "text": {"value": "hello"}}], "hello"),
        ({"answer": 42}, '{"answer":42}'),
        (42, "42"),
        ([{"answer": 42}], '[{"answer":42}]'),
        ([], ""),
        ({}, ""),
    ],
)
def test_content_of_any_shape_is_the_text(content: object, text: str) -> None:
    """An object is its text, or, where it is the answer's own JSON, that JSON."""
    for name in ("openai", "groq", "ollama"):
        wire = WIRES[name]
        assert answer(parsed(wire, orjson.dumps(wire.whole(content, wire.stop)))).text == text


@pytest.mark.parametrize("content", ["hello", {"type": "text", "text": "hello"}, ["hello"]])
@pytest.mark.parametrize("name", ["anthropic", "cohere", "bedrock", "gemini", "responses"])
def test_a_wire_of_blocks_reads_a_bare_text(name: str, content: object) -> None:
    """A gateway may give the text where the wire has a list of blocks."""
    wire = WIRES[name]
    body = wire.whole("", wire.stop)
    if name == "gemini":
        body["candidates"][0]["content"]["parts"] = content
    else:
        holders = {"cohere": "message", "bedrock": "output", "responses": "output"}
        holder: Any = body[holders[name]] if name in holders else body
        holder = holder[0] if isinstance(holder, list) else holder.get("message", holder)
        holder["content"] = content
    assert answer(parsed(wire, orjson.dumps(body))).text == "hello"


def test_calls_without_a_name_are_none() -> None:
    """Empty legacy fields beside an answer are no call of a function."""
    nothing = {"name": "", "arguments": ""}
    for more in (
        {"function_call": nothing},
        {"tool_calls": [{"id": "", "type": "function", "function": nothing}]},
        {"tool_calls": [{"function": None}], "function_call": None},
    ):
        body = WIRES["openai"].whole("hello", "stop")
        body["choices"][0]["message"].update(more)
        found = answer(parsed(WIRES["openai"], orjson.dumps(body)))
        assert (found.text, found.tool_calls, found.finish_reason) == ("hello", [], "stop")
        events = WIRES["openai"].events("hello")
        events[0]["choices"][0]["delta"].update(more)
        assert answer(fed(WIRES["openai"], streamed_bytes("openai", events))).tool_calls == []
    body = WIRES["anthropic"].whole("hello", "end_turn")
    body["content"].append({"type": "tool_use", "name": "", "input": {}})
    assert not answer(parsed(WIRES["anthropic"], orjson.dumps(body))).tool_calls


def test_a_filtered_completion_without_a_message_is_refused() -> None:
    """Azure's filter may leave nothing but its results; that is not tried again."""
    results = {"hate": {"filtered": True, "severity": "high"}}
    choice = {"index": 0, "finish_reason": "content_filter", "content_filter_results": results}
    usage = {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}
    body = orjson.dumps({"id": "c", "choices": [choice], "usage": usage})
    for name in ("openai", "azure", "groq", "mistral"):
        found = parsed(WIRES[name], body)
        assert isinstance(found, Refused)
        assert (found.retry, found.maybe_billed, found.usage.prompt_tokens) == (False, True, 9)


@pytest.mark.parametrize("name", REFUSING)
def test_a_refusal_keeps_its_usage(name: str) -> None:
    """What a reply counts is billed, also where it holds no answer."""
    wire = WIRES[name]
    body = wire.whole("", wire.filtered)
    for found in (parsed(wire, orjson.dumps(body)), fed(wire, orjson.dumps(body))):
        assert isinstance(found, Refused), found
        assert found.maybe_billed
        assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (3, 2)


@pytest.mark.parametrize("name", WIRES)
def test_a_stream_that_ends_in_an_error_after_text_may_be_billed(name: str) -> None:
    """An error event behind text, and an end without an end mark, say so; before any text not."""
    wire = WIRES[name]
    events = list(wire.events("hello"))
    text_at = next(i for i, event in enumerate(events) if b"he" in orjson.dumps(event)[:300])
    start = streamed_bytes(name, events[: text_at + 2])
    failed: Json = {"error": {"message": "try later", "type": "overloaded_error"}}
    if name == "cohere":
        failed = {"message": "try later"}
    if name == "anthropic":
        failed["type"] = "error"
    end = streamed_bytes(name, [failed]) if name != "bedrock" else b""
    if end:
        found = fed(wire, start + end)
        assert isinstance(found, ProviderError)
        assert found.maybe_billed
        assert "try later" in found.message
        first = fed(wire, end)
        assert isinstance(first, ProviderError)
        assert not first.maybe_billed
    cut = fed(wire, streamed_bytes(name, events[: text_at + 1])[:-3])
    assert isinstance(cut, Interrupted), cut
    assert cut.maybe_billed


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (
            b'{"choices": [{"message": {"content": "hel',
            "cut off at line 1, column 42 (byte 41 of 41)",
        ),
        (b'{"a": 1,\n "b": 2\n "c": 3}', "line 3, column 2 (byte 18 of 25): …"),
        (b'{"a": ' + b"[" * 5000, "nested too deeply"),
        (b"upstream connect error", "line 1, column 1 (byte 0 of 22): …upstream connect error"),
        (b"<html><body>Sign in</body>", "a web page"),
        (b"", "empty"),
    ],
)
def test_a_bad_reply_says_where_it_is_bad(body: bytes, where: str) -> None:
    """Line, column, byte and the text around it."""
    for wire in (WIRES["openai"], WIRES["anthropic"], WIRES["gemini"]):
        found = parsed(wire, body)
        assert type(found) is BadReply
        assert where in found.message


@pytest.mark.parametrize("body", [{"request_id": "x", "status": "PENDING"}, {"status": "queued"}])
def test_a_job_in_place_of_an_answer_is_not_begun_again(body: Json) -> None:
    """A reply that is only queued is not asked for once more, on any wire."""
    for name, wire in WIRES.items():
        found = parsed(wire, orjson.dumps(body))
        assert isinstance(found, Unreadable), name
        assert isinstance(parsed(wire, b"{}", 202), Unreadable)
        assert not found.retry


def test_a_text_that_holds_json_is_read() -> None:
    """Some gateways put the whole body into a JSON text."""
    inner = orjson.dumps(WIRES["openai"].whole("hello", "stop")).decode()
    assert answer(parsed(WIRES["openai"], orjson.dumps(inner))).text == "hello"


@pytest.mark.parametrize("name", WIRES)
def test_two_halves_of_a_stream_are_no_answer(name: str) -> None:
    """Leniency ends where the answer does: a stream without its end is Interrupted, unasked too."""
    wire = WIRES[name]
    events = wire.events("hello")
    half = streamed_bytes(name, events[: len(events) // 2])
    for found in (parsed(wire, half), fed(wire, half)):
        assert not isinstance(found, Completion), found
        assert found.retry


@pytest.mark.parametrize("name", WIRES)
def test_a_gateway_that_has_given_up_leaves_the_bill_open(name: str) -> None:
    """The server behind it may go on with the work; one that is overloaded has not begun it."""
    for status, billed in ((504, True), (524, True), (503, False), (429, False)):
        found = parsed(WIRES[name], b"<html>later</html>", status)
        assert isinstance(found, ProviderError)
        assert found.maybe_billed == billed, status
