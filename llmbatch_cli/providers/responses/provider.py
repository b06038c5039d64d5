"""OpenAI's Responses API, the second wire of openai, for the models that answer only there.

Sources (read 2026-11-22): developers.openai.com/api/docs/api-reference/responses, /guides/
streaming-responses; Response, ResponseError and the events of the Python SDK 3.54.0. llama.cpp
and vLLM serve /v1/responses too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from llmbatch_cli.core.errors import BadReply, Interrupted, ProviderError, Refused, Rejected
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, FinishReason, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.openai.errors import ERROR_CODES, Said, meaning
from llmbatch_cli.providers.openai.models import needs_responses
from llmbatch_cli.providers.openai.provider import OpenAI, writable
from llmbatch_cli.providers.responses.body import body
from llmbatch_cli.providers.wire.framing import ServerSentEvents
from llmbatch_cli.providers.wire.messages import post
from llmbatch_cli.providers.wire.replies import (
    clean,
    count,
    excerpt,
    json_object,
    mapping,
    rate_info,
    text_or_none,
)

CODES: Final[Mapping[str, type[ProviderError]]] = {
    **ERROR_CODES,
    "bio_policy": Refused,
    "misalignment_policy_violation": Refused,
    "image_content_policy_violation": Refused,
    "data_residency_mismatch": Rejected,
    "invalid_image": Rejected,
    "invalid_image_format": Rejected,
    "invalid_base64_image": Rejected,
    "invalid_image_url": Rejected,
    "invalid_image_mode": Rejected,
    "image_too_large": Rejected,
    "image_too_small": Rejected,
    "image_parse_error": Rejected,
    "image_file_too_large": Rejected,
    "unsupported_image_media_type": Rejected,
    "empty_image_file": Rejected,
    "failed_to_download_image": Rejected,
    "image_file_not_found": Rejected,
}
"""`error.code` of a response that failed, whose HTTP status is 200 all the same."""

INCOMPLETE: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
"""`incomplete_details.reason` by its meaning."""


class Responses(OpenAI):
    """The Responses API at one address with one key."""

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._url = f"{self.base_url}/responses"

    def build(self, request: Request) -> WireRequest:
        built = body(request, self.name, self.neutral(request))
        return post(self._url, self._headers, request, built)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        return ResponseStream(self, request, headers)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(reply, request.model)
        found = json_object(reply)
        if found.get("error") or found.get("status") == "failed":
            raise self.error(reply, request.model)
        return self.read(found, reply)

    def read(self, body: dict[str, Any], reply: WireReply) -> Completion:
        output = body.get("output")
        if not isinstance(output, list):
            raise BadReply(f"the reply has no output: {excerpt(reply.body)}", status=200)
        items = [item for item in output if isinstance(item, dict)]
        contents = [part for item in items for part in _contents(item)]
        texts = _texts(contents, "output_text", "text")
        calls = _calls(items)
        finish, native = _finish(body, bool(calls))
        text = "".join(texts) if texts or not calls else None
        if not text:
            _raise_if_refused(contents, native)
        return Completion(
            text=text,
            finish_reason=finish,
            native_finish_reason=native,
            usage=usage(body.get("usage")),
            model=text_or_none(body.get("model")),
            reasoning="\n\n".join(_thoughts(items)) or None,
            tool_calls=calls,
            extras=_extras(items, contents),
            response_id=text_or_none(body.get("id")),
            request_id=reply.headers.get("x-request-id"),
            limits=rate_info(reply.headers),
        )

    def meaning(self, said: Said) -> type[ProviderError]:
        return meaning(said, CODES)


def _finish(body: Mapping[str, Any], calls: bool) -> tuple[FinishReason | None, str | None]:
    """Why the answer ended, by this program's words and by OpenAI's."""
    status = text_or_none(body.get("status"))
    if status == "completed":
        return ("tool_calls" if calls else "stop"), status
    if status == "incomplete":
        reason = text_or_none(mapping(body.get("incomplete_details")).get("reason"))
        return INCOMPLETE.get(reason or ""), reason or status
    if status in ("queued", "in_progress", "cancelled"):
        raise BadReply(f"the response is not there: its status is {status}", status=200)
    return None, status


def _raise_if_refused(contents: Sequence[Mapping[str, Any]], native: str | None) -> None:
    refusals = _texts(contents, "refusal", "refusal")
    if refusals:
        raise Refused(f"the model refused: {clean(''.join(refusals))}", status=200)
    if native == "content_filter":
        raise Refused("the content filter left nothing of the answer", status=200)


def _contents(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = item.get("content") if item.get("type") == "message" else None
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _texts(parts: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[str]:
    found = (part.get(name) for part in parts if part.get("type") == kind)
    return [text for text in found if isinstance(text, str) and text]


def _thoughts(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the reasoning items tell: OpenAI's summaries, or the thoughts of open models."""
    thoughts: list[str] = []
    for item in items:
        if item.get("type") == "reasoning":
            for name, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
                parts = item.get(name)
                if isinstance(parts, list):
                    thoughts += _texts([mapping(part) for part in parts], kind, "text")
    return thoughts


def _calls(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tool calls in the shape that chat completions give them."""
    calls: list[Mapping[str, Any]] = []
    for item in items:
        kind, name = item.get("type"), text_or_none(item.get("name")) or ""
        identity = text_or_none(item.get("call_id")) or f"call_{len(calls)}"
        if kind == "function_call":
            arguments = text_or_none(item.get("arguments")) or "{}"
            function = {"name": name, "arguments": arguments}
            calls.append({"id": identity, "type": "function", "function": function})
        elif kind == "custom_tool_call":
            custom = {"name": name, "input": text_or_none(item.get("input")) or ""}
            calls.append({"id": identity, "type": "custom", "custom": custom})
    return calls


def _extras(
    items: Sequence[Mapping[str, Any]], contents: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Annotations, log probabilities, a refusal beside text, and what OpenAI's own tools did."""
    known = ("message", "reasoning", "function_call", "custom_tool_call")
    tokens = [token for part in contents for token in _list(part, "logprobs")]
    found = {
        "annotations": [note for part in contents for note in _list(part, "annotations")],
        "logprobs": {"content": tokens} if tokens else None,
        "refusal": "".join(_texts(contents, "refusal", "refusal")),
        "output": [item for item in items if item.get("type") not in known],
    }
    return writable({name: value for name, value in found.items() if value})


def _list(part: Mapping[str, Any], name: str) -> list[Any]:
    found = part.get(name)
    return found if isinstance(found, list) else []


def usage(value: object) -> Usage | None:
    """The Responses API's usage in this program's words; None where there is none."""
    if not isinstance(value, dict):
        return None
    details = mapping(value.get("input_tokens_details"))
    return Usage(
        prompt_tokens=count(value.get("input_tokens")),
        completion_tokens=count(value.get("output_tokens")),
        total_tokens=count(value.get("total_tokens")),
        cached_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        reasoning_tokens=count(mapping(value.get("output_tokens_details")).get("reasoning_tokens")),
    )


ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


class ResponseStream(Stream):
    """Reads one streamed response; the last event holds it whole."""

    def __init__(self, provider: Responses, request: Request, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._request = request
        self._headers = headers
        self._events = ServerSentEvents()
        self._items: list[Any] = []
        self._response: dict[str, Any] | None = None

    def feed(self, data: bytes) -> str:
        return "".join([self._take(event) for _, event in self._events.feed(data)])

    def finish(self) -> Completion:
        if self._response is None:
            raise Interrupted("the stream ended before the response did", status=200)
        if not self._response.get("output") and self._items:
            self._response["output"] = self._items
        return self._read(self._response)

    def _read(self, response: Mapping[str, Any]) -> Completion:
        try:
            data = orjson.dumps(response)
        except TypeError as error:
            raise BadReply(f"the stream cannot be put together: {error}", status=200) from error
        return self._provider.parse(self._request, WireReply(200, self._headers, data))

    def _take(self, data: bytes) -> str:
        """What one event adds to the answer's text."""
        if data == b"[DONE]":
            return ""
        try:
            event = mapping(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise BadReply(f"an event is no JSON: {excerpt(data)}", status=200) from error
        kind = event.get("type")
        if kind == "response.output_text.delta":
            return text_or_none(event.get("delta")) or ""
        if kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in ENDS:
            self._response = dict(mapping(event.get("response")))
        elif kind == "error" or event.get("error"):
            self._read({"error": event.get("error") or {**event, "type": ""}})
        return ""


class ByRequest(Provider):
    """OpenAI over both its wires: each request over the one that answers it.

    That is chat completions where they do, and at every address that is not OpenAI's.
    """

    def __init__(self, settings: Settings) -> None:
        self._chat = OpenAI(settings)
        self._responses = Responses(settings)
        super().__init__(settings)

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._chat.aim(base_url)
        self._responses.aim(base_url)

    def _wire(self, request: Request) -> OpenAI:
        needed = self._chat.at_home and needs_responses(request.model, request.params)
        return self._responses if needed else self._chat

    def build(self, request: Request) -> WireRequest:
        return self._wire(request).build(request)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        return self._wire(request).parse(request, reply)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        return self._wire(request).stream(request, headers)
