"""Amazon Bedrock's Converse, with a bearer key or with AWS credentials.

Sources (read 2026-11-22): docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_Converse.html and API_runtime_ConverseStream.html as modelled in botocore 1.44.5,
/bedrock/latest/userguide/api-keys.html, /userguide/troubleshooting-api-error-codes.html.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

from llmbatch_cli.core.errors import (
    BadReply,
    ContextLength,
    OutOfQuota,
    Overloaded,
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unauthorized,
    UnknownModel,
    UsageError,
)
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import (
    Completion,
    FinishReason,
    RateInfo,
    Request,
    Send,
    WireReply,
    WireRequest,
)
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.bedrock.aws import frozen, load_credentials, signed
from llmbatch_cli.providers.bedrock.body import body
from llmbatch_cli.providers.bedrock.stream import ConverseStream
from llmbatch_cli.providers.wire.credentials import renewed
from llmbatch_cli.providers.wire.messages import bearer_headers, post
from llmbatch_cli.providers.wire.replies import (
    arguments_json,
    count,
    error_for_status,
    error_of,
    excerpt,
    json_object,
    mapping,
    retry_after_s,
    text_or_none,
)

CREDENTIALS_REFRESH_S: Final = 60.0
"""botocore itself renews short-lived credentials minutes before their end."""

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
"""Stop reasons by their meaning; the two `malformed_...` have none."""

ERROR_TYPES: Final[Mapping[str, type[ProviderError]]] = {
    "validationexception": Rejected,
    "accessdeniedexception": Unauthorized,
    "unrecognizedclientexception": Unauthorized,
    "expiredtokenexception": Unauthorized,
    "invalidsignatureexception": Unauthorized,
    "missingauthenticationtokenexception": Unauthorized,
    "resourcenotfoundexception": UnknownModel,
    "throttlingexception": RateLimited,
    "servicequotaexceededexception": OutOfQuota,
    "modelnotreadyexception": Overloaded,
    "modeltimeoutexception": Overloaded,
    "modelerrorexception": Overloaded,
    "modelstreamerrorexception": Overloaded,
    "internalserverexception": Overloaded,
    "serviceunavailableexception": Overloaded,
}
"""The error's name, of the reply's header or of the stream's exception, in lower case."""

_MEANINGS: Final = (
    (re.compile(r"too long|too many input tokens|context (length|window)"), ContextLength),
    (re.compile(r"model identifier is invalid|on-demand throughput isn|access to the model"), None),
    (re.compile(r"tokens per day"), OutOfQuota),
)
"""What a common error means by its message, where that is more; None stands for UnknownModel."""

_MODELS_HINT: Final = (
    "many models are asked for by an inference profile, as in us.anthropic.claude-..., and must "
    "be enabled for the account and region"
)


class Bedrock(Provider):
    """Converse in one region. `{region}` in the base URL stands for the region in the settings."""

    def __init__(self, settings: Settings) -> None:
        environ = settings.environ
        self._environ = environ
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
        self._credentials: Any = None
        self._headers = bearer_headers(settings.api_key)
        super().__init__(settings)

    def aim(self, base_url: str) -> None:
        """Send to this address. Raises UsageError where it needs a region and none is set."""
        if "{region}" in base_url:
            self._check_region()
        super().aim(base_url.replace("{region}", self._region))

    def _check_region(self) -> None:
        if not self._region:
            raise UsageError(f"{self.name} needs a region", hint="set AWS_REGION, as in us-east-1")

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        """Hold AWS credentials ready where there is no bearer key.

        Raises UsageError without a key and without credentials, and where none may go.
        """
        if self._api_key is not None:
            yield None
            return
        self.check_credentials_may_go()
        found = await asyncio.to_thread(load_credentials, self._environ)
        if found is None:
            raise UsageError(
                f"no key and no AWS credentials for {self.name}",
                hint="set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        self._check_region()

        def renew() -> None:
            self._credentials = frozen(found)

        async with renewed(renew, lambda: CREDENTIALS_REFRESH_S):
            yield None

    def build(self, request: Request) -> WireRequest:
        method = "converse-stream" if request.stream else "converse"
        url = f"{self.base_url}/model/{quote(request.model, safe='')}/{method}"
        wire = post(url, self._headers, request, body(request, self.name))
        if self._credentials is None:
            return wire
        return signed(wire, self._credentials, self._region)

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise self.error(reply)
        found = json_object(reply)
        message = mapping(found.get("output")).get("message")
        if not isinstance(message, dict):
            raise BadReply(f"the reply has no message: {excerpt(reply.body)}", status=200)
        return self.read(found, message, reply.headers)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        return ConverseStream(
            lambda found, message: self.read(found, message, headers),
            lambda kind, payload: self._raised(kind, payload, headers),
        )

    def read(
        self, found: Mapping[str, Any], message: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Completion:
        """The answer in a reply and its message. Raises Refused and BadReply."""
        content = message.get("content")
        if not isinstance(content, list):
            raise BadReply("the reply's message has no content", status=200)
        blocks = [block for block in content if isinstance(block, dict)]
        native = text_or_none(found.get("stopReason"))
        finish = FINISH_REASONS.get(native) if native is not None else None
        texts, citations = _texts(blocks)
        uses = _tool_calls(blocks)
        text = "".join(texts) if texts or not uses else None
        if finish == "content_filter" and not text:
            raise Refused(f"the answer was stopped: {native}", status=200)
        wait_s = retry_after_s(headers)
        return Completion(
            text=text,
            finish_reason=finish,
            native_finish_reason=native,
            usage=usage(found.get("usage")),
            model=_served(found),
            reasoning=_reasoning(blocks),
            tool_calls=uses,
            extras=_extras(found, blocks, citations),
            request_id=headers.get("x-amzn-requestid"),
            limits=None if wait_s is None else RateInfo(retry_after_s=wait_s),
        )

    def error(self, reply: WireReply) -> ProviderError:
        """The error that a reply other than an answer means."""
        named = reply.headers.get("x-amzn-errortype", "").partition(":")[0]
        try:
            found = json_object(reply)
        except BadReply as bad:
            return self._error(named, f"HTTP {reply.status}: {bad.message}", reply)
        message = found.get("message") or found.get("Message")
        if not isinstance(message, str):
            message = f"HTTP {reply.status}: {excerpt(reply.body)}"
        kind = named or (text_or_none(found.get("__type")) or "").rpartition("#")[2]
        return self._error(kind, message, reply)

    def _raised(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> ProviderError:
        """The error that an exception inside a stream means."""
        return self.error(WireReply(200, {**headers, "x-amzn-errortype": kind}, payload))

    def _error(self, kind: str, message: str, reply: WireReply) -> ProviderError:
        status = 500 if reply.status == 200 else reply.status
        meant = ERROR_TYPES.get(kind.lower()) or _by_status(status)
        if meant in (Rejected, Unauthorized, RateLimited):
            said = message.lower()
            for pattern, more in _MEANINGS:
                if pattern.search(said):
                    meant = more or UnknownModel
        hint = _MODELS_HINT if meant is UnknownModel else None
        return error_of(meant, message, reply, self._api_key, hint=hint)


def _by_status(status: int) -> type[ProviderError]:
    return Overloaded if status == 424 else error_for_status(status)


def _texts(blocks: list[dict[str, Any]]) -> tuple[list[str], list[Any]]:
    """The answer's texts, and the citations of those that have some."""
    texts: list[str] = []
    citations: list[Any] = []
    for block in blocks:
        cited = mapping(block.get("citationsContent"))
        found = [block, *_list(cited.get("content"))]
        texts += [t for part in found if isinstance(t := mapping(part).get("text"), str)]
        citations += _list(cited.get("citations"))
    return texts, citations


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _reasoning(blocks: list[dict[str, Any]]) -> str | None:
    found = (mapping(block.get("reasoningContent")).get("reasoningText") for block in blocks)
    texts = (mapping(text).get("text") for text in found)
    return "\n\n".join(text for text in texts if isinstance(text, str) and text) or None


def _tool_calls(blocks: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    uses = [block["toolUse"] for block in blocks if isinstance(block.get("toolUse"), dict)]
    return [
        {
            "id": text_or_none(use.get("toolUseId")) or f"call_{place}",
            "type": "function",
            "function": {
                "name": text_or_none(use.get("name")) or "",
                "arguments": arguments_json(use.get("input")),
            },
        }
        for place, use in enumerate(use for use in uses if use.get("type") != "server_tool_use")
    ]


def _served(found: Mapping[str, Any]) -> str | None:
    """The model that a prompt router chose; Converse names no other."""
    router = mapping(mapping(found.get("trace")).get("promptRouter"))
    return text_or_none(router.get("invokedModelId"))


def _extras(
    found: Mapping[str, Any], blocks: list[dict[str, Any]], citations: list[Any]
) -> dict[str, Any]:
    extras = {
        "citations": citations,
        "thinking_blocks": [
            thought for block in blocks if (thought := _thinking_block(block)) is not None
        ],
        "trace": found.get("trace"),
        "additionalModelResponseFields": found.get("additionalModelResponseFields"),
    }
    return {name: value for name, value in extras.items() if value}


def _thinking_block(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """A thought that the next turn must give back, as Anthropic itself writes it, or None."""
    thought = mapping(block.get("reasoningContent"))
    if thought.get("redactedContent"):
        return {"type": "redacted_thinking", "data": thought["redactedContent"]}
    said = mapping(thought.get("reasoningText"))
    if not said.get("signature"):
        return None
    return {"type": "thinking", "thinking": said.get("text"), "signature": said["signature"]}


def usage(value: object) -> Usage | None:
    """Converse's usage as OpenAI counts it: the prompt with what the cache gave and took."""
    if not isinstance(value, dict):
        return None
    new = count(value.get("inputTokens"))
    read = count(value.get("cacheReadInputTokens"))
    written = count(value.get("cacheWriteInputTokens"))
    answer = count(value.get("outputTokens"))
    prompt = None if new is None else new + (read or 0) + (written or 0)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answer,
        total_tokens=None if prompt is None or answer is None else prompt + answer,
        cached_tokens=read,
        cache_write_tokens=written,
    )
