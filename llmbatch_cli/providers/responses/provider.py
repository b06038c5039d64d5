"""OpenAI's Responses API, the second wire of openai, for the models that answer only there.

Sources (read 2026-11-22): developers.openai.com/api/docs/api-reference/responses, /guides/
streaming-responses; Response, ResponseError and the events of the Python SDK 3.54.0. llama.cpp
and vLLM serve /v1/responses too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from llmbatch_cli.core.errors import NotFinished, Refused, Rejected, Unreadable
from llmbatch_cli.core.types import Completion, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.openai.models import needs_responses
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.responses.body import body
from llmbatch_cli.providers.wire.answers import (
    WAITING,
    extras,
    finish_reason,
    is_one_of,
    missing,
    raise_if_refused,
)
from llmbatch_cli.providers.wire.errors import COMMON_CODES, ErrorRules, by_code, holds_error
from llmbatch_cli.providers.wire.messages import post
from llmbatch_cli.providers.wire.provider import EventStream
from llmbatch_cli.providers.wire.replies import (
    blocks_of,
    clean,
    joined,
    listed,
    mapping,
    mappings,
    of_type,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import function_call, named

CODES: Final = {
    **COMMON_CODES,
    **by_code(
        {
            Refused: "bio_policy misalignment_policy_violation image_content_policy_violation",
            Rejected: "data_residency_mismatch invalid_image invalid_image_format "
            "invalid_base64_image invalid_image_url invalid_image_mode image_too_large "
            "image_too_small image_parse_error image_file_too_large unsupported_image_media_type "
            "empty_image_file failed_to_download_image image_file_not_found",
        }
    ),
}
"""`error.code` of a response that failed, whose HTTP status is 200 all the same."""


class ResponseStream(EventStream):
    """Reads one streamed response; the last event holds it whole."""

    def begin(self, request: Request) -> None:
        self._items: list[Any] = []
        self._response: Mapping[str, Any] = {}

    def add(self, event: dict[str, Any]) -> str:
        kind = event.get("type")
        if kind == "response.output_text.delta":
            return text_or_none(event.get("delta")) or ""
        if kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self._response = mapping(event.get("response"))
            self.ended = bool(self._response)
        return ""

    def is_whole(self, event: Mapping[str, Any]) -> bool:
        return isinstance(event.get("output"), list)

    def whole(self) -> dict[str, Any]:
        # Where the last event lacks the items, those of the events before it count.
        return {**self._response, "output": self._response.get("output") or self._items}


class Responses(OpenAI):
    """The Responses API at one address with one key."""

    rules = ErrorRules(codes=CODES)
    stream_reader = ResponseStream

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._url = f"{self.base_url}/responses"

    def build(self, request: Request) -> WireRequest:
        built = body(request, self.name, self.neutral(request))
        return post(self._url, self._headers, request, built)

    def is_error(self, body: Mapping[str, Any]) -> bool:
        failed = is_one_of(body.get("status"), ("failed",)) or body.get("type") == "error"
        return failed or holds_error(body)

    def read(self, body: dict[str, Any]) -> Completion:
        if is_one_of(body.get("status"), WAITING):
            raise self._unfinished(body)
        if not isinstance(body.get("output"), list):
            raise missing("output", body)
        items = mappings(body["output"])
        parts = [
            part
            for item in items
            if item.get("type") == "message"
            for part in blocks_of(item.get("content"))
        ]
        texts = [part for part in parts if part.get("type") in ("output_text", "text")]
        calls = named(_tool_calls(items))
        native = _native(body)
        text = joined(texts, "text")
        if not text:
            raise_if_refused(native, joined(of_type("refusal", parts), "refusal"))
        finish = "stop" if is_one_of(native, ("completed",)) else finish_reason(native)
        return Completion(
            text=text if text or not calls else None,
            finish_reason="tool_calls" if calls and finish == "stop" else finish,
            native_finish_reason=native,
            model=text_or_none(body.get("model")),
            reasoning=_reasoning(items),
            tool_calls=calls,
            extras=_extras(items, parts),
            response_id=text_or_none(body.get("id")),
        )

    def _unfinished(self, body: Mapping[str, Any]) -> Unreadable:
        """The error of a response that is not there yet, as with `background`."""
        status, name = clean(str(body.get("status")), 60), body.get("id")
        if not isinstance(name, str) or not name:
            return Unreadable(
                f"the response is {status}, and has no id to ask for it by", status=200
            )
        url = f"{self._url}/{quote(name, safe='')}"
        return NotFinished(
            f"the response {clean(name, 100)} is {status}",
            WireRequest("GET", url, self._headers),
            status=200,
        )


def _native(body: Mapping[str, Any]) -> str | None:
    """Why the answer ended, in OpenAI's words. Raises Unreadable where it has not."""
    status = text_or_none(body.get("status"))
    if is_one_of(status, ("cancelled", "cancelling")):
        raise Unreadable(f"the response was {status}", status=200)
    reason = text_or_none(mapping(body.get("incomplete_details")).get("reason"))
    return reason or status if is_one_of(status, ("incomplete",)) else status


def _reasoning(items: Sequence[Mapping[str, Any]]) -> str | None:
    """The reasoning items: OpenAI's summaries, or the thoughts of open models."""
    thoughts = [
        part
        for item in of_type("reasoning", items)
        for name, kind in (("summary", "summary_text"), ("content", "reasoning_text"))
        for part in of_type(kind, mappings(item.get(name)))
    ]
    return joined(thoughts, "text", "\n\n") or None


def _tool_calls(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tool calls in the shape that chat completions give them."""
    calls: list[Mapping[str, Any]] = []
    for item in items:
        call_id, name = item.get("call_id"), item.get("name")
        if item.get("type") == "function_call":
            arguments = text_or_none(item.get("arguments")) or None
            calls.append(function_call(call_id, name, arguments, len(calls)))
        elif item.get("type") == "custom_tool_call":
            custom = {
                "name": text_or_none(name) or "",
                "input": text_or_none(item.get("input")) or "",
            }
            identity = text_or_none(call_id) or f"call_{len(calls)}"
            calls.append({"id": identity, "type": "custom", "custom": custom})
    return calls


def _extras(
    items: Sequence[Mapping[str, Any]], parts: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Annotations, log probabilities, a refusal beside text, and what OpenAI's own tools did."""
    known = ("message", "reasoning", "function_call", "custom_tool_call")
    tokens = [token for part in parts for token in listed(part.get("logprobs"))]
    return extras(
        {
            "annotations": [note for part in parts for note in listed(part.get("annotations"))],
            "logprobs": {"content": tokens} if tokens else None,
            "refusal": joined(of_type("refusal", parts), "refusal"),
            "output": [item for item in items if item.get("type") not in known],
        }
    )


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
