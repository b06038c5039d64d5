"""What an error means, where only its words or its place in a stream say it."""

import orjson
import pytest
from support.wires import WIRES, Json, fed, parsed, streamed_bytes

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ContextLength, ProviderError
from llmbatch_cli.core.types import Request, WireReply

TOO_LONG = {
    # recorded replies of these providers
    "groq": "Please reduce the length of the messages or completion.",
    "xai": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "perplexity": "Requested input tokens exceeds the maximum of 127072",
    "anthropic": "messages: too many total text bytes: 31457280 > 9000000",
    "anthropic 2": "prompt is too long: 213462 tokens > 200000 maximum",
    "anthropic 3": "input length and `max_tokens` exceed context limit: 190000 + 64000 > 204658",
    "bedrock": "Input is too long for requested model.",
    "bedrock 2": "The model returned the following errors: Input Tokens Exceeded: 210000 > 200000",
    "bedrock 3": "Too many input tokens. Max input tokens: 8192, request input token count: 20000",
    # as servers and clients write and match them in public code
    "openai": "Your input exceeds the context window of this model.",
    "openai 2": "This model's maximum context length is 8192 tokens. However, you requested 9000.",
    "vllm": "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
    "sglang": "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
    "sglang 2": "Input length (9000 tokens) exceeds the maximum allowed length (4095 tokens).",
    "llamacpp": "the request exceeds the available context size, try increasing it",
    "ollama": "prompt too long; exceeded max context length by 12 tokens",
    "lmstudio": "Trying to keep the first 9000 tokens when context the overflows.",
    "lmstudio 2": "The number of tokens to keep is greater than the context length",
    "tgi": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
    "tgi 2": "Input validation error: `inputs` must have less than 1024 tokens.",
    "huggingface": "tokens in request more than max tokens allowed",
    "mistral": "Prompt contains 4000 tokens, too large for model with 3276 maximum context length",
    "gemini": "The input token count (1196265) exceeds the maximum number of tokens allowed.",
    "vertex": "the input token count is 40000 but model only supports up to 32768",
    "cohere": "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "dashscope": "Range of input length should be [1, 30720]",
    "zhipu": "Prompt exceeds max length",
    "moonshot": "Invalid request: Your request exceeded model token limit: 8192",
    "minimax": "invalid params, context window exceeds limit (2013)",
    "github": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
    "copilot": "prompt token count of 300000 exceeds the limit of 128000",
    "watsonx": "the number of input tokens 5000 cannot exceed the total tokens limit 4096",
    "volcengine": "Total tokens of image and text exceed max message tokens",
}


def error_body(name: str, message: str) -> Json:
    if name == "cohere":
        return {"message": message}
    if name == "ollama":
        return {"error": message}
    if name == "bedrock":
        return {"message": message, "__type": "com.amazon#ValidationException"}
    if name == "gemini":
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    error = {"message": message, "type": "invalid_request_error"}
    return {"type": "error", "error": error} if name == "anthropic" else {"error": error}


@pytest.mark.parametrize("name", WIRES)
def test_context_length_by_everyones_words(name: str) -> None:
    """On every wire, since gateways pass on the words of others."""
    for message in TOO_LONG.values():
        body = orjson.dumps(error_body(name, message))
        for status in (400, 413, 422):
            found = parsed(WIRES[name], body, status)
            assert type(found) is ContextLength, (message, found)
        if name != "bedrock":
            assert type(fed(WIRES[name], body)) is ContextLength, message


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached: input tokens per minute exceeded",
        "This request would exceed your rate limit of 40,000 input tokens per minute",
        "Too many tokens, please wait before trying again.",
    ],
)
@pytest.mark.parametrize("name", ["openai", "groq", "anthropic", "bedrock", "ollama"])
def test_a_rate_is_no_context_length(name: str, message: str) -> None:
    """Words about a rate keep what the status says."""
    found = parsed(WIRES[name], orjson.dumps({"error": {"message": message}}), 429)
    assert type(found) is errors.RateLimited
    found = parsed(WIRES[name], orjson.dumps({"error": {"message": message}}), 200)
    assert not isinstance(found, ContextLength)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        # Groq, recorded
        (
            {
                "error": {
                    "message": "Failed to call a function.",
                    "type": "invalid_request_error",
                    "code": "tool_use_failed",
                    "status_code": 400,
                }
            },
            errors.Rejected,
        ),
        ({"error": {"message": "no", "type": "BadRequestError", "code": 400}}, errors.Rejected),
        ({"error": {"message": "no", "code": "400"}}, errors.Rejected),
        ({"error": {"message": "no", "status": 404}}, errors.Rejected),
        ({"error": {"message": "no", "type": "invalid_request_error"}}, errors.Rejected),
        ({"error": {"message": "no"}, "status": 422}, errors.Rejected),
        ({"error": {"message": "slow", "statusCode": 429}}, errors.RateLimited),
        ({"error": {"message": "who", "http_status": 401}}, errors.Unauthorized),
        ({"error": {"message": "busy", "code": 503}}, errors.Overloaded),
        ({"error": {"message": "odd", "code": "weird"}}, errors.Overloaded),
        ({"error": "boom"}, errors.Overloaded),
    ],
)
def test_an_error_event_that_names_its_status_is_read_by_it(
    event: Json, kind: type[ProviderError]
) -> None:
    """In a stream, asked for or not, and in a 200."""
    for name in ("openai", "groq"):
        wire = WIRES[name]
        stream = streamed_bytes(name, [*wire.events("hello")[:1], event])
        for found in (fed(wire, stream), parsed(wire, stream), parsed(wire, orjson.dumps(event))):
            assert type(found) is kind, found


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (
            b'error: {"code":400,"message":"the prompt is odd","type":"invalid_request_error"}\n\n',
            errors.Rejected,
            "the prompt is odd",
        ),
        (
            b'error: {"code":500,"message":"Context size has been exceeded."}',
            ContextLength,
            "Context size",
        ),
        (b"event: error\ndata: the model crashed\n\n", errors.Overloaded, "the model crashed"),
        (b'event: error\ndata: {"message": "crashed"}\n\n', errors.Overloaded, "crashed"),
        (b"data: upstream timed out\n\n", errors.Interrupted, "upstream timed out"),
    ],
)
@pytest.mark.parametrize("name", ["openai", "groq"])
def test_an_error_line_of_a_stream_keeps_its_words(
    name: str, line: bytes, kind: type[ProviderError], words: str
) -> None:
    """llama.cpp's `error:` field, an event of that name, and words in place of JSON."""
    wire = WIRES[name]
    for start in (b"", streamed_bytes(name, wire.events("hello")[:1])):
        found = fed(wire, start + line)
        assert type(found) is kind, found
        assert words in found.message


def test_a_model_of_text_alone_is_not_asked_again() -> None:
    """llama.cpp says in a 500 that the model takes no pictures."""
    body = {"error": {"code": 500, "message": "image input is not supported - hint: ..."}}
    with pytest.raises(errors.Rejected, match="image input"):
        WIRES["openai"].provider.parse(Request("m", [], {}), WireReply(500, {}, orjson.dumps(body)))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_billed(status: int) -> None:
    """Nobody works for a request that is sent elsewhere."""
    reply = WireReply(status, {"location": "https://elsewhere.example"}, b"")
    with pytest.raises(errors.BadReply) as raised:
        WIRES["openai"].provider.parse(Request("m", [], {}), reply)
    assert not raised.value.maybe_billed


def test_an_error_in_plain_text_is_shown_as_it_is() -> None:
    """What a gateway says in a line of text is its message, not a fault of the JSON."""
    words = b"upstream connect error or disconnect/reset before headers"
    with pytest.raises(errors.Overloaded) as raised:
        WIRES["openai"].provider.parse(Request("m", [], {}), WireReply(503, {}, words))
    assert raised.value.message == f"HTTP 503: {words.decode()}"


def test_no_quota_at_all_does_not_come_back() -> None:
    """A limit of 0 stays, whatever wait the message asks for: continuedev/continue 9570."""
    words = "check your plan and billing details. Quota exceeded, limit: 0. Please retry in 45s."
    reply = WireReply(429, {}, orjson.dumps({"error": {"message": words}}))
    with pytest.raises(errors.OutOfQuota):
        WIRES["openai"].provider.parse(Request("m", [], {}), reply)
