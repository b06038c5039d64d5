"""Amazon Bedrock's Converse, with a bearer key or with AWS credentials.

Sources (read 2026-11-22): docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_Converse.html and API_runtime_ConverseStream.html as modelled in botocore 1.44.5,
/bedrock/latest/userguide/api-keys.html, /userguide/troubleshooting-api-error-codes.html.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import quote

from llmbatch_cli.core import errors
from llmbatch_cli.core.errors import ProviderError, UsageError
from llmbatch_cli.core.events import Observer
from llmbatch_cli.core.types import Completion, Request, Send, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.bedrock.aws import frozen, load_credentials, signed
from llmbatch_cli.providers.bedrock.body import body
from llmbatch_cli.providers.bedrock.stream import ConverseStream
from llmbatch_cli.providers.wire import usage
from llmbatch_cli.providers.wire.answers import extras, finish_reason, missing, raise_if_refused
from llmbatch_cli.providers.wire.context_words import CONTEXT_LENGTH
from llmbatch_cli.providers.wire.credentials import renewed
from llmbatch_cli.providers.wire.errors import ErrorBody, ErrorRules, by_code
from llmbatch_cli.providers.wire.messages import bearer_headers, post
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.replies import (
    blocks_of,
    joined,
    listed,
    mapping,
    mappings,
    text_or_none,
)
from llmbatch_cli.providers.wire.tools import function_call, named

CREDENTIALS_REFRESH_S: Final = 60.0
"""botocore itself renews short-lived credentials minutes before their end."""

ERROR_TYPES: Final = by_code(
    {
        errors.Rejected: "validationexception",
        errors.Unauthorized: "accessdeniedexception unrecognizedclientexception "
        "expiredtokenexception invalidsignatureexception missingauthenticationtokenexception",
        errors.UnknownModel: "resourcenotfoundexception",
        errors.RateLimited: "throttlingexception",
        errors.OutOfQuota: "servicequotaexceededexception",
        errors.Overloaded: "modelnotreadyexception modeltimeoutexception modelerrorexception "
        "modelstreamerrorexception internalserverexception serviceunavailableexception",
    }
)
"""The error's name, of the reply's header or of the stream's exception, in lower case."""
WORDS: Final = (
    (CONTEXT_LENGTH, errors.ContextLength),
    (
        "model identifier is invalid|on-demand throughput isn|access to the model",
        errors.UnknownModel,
    ),
    ("tokens per day", errors.OutOfQuota),
)
_MODELS_HINT: Final = (
    "many models are requested by an inference profile, as in us.anthropic.claude-..., and must "
    "be enabled for the account and region"
)


class Bedrock(JsonProvider):
    """Converse in one region. `{region}` in the base URL stands for the region in the settings."""

    rules = ErrorRules(
        words=WORDS,
        codes=ERROR_TYPES,
        statuses={424: errors.Overloaded},
        hints={errors.UnknownModel: _MODELS_HINT},
    )
    request_id_headers: ClassVar[Sequence[str]] = ("x-amzn-requestid",)
    stream_reader = ConverseStream
    usage_fields = usage.BEDROCK

    def __init__(self, settings: Settings) -> None:
        if settings.query:  # which would have to be signed, too
            raise UsageError("the base URL for bedrock has a query, which is not sent")
        environ = settings.environ
        self.environ = environ
        self.region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
        self._credentials: Any = None
        self._headers = bearer_headers(settings.api_key)
        super().__init__(settings)

    def aim(self, base_url: str) -> None:
        """Send to this address. Raises UsageError where it needs a region and none is set."""
        if "{region}" in base_url:
            self.check_region()
        super().aim(base_url.replace("{region}", self.region))

    def check_region(self) -> None:
        """Raise UsageError where no region is set."""
        if not self.region:
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
        found = await asyncio.to_thread(load_credentials, self.environ)
        if found is None:
            raise UsageError(
                f"no key and no AWS credentials for {self.name}",
                hint="set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        self.check_region()

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
        return signed(wire, self._credentials, self.region)

    def read(self, body: dict[str, Any]) -> Completion:
        message = mapping(mapping(body.get("output")).get("message"))
        content, native = message.get("content"), text_or_none(body.get("stopReason"))
        if not isinstance(content, list | dict | str):
            raise_if_refused(native)
            raise missing("message with content", body)
        blocks = blocks_of(content)
        text, citations = _text(blocks)
        uses = [block["toolUse"] for block in blocks if isinstance(block.get("toolUse"), dict)]
        calls = named(
            function_call(use.get("toolUseId"), use.get("name"), use.get("input"), place)
            for place, use in enumerate(use for use in uses if use.get("type") != "server_tool_use")
        )
        if not text:
            raise_if_refused(native)
        router = mapping(mapping(body.get("trace")).get("promptRouter"))
        thoughts = [mapping(block.get("reasoningContent")) for block in blocks]
        return Completion(
            text=text or (None if calls else ""),
            finish_reason=finish_reason(native),
            native_finish_reason=native,
            # Converse names no model but the one that a prompt router chose.
            model=text_or_none(router.get("invokedModelId")),
            reasoning=joined(
                [mapping(thought.get("reasoningText")) for thought in thoughts], "text", "\n\n"
            )
            or None,
            tool_calls=calls,
            extras=extras(
                {
                    "citations": citations,
                    "thinking_blocks": [*filter(None, map(_thinking_block, thoughts))],
                    "trace": body.get("trace"),
                    "additionalModelResponseFields": body.get("additionalModelResponseFields"),
                }
            ),
        )

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        # The header has the plain name, the body's `__type` a namespace before it.
        header = reply.headers.get("x-amzn-errortype", "").partition(":")[0]
        name = header or error.type.rpartition("#")[2]
        return super().failed(replace(error, type=name.lower()), reply, model)


def _text(blocks: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """The answer's text, and the citations of its parts that have some."""
    parts: list[Mapping[str, Any]] = []
    citations: list[Any] = []
    for block in blocks:
        cited = mapping(block.get("citationsContent"))
        parts += [block, *mappings(cited.get("content"))]
        citations += listed(cited.get("citations"))
    return joined(parts, "text"), citations


def _thinking_block(thought: Mapping[str, Any]) -> dict[str, Any] | None:
    """A thought that the next turn must give back, as Anthropic itself writes it, or None."""
    if thought.get("redactedContent"):
        return {"type": "redacted_thinking", "data": thought["redactedContent"]}
    text = mapping(thought.get("reasoningText"))
    if not text.get("signature"):
        return None
    return {"type": "thinking", "thinking": text.get("text"), "signature": text["signature"]}
