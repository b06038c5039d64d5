"""OpenAI's models on Azure: deployments in place of models, and Azure's content filter.

Sources (read 2026-11-22): learn.microsoft.com/azure/foundry/openai/reference (deployments and
api-version), /api-version-lifecycle (the newer /openai/v1, which needs no api-version),
/concepts/content-filter; AzureOpenAI of OpenAI's Python SDK 3.54.0.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

from llmbatch_cli.errors import ProviderError, Refused, UnknownModel
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.openai import OpenAI
from llmbatch_cli.providers.openai_errors import ERROR_CODES, Said, meaning
from llmbatch_cli.providers.openai_models import NOTHING
from llmbatch_cli.providers.replies import mapping
from llmbatch_cli.types import Request, WireRequest

VERSION_VARIABLES: Final = ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")
"""Where the api-version of the older form stands; without it the /openai/v1 form is spoken."""
CODES: Final[Mapping[str, type[ProviderError]]] = {
    **ERROR_CODES,
    "DeploymentNotFound": UnknownModel,
    "ResponsibleAIPolicyViolation": Refused,
}

_TAIL: Final = re.compile(r"/openai(?:/v1)?$")


class Azure(OpenAI):
    """One Azure resource. A request's model is the name of a deployment.

    The base URL is the resource's endpoint (`https://NAME.openai.azure.com`), with or without
    `/openai/v1` behind it.
    """

    own_hosts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings) -> None:
        versions = (settings.environ.get(name) for name in VERSION_VARIABLES)
        self._version = next(filter(None, versions), None)
        super().__init__(settings)
        if settings.api_key is not None:
            del self._headers["authorization"]
            self._headers["api-key"] = settings.api_key

    def aim(self, base_url: str) -> None:
        super().aim(base_url)
        self._versioned = self._version is not None and not self.base_url.endswith("/v1")
        self._resource = _TAIL.sub("", self.base_url)
        self._url = f"{self._resource}/openai/v1/chat/completions"

    def build(self, request: Request) -> WireRequest:
        wire = super().build(request)
        if self._versioned:
            wire.url = self._deployment_url(request.model)
        return wire

    def _deployment_url(self, deployment: str) -> str:
        query = urlencode({"api-version": self._version})
        path = f"openai/deployments/{quote(deployment, safe='')}/chat/completions"
        return f"{self._resource}/{path}?{query}"

    def refused(self, request: Request) -> Mapping[str, Any]:
        """Nothing: a deployment's name does not tell its model, so Azure itself refuses."""
        return NOTHING

    def renames(self) -> Mapping[str, str]:
        return {"max_tokens": "max_completion_tokens"}

    def meaning(self, said: Said) -> type[ProviderError]:
        inside = mapping(said.fields.get("innererror")).get("code")
        if inside in CODES:
            return CODES[str(inside)]
        return meaning(said, CODES)

    def hint(self, meant: type[ProviderError], said: Said, model: str) -> str | None:
        if meant is UnknownModel:
            return f"the model is a deployment's name on {self._resource}; a new one takes minutes"
        if meant is Refused:
            return _flagged(mapping(said.fields.get("innererror")))
        return super().hint(meant, said, model)


def _flagged(inside: Mapping[str, Any]) -> str | None:
    """Which of Azure's categories the prompt met; None where it does not say."""
    results = mapping(inside.get("content_filter_result"))
    names = [name for name, found in results.items() if mapping(found).get("filtered") is True]
    return f"Azure's filter met: {', '.join(sorted(names)[:10])}" if names else None
