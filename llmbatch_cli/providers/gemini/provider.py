"""Gemini on Google's Developer API: its address and its key.

Source: ai.google.dev/api, /gemini-api/docs/api-key (read 2026-11-22).
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmbatch_cli.core.errors import ProviderError
from llmbatch_cli.core.ledger import Usage
from llmbatch_cli.core.types import Completion, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.gemini.body import body
from llmbatch_cli.providers.gemini.errors import RULES, google_error_class, retry_delay_s
from llmbatch_cli.providers.gemini.reply import GeminiStream, completion
from llmbatch_cli.providers.wire.errors import ErrorBody, ErrorClass
from llmbatch_cli.providers.wire.messages import json_headers, post
from llmbatch_cli.providers.wire.provider import JsonProvider
from llmbatch_cli.providers.wire.usage import GEMINI, read_usage


class Gemini(JsonProvider):
    """Google's Developer API, or a compatible server."""

    rules = RULES
    stream_reader = GeminiStream
    usage_fields = GEMINI

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._headers = json_headers()
        if settings.api_key is not None:
            self._headers["x-goog-api-key"] = settings.api_key

    def aim(self, base_url: str) -> None:
        """The address may end with a version or without, as Google's own SDK has it."""
        super().aim(base_url)
        versioned = re.search(r"/v\d\w*$", self.base_url)
        self._root = self.base_url if versioned else f"{self.base_url}/v1beta"

    def build(self, request: Request) -> WireRequest:
        return post(self.url(request), self._headers, request, body(request, self.name))

    def url(self, request: Request) -> str:
        """The request's URL; a model's name may include its collection, as in tunedModels/x."""
        collection, _, name = request.model.rpartition("/")
        if collection not in ("models", "tunedModels"):
            collection, name = "models", request.model
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        return f"{self._root}/{collection}/{quote(name, safe='')}:{method}"

    def read(self, body: dict[str, Any]) -> Completion:
        return completion(body)

    def usage_in(self, body: Mapping[str, Any]) -> Usage | None:
        return read_usage(body.get("usageMetadata"), self.usage_fields)

    def failed(self, error: ErrorBody, reply: WireReply, model: str) -> ProviderError:
        failed = super().failed(error, reply, model)
        failed.retry_after_s = retry_delay_s(error) or failed.retry_after_s
        return failed

    def error_class(self, error: ErrorBody) -> ErrorClass:
        return google_error_class(error)
