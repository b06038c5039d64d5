"""OpenAI's chat completions, the wire that most hosts and servers speak.

Source: platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes (read 2026-11-22).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import ContextLength, Overloaded, Rejected, UnknownModel
from llmbatch_cli.core.types import Completion, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.models import NOTHING, near, neutral
from llmbatch_cli.providers.openai.stream import ChatStream
from llmbatch_cli.providers.wire.answers import (
    finish_reason,
    is_one_of,
    missing,
    raise_if_refused,
    writable,
)
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.draft import Draft
from llmbatch_cli.providers.wire.errors import (
    ErrorBody,
    ErrorClass,
    ErrorRules,
    error_in,
    holds_error,
)
from llmbatch_cli.providers.wire.messages import bearer_headers, post
from llmbatch_cli.providers.wire.params import LIMITS, ParamTable, unless
from llmbatch_cli.providers.wire.provider import EventStream, JsonProvider
from llmbatch_cli.providers.wire.replies import (
    clean,
    content_text,
    joined,
    mapping,
    mappings,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import tool_calls

GAVE_UP: Final = ("insufficient_system_resource", "network_error", "error")
"""Finish reasons of an answer that the server could not end."""
NOT_FOR_CHAT: Final = ("v1/responses", "not a chat model")
"""What the error of a model that only answers on the Responses API mentions."""
PARAMETER_CODES: Final = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
"""Codes of an error whose `param` the model does not take, or not with this value."""


class OpenAI(JsonProvider):
    """One server that speaks chat completions."""

    stream_reader: ClassVar[type[EventStream]] = ChatStream
    # llama.cpp says in a 500 that the prompt is too long, or that the model reads text alone.
    rules = ErrorRules(
        words=(
            (CONTEXT_LENGTH, ContextLength),
            (r"(?:image|audio|video) input is not supported", Rejected),
        ),
        words_of_overload=True,
    )
    version = "/v1"

    own_hosts: ClassVar[tuple[str, ...]] = ("api.openai.com",)
    """Where OpenAI itself answers, its regions' hosts included."""
    stream_fields: ClassVar[Mapping[str, Any]] = {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    """What requests a stream."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._stream_fields = self.stream_fields
        self._headers = bearer_headers(settings.api_key)

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._url = f"{self.base_url}/chat/completions"
        host = urlsplit(self.base_url).hostname or ""
        self.at_home = f".{host}".endswith(tuple(f".{own}" for own in self.own_hosts))
        self._parameters = parameters(self.renamed())

    def build(self, request: Request) -> WireRequest:
        body: dict[str, Any] = {"model": request.model, "messages": request.messages}
        if request.stream:
            body.update(self._stream_fields)
        if request.params:
            draft = Draft(request, f"{self.name}/{request.model}", body)
            self._parameters.add(draft, self.neutral(request))
        return post(self._url, self._headers, request, body)

    def at_usual_address(self) -> bool:
        """Whether the base URL is the provider's own."""
        return self.at_home

    def neutral(self, request: Request) -> Mapping[str, Any]:
        """The parameters that are not supported, each with the value that changes nothing."""
        if not self.at_home:
            return NOTHING
        return neutral(request.model, request.params.get("reasoning_effort"))

    def renamed(self) -> Mapping[str, str]:
        """The server's names for parameters, by ours.

        OpenAI's reasoning models refuse max_tokens, and servers like it may not know its
        successor, so the name depends on the address.
        """
        return {"max_tokens": "max_completion_tokens"} if self.at_home else NOTHING

    def is_error(self, body: Mapping[str, Any]) -> bool:
        return body.get("object") == "error" or holds_error(body)

    def answer(self, body: dict[str, Any], reply: WireReply, model: str) -> Completion:
        """The answer, also where a gateway has put the whole body into an envelope."""
        if "choices" not in body:
            inner = [body.get(name) for name in ("data", "result", "output", "response")]
            body = next((one for one in mappings(inner) if "choices" in one), body)
        return super().answer(body, reply, model)

    def read(self, body: dict[str, Any]) -> Completion:
        choices = mappings(body.get("choices"))
        if not choices:
            raise missing("choices", body)
        first = choices[0]
        message = _message(first)
        native = text_or_none(first.get("finish_reason"))
        if message is None:
            # Azure's filter may leave nothing but its results.
            raise_if_refused(native)
            raise missing("message in its choice", body)
        content = message.get("content")
        text = content if isinstance(content, str) else content_text(content)
        has_calls = message.get("tool_calls") or message.get("function_call")
        calls = tool_calls(message) if has_calls else ()
        if not text:
            raise_if_refused(native, message.get("refusal"))
        if is_one_of(native, GAVE_UP):
            why = clean(error_in(first, 200).message) if holds_error(first) else native
            raise Overloaded(f"the server gave up on the answer: {why}", status=200)
        if not text and not calls:
            text = text_or_none(mapping(message.get("audio")).get("transcript")) or ""
        return Completion(
            text=text,
            finish_reason=finish_reason(native),
            native_finish_reason=native,
            model=text_or_none(body.get("model")),
            reasoning=_reasoning(message),
            tool_calls=calls,
            choices=writable(choices) if len(choices) > 1 else (),
            extras=_extras(first, message),
            response_id=text_or_none(body.get("id")),
        )

    def hint(self, kind: ErrorClass, error: ErrorBody, model: str) -> str | None:
        if kind is UnknownModel:
            names = near(model) if self.at_home else ""
            moved = "" if self.at_usual_address() else f" --base-url {self.base_url}"
            return f"{names}llmbatch models {self.name}{moved} lists the available models"
        words = error.message.lower()
        if kind is Rejected and any(found in words for found in NOT_FOR_CHAT):
            return "this model answers on the Responses API: --api responses"
        name = text_or_none(error.fields.get("param"))
        if kind is Rejected and name and error.code in PARAMETER_CODES:
            if name == "max_tokens" and "max_completion_tokens" in words:
                return "use --param max_completion_tokens=N"
            return f"leave {clean(name, 80)} out"
        return None


def parameters(renamed: Mapping[str, str]) -> ParamTable:
    """The parameters of a server that has these names of its own for some."""
    # Most servers refuse -1 for no limit.
    limits = {name: unless(-1, renamed.get(name, name)) for name in LIMITS}
    return ParamTable(rules={**renamed, **limits})


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The choice's message; `text` is that of the old completions, which some servers still send,
    and `delta` of those that send the parts of a stream as one."""
    for name in ("message", "delta", "text"):
        message = choice.get(name)
        if isinstance(message, dict):
            return message
        if isinstance(message, str):
            return {"content": message}
    return None


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """`reasoning_content` (DeepSeek, vLLM, llama.cpp), `reasoning` or its details (OpenRouter,
    Groq, MiniMax)."""
    reasoning = text_or_none(message.get("reasoning_content") or message.get("reasoning"))
    details = message.get("reasoning_details")
    return joined(mappings(details), "text") or None if details and not reasoning else reasoning


def _extras(choice: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name in _EXTRAS if (value := message.get(name))}
    if logprobs := choice.get("logprobs"):
        found["logprobs"] = logprobs
    return writable(found) if found else found


_EXTRAS: Final = ("refusal", "audio", "annotations")
