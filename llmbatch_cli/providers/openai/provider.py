"""OpenAI's chat completions, the wire that most hosts and servers speak.

Source: platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes (read 2026-11-22).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import orjson

from llmbatch_cli.core.errors import (
    BadReply,
    Overloaded,
    ProviderError,
    Refused,
    Rejected,
    UnknownModel,
)
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import (
    Completion,
    FinishReason,
    RateInfo,
    Request,
    WireReply,
    WireRequest,
)
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.openai.errors import NOT_FOR_CHAT, Said, meaning, read_error
from llmbatch_cli.providers.openai.models import NOTHING, near, neutral
from llmbatch_cli.providers.openai.stream import ChatStream
from llmbatch_cli.providers.wire.draft import Draft
from llmbatch_cli.providers.wire.messages import bearer_headers, post
from llmbatch_cli.providers.wire.params import ParamTable, unless
from llmbatch_cli.providers.wire.replies import (
    arguments_json,
    clean,
    count,
    error_of,
    excerpt,
    json_object,
    mapping,
    rate_info,
    text_or_none,
)

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
}
"""OpenAI's finish reasons, and those that compatible hosts send in their place."""


class OpenAI(Provider):
    """One server that speaks chat completions."""

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

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        asked = count(request.params.get("n")) or 1
        return ChatStream(lambda reply: self.parse(request, reply), headers, content_text, asked)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(reply, request.model)
        body = json_object(reply)
        if body.get("error") or body.get("object") == "error":
            raise self.error(reply, request.model)
        return self.read(body, reply)

    def read(self, body: dict[str, Any], reply: WireReply) -> Completion:
        """The answer in the body of a reply. Raises BadReply, Refused and Overloaded."""
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise BadReply(f"the reply has no choices: {excerpt(reply.body)}", status=200)
        first = choices[0]
        message = first.get("message")
        if not isinstance(message, dict):
            raise BadReply(f"the reply's choice has no message: {excerpt(reply.body)}", status=200)
        native = text_or_none(first.get("finish_reason"))
        finish = FINISH_REASONS.get(native) if native is not None else None
        content = message.get("content")
        text = content if isinstance(content, str) else content_text(content)
        calls = message.get("tool_calls") or message.get("function_call")
        if not text:
            text = _other_text(text, message, native)
        elif finish is None:
            raise_if_failed(native)
        return Completion(
            text=text,
            finish_reason=finish,
            native_finish_reason=native,
            usage=usage(body.get("usage")),
            model=text_or_none(body.get("model")),
            reasoning=_reasoning(message),
            tool_calls=tool_calls(message) if calls else (),
            choices=_all(choices) if len(choices) > 1 else (),
            extras=_extras(first, message),
            response_id=text_or_none(body.get("id")),
            request_id=reply.headers.get("x-request-id"),
            limits=self.limits(reply.headers),
        )

    def error(self, reply: WireReply, model: str) -> ProviderError:
        """The error that a reply other than an answer means."""
        return self.failed(read_error(reply), reply, model)

    def failed(self, said: Said, reply: WireReply, model: str) -> ProviderError:
        """The error that these words mean."""
        meant = self.meaning(said)
        return error_of(
            meant,
            said.message,
            reply,
            self._api_key,
            limits=self.limits(reply.headers),
            hint=self.hint(meant, said, model),
        )

    def limits(self, headers: Mapping[str, str]) -> RateInfo | None:
        """What the headers say of the account's limits."""
        return rate_info(headers)

    def meaning(self, said: Said) -> type[ProviderError]:
        """The class of an error by what the server said."""
        return meaning(said)

    def hint(self, meant: type[ProviderError], said: Said, model: str) -> str | None:
        """What the user can do about the error; None where the message says it all."""
        if meant is UnknownModel:
            names = near(model) if self.at_home else ""
            moved = "" if self.at_usual_address() else f" --base-url {self.base_url}"
            return f"{names}`llmbatch models {self.name}{moved}` lists what there is"
        if meant is Rejected and NOT_FOR_CHAT.search(said.message):
            return "this model answers on the Responses API: --api responses"
        return None


def parameters(renamed: Mapping[str, str]) -> ParamTable:
    """The parameters of a server that has these names of its own for some."""
    # Most servers refuse -1 for no limit.
    limit = unless(-1, renamed.get("max_tokens", "max_tokens"))
    return ParamTable(rules={**renamed, "max_tokens": limit})


def content_text(content: object) -> str | None:
    """A message's content as text: a string as it is, of a list its text parts joined."""
    if isinstance(content, str) or content is None:
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return None


def _other_text(text: str | None, message: Mapping[str, Any], native: str | None) -> str | None:
    """The text of a message without content: what its audio says, or none beside tool calls.

    Raises Refused, and whatever the finish reason means.
    """
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        raise Refused(f"the model refused: {clean(refusal)}", status=200)
    if native is not None and FINISH_REASONS.get(native) == "content_filter":
        raise Refused("the content filter left nothing of the answer", status=200)
    raise_if_failed(native)
    if message.get("tool_calls") or message.get("function_call"):
        return text
    return text_or_none(mapping(message.get("audio")).get("transcript")) or ""


def raise_if_failed(native: str | None) -> None:
    """Raise Overloaded for a finish reason that means that the server gave up."""
    if native in ("insufficient_system_resource", "network_error", "error"):
        raise Overloaded(f"the server gave up on the answer: {native}", status=200)


def tool_calls(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The message's tool calls in OpenAI's shape, with an id and arguments in every one."""
    given = message.get("tool_calls")
    if not given and message.get("function_call"):
        given = [{"function": message["function_call"]}]
    if not isinstance(given, list):
        return ()
    calls = [call for call in given if isinstance(call, dict)]
    return writable([_tool_call(call, place) for place, call in enumerate(calls)])


def _tool_call(call: dict[str, Any], place: int) -> Mapping[str, Any]:
    call_id = text_or_none(call.get("id")) or f"call_{place}"
    if call.get("type") not in (None, "function") and "function" not in call:
        return {**call, "id": call_id}
    function = mapping(call.get("function"))
    name, arguments = text_or_none(function.get("name")), function.get("arguments")
    return {
        **call,
        "id": call_id,
        "type": "function",
        "function": {**function, "name": name or "", "arguments": arguments_json(arguments)},
    }


def _all(choices: list[Any]) -> Sequence[Mapping[str, Any]]:
    return writable([choice for choice in choices if isinstance(choice, dict)])


T = TypeVar("T")


def writable(value: T) -> T:
    """The value itself. Raises BadReply for one nested deeper than JSON can be written."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise BadReply(f"the reply cannot be written again: {error}", status=200) from error
    return value


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """`reasoning_content` (DeepSeek, vLLM, llama.cpp) or `reasoning` (OpenRouter, Groq)."""
    found = message.get("reasoning_content") or message.get("reasoning")
    return found if isinstance(found, str) else None


def _extras(choice: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    extras = {}
    if len(message) > 2:
        for name in ("refusal", "audio", "annotations"):
            if message.get(name):
                extras[name] = message[name]
    if choice.get("logprobs"):
        extras["logprobs"] = choice["logprobs"]
    return writable(extras) if extras else extras


def usage(value: object) -> Usage | None:
    """OpenAI's usage object; None where there is none."""
    if not isinstance(value, dict):
        return None
    details = mapping(value.get("prompt_tokens_details"))
    return Usage(
        prompt_tokens=count(value.get("prompt_tokens")),
        completion_tokens=count(value.get("completion_tokens")),
        total_tokens=count(value.get("total_tokens")),
        cached_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details["cache_write_tokens"])
        if "cache_write_tokens" in details
        else None,
        reasoning_tokens=count(
            mapping(value.get("completion_tokens_details")).get("reasoning_tokens")
        ),
    )
