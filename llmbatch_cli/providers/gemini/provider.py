"""Gemini on Google's Developer API: its address and its key.

Source: ai.google.dev/api, /gemini-api/docs/api-key (read 2026-11-22).
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

from llmbatch_cli.core.types import Completion, Request, WireReply, WireRequest
from llmbatch_cli.providers.base import Provider, Settings, Stream
from llmbatch_cli.providers.gemini.body import body
from llmbatch_cli.providers.gemini.errors import error
from llmbatch_cli.providers.gemini.reply import GeminiStream, completion
from llmbatch_cli.providers.wire.messages import json_headers, post
from llmbatch_cli.providers.wire.replies import json_object


class Gemini(Provider):
    """Google's Developer API, or a compatible server."""

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

    def parse(self, request: Request, reply: WireReply) -> Completion:
        if reply.status != 200:
            raise error(reply, self._api_key)
        found = json_object(reply)
        if found.get("error"):
            raise error(reply, self._api_key)
        return completion(found, reply)

    def stream(self, request: Request, headers: Mapping[str, str]) -> Stream:
        return GeminiStream(headers, self._api_key)
