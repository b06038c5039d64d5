"""OpenAI's models on Azure: deployments in place of models, and Azure's content filter.

Sources (read 2026-11-22): learn.microsoft.com/azure/foundry/openai/reference (deployments and
api-version), /api-version-lifecycle (the newer /openai/v1, which needs no api-version),
/concepts/content-filter; AzureOpenAI of OpenAI's Python SDK 3.54.0. Read 2026-11-23:
/azure/ai-services/openai/api-version-deprecation ("changes between 2024-09-01-preview and
2024-08-01-preview": max_completion_tokens, stream_options), openai-python issue 1724.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from llmbatch_cli.core.errors import Refused, UnknownModel
from llmbatch_cli.core.types import Completion, Request, WireRequest
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai.models import NOTHING
from llmbatch_cli.providers.openai.provider import OpenAI, parameters
from llmbatch_cli.providers.wire.answers import extras
from llmbatch_cli.providers.wire.errors import COMMON_CODES, ErrorBody, ErrorClass, ErrorRules
from llmbatch_cli.providers.wire.replies import mapping, mappings, text_or_none

VERSION_VARIABLES: Final = ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")
"""The api-version of the older API; without one the newer /openai/v1 is used."""
CODES: Final[Mapping[str, ErrorClass]] = {
    **COMMON_CODES,
    "DeploymentNotFound": UnknownModel,
    "ResponsibleAIPolicyViolation": Refused,
}

_TAIL: Final = re.compile(
    r"/openai(?:/v1(?:/chat/completions|/responses)?|/responses|/deployments/[^/]+(?:/[a-z/]+)?)?$"
)
"""What an endpoint may have behind the resource, also a deployment's whole target URI."""
_NEWER_FIELDS: Final = "2024-09-01"
"""The first api-version with max_completion_tokens and stream_options."""


class Azure(OpenAI):
    """One Azure resource. A request's model is the name of a deployment.

    The base URL is the resource's endpoint (`https://NAME.openai.azure.com`), with or without
    `/openai/v1` behind it, or a deployment's whole target URI, whose api-version is used where
    no variable is set.
    """

    own_hosts: ClassVar[tuple[str, ...]] = ()
    rules = ErrorRules(codes=CODES)
    version = ""

    def __init__(self, settings: Settings) -> None:
        versions = (settings.environ.get(name) for name in VERSION_VARIABLES)
        self._version = next(filter(None, versions), None)
        super().__init__(settings)
        if self._is_old:
            self._stream_fields = {"stream": True}
        if settings.api_key is not None:
            del self._headers["authorization"]
            self._headers["api-key"] = settings.api_key

    def aim(self, base_url: str) -> None:
        self._api_version = None
        parts = urlsplit(base_url)
        super().aim(parts._replace(query="", fragment="").geturl())
        version = self._version or parse_qs(parts.query).get("api-version", [None])[0]
        in_path = re.search(r"/openai/v1(?:/|$)", self.base_url)
        self._api_version = None if in_path else version
        self.resource = _TAIL.sub("", self.base_url)
        self._url = f"{self.resource}/openai/v1/chat/completions"
        self._parameters = parameters(self.renamed())

    @property
    def _is_old(self) -> bool:
        return self._api_version is not None and self._api_version < _NEWER_FIELDS

    def build(self, request: Request) -> WireRequest:
        wire = super().build(request)
        if self._api_version is not None:
            wire.url = self._deployment_url(request.model)
        return wire

    def _deployment_url(self, deployment: str) -> str:
        query = urlencode({"api-version": self._api_version})
        path = f"openai/deployments/{quote(deployment, safe='')}/chat/completions"
        return f"{self.resource}/{path}?{query}"

    def neutral(self, request: Request) -> Mapping[str, Any]:
        """Nothing: a deployment's name does not show its model, so Azure itself refuses."""
        return NOTHING

    def renamed(self) -> Mapping[str, str]:
        return NOTHING if self._is_old else {"max_tokens": "max_completion_tokens"}

    def read(self, body: dict[str, Any]) -> Completion:
        completion = super().read(body)
        filters = {
            "content_filter_results": mappings(body["choices"])[0].get("content_filter_results"),
            "prompt_filter_results": body.get("prompt_filter_results"),
        }
        completion.extras = {**completion.extras, **extras(filters)}
        return completion

    def error_class(self, error: ErrorBody) -> ErrorClass:
        inside = text_or_none(mapping(error.fields.get("innererror")).get("code"))
        return CODES.get(inside or "") or super().error_class(error)

    def hint(self, kind: ErrorClass, error: ErrorBody, model: str) -> str | None:
        if kind is UnknownModel:
            return f"the model is a deployment's name on {self.resource}; a new one takes minutes"
        if kind is Refused:
            return _flagged(mapping(error.fields.get("innererror")))
        return super().hint(kind, error, model)


def _flagged(inside: Mapping[str, Any]) -> str | None:
    """Which of Azure's categories the prompt matched; None where it names none."""
    results = mapping(inside.get("content_filter_result"))
    names = [name for name, found in results.items() if mapping(found).get("filtered") is True]
    return f"Azure's filter matched: {', '.join(sorted(names)[:10])}" if names else None
