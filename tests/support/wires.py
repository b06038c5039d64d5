"""One answer as every wire gives it: whole, and as the events of a stream."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from support.event_frames import event_frame

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.types import Completion, Request, WireReply
from llmbatch_cli.providers.anthropic.provider import Anthropic
from llmbatch_cli.providers.base import Provider, Settings
from llmbatch_cli.providers.bedrock.provider import Bedrock
from llmbatch_cli.providers.cohere.provider import Cohere
from llmbatch_cli.providers.gemini.provider import Gemini
from llmbatch_cli.providers.mistral.provider import Mistral
from llmbatch_cli.providers.ollama.provider import Ollama
from llmbatch_cli.providers.openai.azure import Azure
from llmbatch_cli.providers.openai.compatible import Compatible
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.responses.provider import Responses

Json = dict[str, Any]
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Wire:
    """How a wire says `text`, ended by its word `stop`, of 3 tokens in and 2 out."""

    provider: Provider
    whole: Callable[[Any, str], Json]
    """The body of a whole reply. The text may be anything, to be spoilt."""
    events: Callable[[str], Sequence[Json]]
    """The events of the text's stream, in two pieces, with the end mark."""
    stop: str
    length: str
    filtered: str


def settings(name: str) -> Settings:
    return Settings(name, "https://example.com/v1", "sk-the-key")


def _chat(text: Any, stop: str) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": stop}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "c-1", "object": "chat.completion", "choices": [choice], "usage": usage}


def _chat_events(text: str) -> list[Json]:
    def chunk(delta: Json, stop: str | None = None) -> Json:
        return {"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": stop}]}

    usage = {"choices": [], "usage": _chat("", "stop")["usage"]}
    return [
        chunk({"role": "assistant", "content": text[:2]}),
        chunk({"content": text[2:]}, "stop"),
        usage,
    ]


def _message(text: Any, stop: str) -> Json:
    usage = {"input_tokens": 3, "output_tokens": 2}
    block = {"type": "text", "text": text}
    kind = {"id": "m-1", "type": "message", "role": "assistant"}
    return {**kind, "content": [block], "stop_reason": stop, "usage": usage}


def _message_events(text: str) -> list[Json]:
    def delta(piece: str) -> Json:
        inner = {"type": "text_delta", "text": piece}
        return {"type": "content_block_delta", "index": 0, "delta": inner}

    start = {**_message("", ""), "content": [], "stop_reason": None}
    block = {"type": "text", "text": ""}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        delta(text[:2]),
        delta(text[2:]),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]


def _response(text: Any, stop: str) -> Json:
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    ended: Json = {"status": stop}
    if stop.lower() != "completed":
        ended = {"status": "incomplete", "incomplete_details": {"reason": stop}}
    return {"id": "r-1", "object": "response", **ended, "output": [item], "usage": usage}


def _response_events(text: str) -> list[Json]:
    def delta(piece: str) -> Json:
        return {"type": "response.output_text.delta", "delta": piece}

    whole = {"type": "response.completed", "response": _response(text, "completed")}
    return [{"type": "response.created", "response": {}}, delta(text[:2]), delta(text[2:]), whole]


def _candidate(text: Any, stop: str) -> Json:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": stop}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    return {"candidates": [candidate], "usageMetadata": usage}


def _candidate_events(text: str) -> list[Json]:
    first = _candidate(text[:2], "")
    del first["candidates"][0]["finishReason"]
    return [first, _candidate(text[2:], "STOP")]


def _cohere(text: Any, stop: str) -> Json:
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    usage = {"tokens": {"input_tokens": 3, "output_tokens": 2}}
    return {"id": "co-1", "message": message, "finish_reason": stop, "usage": usage}


def _cohere_events(text: str) -> list[Json]:
    def delta(piece: str) -> Json:
        return {"type": "content-delta", "delta": {"message": {"content": {"text": piece}}}}

    end = {"finish_reason": "COMPLETE", "usage": _cohere("", "")["usage"]}
    start: Json = {"type": "message-start", "id": "co-1"}
    return [start, delta(text[:2]), delta(text[2:]), {"type": "message-end", "delta": end}]


def _ollama(text: Any, stop: str) -> Json:
    counts = {"prompt_eval_count": 3, "eval_count": 2}
    message = {"role": "assistant", "content": text}
    return {"model": "m", "message": message, "done": True, "done_reason": stop, **counts}


def _ollama_events(text: str) -> list[Json]:
    first = {"model": "m", "message": {"role": "assistant", "content": text[:2]}, "done": False}
    return [first, _ollama(text[2:], "stop")]


def _converse(text: Any, stop: str) -> Json:
    message = {"role": "assistant", "content": [{"text": text}]}
    return {"output": {"message": message}, "stopReason": stop, "usage": _CONVERSED}


_CONVERSED = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


def _converse_events(text: str) -> list[Json]:
    def delta(piece: str) -> Json:
        return {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": piece}}}

    end: list[Json] = [
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": _CONVERSED}},
    ]
    return [{"messageStart": {"role": "assistant"}}, delta(text[:2]), delta(text[2:]), *end]


def _chat_wire(provider: Provider) -> Wire:
    return Wire(provider, _chat, _chat_events, "stop", "length", "content_filter")


WIRES: Mapping[str, Wire] = {
    "openai": _chat_wire(OpenAI(settings("openai"))),
    "groq": _chat_wire(Compatible(settings("groq"))),
    "azure": _chat_wire(Azure(settings("azure"))),
    "mistral": _chat_wire(Mistral(settings("mistral"))),
    "anthropic": Wire(
        Anthropic(settings("anthropic")),
        *(_message, _message_events, "end_turn", "max_tokens", "refusal"),
    ),
    "responses": Wire(
        Responses(settings("openai")),
        *(_response, _response_events, "completed", "max_output_tokens", "content_filter"),
    ),
    "gemini": Wire(
        Gemini(settings("gemini")),
        *(_candidate, _candidate_events, "STOP", "MAX_TOKENS", "SAFETY"),
    ),
    "cohere": Wire(
        Cohere(settings("cohere")),
        *(_cohere, _cohere_events, "COMPLETE", "MAX_TOKENS", "content_filter"),
    ),
    "ollama": Wire(
        Ollama(settings("ollama")),
        *(_ollama, _ollama_events, "stop", "length", "content_filter"),
    ),
    "bedrock": Wire(
        Bedrock(settings("bedrock")),
        *(_converse, _converse_events, "end_turn", "max_tokens", "guardrail_intervened"),
    ),
}


def request(*, stream: bool = False) -> Request:
    return Request("a-model", [{"role": "user", "content": "Hi"}], {}, stream)


def streamed_bytes(name: str, events: Sequence[Json]) -> bytes:
    """The events as the wire frames them."""
    if name == "bedrock":
        return b"".join(
            event_frame({":message-type": "event", ":event-type": kind}, payload)
            for event in events
            for kind, payload in event.items()
        )
    if name == "ollama":
        return b"".join(orjson.dumps(event) + b"\n" for event in events)
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def parsed(
    wire: Wire, body: bytes, status: int = 200, headers: Headers | None = None
) -> Completion | ProviderError:
    """What a reply to a request without a stream is."""
    try:
        return wire.provider.parse(request(), WireReply(status, headers or {}, body))
    except ProviderError as error:
        return error


def fed(wire: Wire, body: bytes, headers: Headers | None = None) -> Completion | ProviderError:
    """What a reply to a request for a stream is, read in pieces of 7 bytes."""
    reader = wire.provider.stream(request(stream=True), headers or {})
    try:
        for at in range(0, len(body), 7):
            reader.feed(body[at : at + 7])
        return reader.finish()
    except ProviderError as error:
        return error


def answer(found: Completion | ProviderError) -> Completion:
    """The answer. An error fails the test, with its message."""
    assert isinstance(found, Completion), repr(found)
    return found
