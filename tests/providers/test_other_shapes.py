"""Answers and errors in the shapes of another API, as gateways and small servers send them."""

import gzip
from typing import Any

import orjson
import pytest
from support.wires import WIRES, Json, answer, fed, parsed, streamed_bytes

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ProviderError

OPENAI = WIRES["openai"]
BODY = OPENAI.whole("hello", "stop")
USAGE = BODY["usage"]


def choice(**fields: Any) -> Json:
    return {"choices": [{"finish_reason": "stop", **fields}], "usage": USAGE}


@pytest.mark.parametrize(
    "body",
    [
        choice(text="hello"),
        choice(message="hello"),
        choice(delta={"role": "assistant", "content": "hello"}),
        {"code": 0, "msg": "success", "data": BODY},
        {"success": True, "result": BODY},
        {"output": {"choices": BODY["choices"], "usage": USAGE}},
        {**BODY, "error": "null"},
        {**BODY, "error": {"message": "this model will be retired", "code": "warning"}},
        {**BODY, "usage": {"input_tokens": 3, "output_tokens": 2}},
    ],
)
@pytest.mark.parametrize("name", ["openai", "groq", "mistral", "azure"])
def test_an_answer_in_another_shape_is_kept(name: str, body: Json) -> None:
    """It is paid for: old completions, parts of a stream as one, envelopes, warnings."""
    found = answer(parsed(WIRES[name], orjson.dumps(body)))
    assert (found.text, found.finish_reason) == ("hello", "stop")
    assert found.usage is not None
    assert found.usage.total_tokens == 5


def test_an_answer_packed_or_coded_without_a_word_is_kept() -> None:
    """gzip without its header, and a character set that only the header names."""
    assert answer(parsed(OPENAI, gzip.compress(orjson.dumps(BODY)))).text == "hello"
    body = orjson.dumps(OPENAI.whole("caf_", "stop")).replace(b"_", b"\xe9")
    headers = {"content-type": "application/json; charset=ISO-8859-1"}
    assert answer(parsed(OPENAI, body, headers=headers)).text == "caf\xe9"
    headers = {"content-type": "application/json; charset=none-such"}
    assert answer(parsed(OPENAI, body, headers=headers)).text == "caf\ufffd"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"data: ", b"data: data: "), (b"data: ", b"data:data:"), (b"}\n\n", b"}\n")],
    ids=["framed twice", "framed twice, without spaces", "no empty lines"],
)
@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "responses"])
def test_a_stream_framed_badly_is_read(name: str, old: bytes, new: bytes) -> None:
    """A gateway that frames a framed stream, and one that leaves out the empty lines."""
    wire = WIRES[name]
    stream = streamed_bytes(name, wire.events("hello")) + b"data: [DONE]\n\n"
    for found in (parsed(wire, stream.replace(old, new)), fed(wire, stream.replace(old, new))):
        assert answer(found).text == "hello"


def test_old_completions_are_read_as_a_stream() -> None:
    """`text` in place of `delta`, as the completions of before had it."""
    events: list[Json] = [
        {"choices": [{"index": 0, "text": piece, "finish_reason": stop}]}
        for piece, stop in (("hel", None), ("lo", "stop"))
    ]
    stream = streamed_bytes("openai", events)
    for found in (parsed(OPENAI, stream), fed(OPENAI, stream)):
        assert answer(found).text == "hello"


def test_reasoning_details_are_the_reasoning() -> None:
    """OpenRouter's and MiniMax's form of it, at any address."""
    body = OPENAI.whole("hello", "stop")
    body["choices"][0]["message"]["reasoning_details"] = [{"type": "x", "text": "thought"}]
    assert answer(parsed(OPENAI, orjson.dumps(body))).reasoning == "thought"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "Rate limit reached for requests", errors.RateLimited),
        (403, "rate limit exceeded", errors.RateLimited),
        (403, "Quota exceeded for quota metric 'Requests per minute'", errors.RateLimited),
        (200, "API rate limit exceeded", errors.RateLimited),
        (400, "API key not valid. Please pass a valid API key.", errors.Unauthorized),
        (400, "Incorrect API key provided: x", errors.Unauthorized),
        (200, "invalid API key provided", errors.Unauthorized),
        (404, "The API deployment for this resource does not exist.", errors.UnknownModel),
        (400, "The model `x` has been decommissioned and is no longer", errors.UnknownModel),
        (410, "The requested model is deprecated", errors.UnknownModel),
        (404, "No endpoints found matching your data policy", errors.UnknownModel),
        (404, "No allowed providers are available for the selected model", errors.UnknownModel),
        # and what must not be taken for any of these
        (400, "temperature is not supported: `temperature` is deprecated", errors.Rejected),
        (400, "invalid value for rate_limit_tier", errors.Rejected),
        (403, "your account has no access", errors.Unauthorized),
        (413, "Request too large for model `m` on tokens per minute (TPM)", errors.Rejected),
        (421, "", errors.Overloaded),
        (423, "", errors.Overloaded),
        (424, "Request failed during generation", errors.Overloaded),
        (498, "Flex tier capacity exceeded", errors.Overloaded),
        (499, "client closed request", errors.Overloaded),
    ],
)
def test_a_vague_status_is_read_with_its_words(
    status: int, words: str, kind: type[ProviderError]
) -> None:
    """In an `error` object, or bare as FastAPI's, Kong's and Cloudflare's are."""
    bodies: list[Json] = [{"error": {"message": words}}]
    if status == 200:
        bodies = [{"detail": words}, {"message": words}, {"errors": [{"message": words}]}]
    for body in bodies:
        assert type(parsed(OPENAI, orjson.dumps(body), status)) is kind


def test_a_choice_that_failed_tells_why() -> None:
    """The words of the upstream server, beside the finish reason `error`."""
    body = choice(message={"content": ""}, error={"code": 502, "message": "upstream died"})
    body["choices"][0]["finish_reason"] = "error"
    found = parsed(OPENAI, orjson.dumps(body))
    assert type(found) is errors.Overloaded
    assert "upstream died" in found.message
